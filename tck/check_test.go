package tck_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/memory"
	"github.com/openmessaging/openmessaging-go/tck/report"
)

func target(s *memory.System) tck.Target {
	return tck.Target{URL: "oms:memory://localhost/tck", Driver: s.Driver("memory"), Faults: tck.Faults{Restart: s.Restart, Kill: s.Kill, Stall: s.Stall}}
}

// check runs cases in a bubble.
func check(t *testing.T, make func() tck.Target, sel tck.Selection) (r *report.Report) {
	synctest.Test(t, func(t *testing.T) { r = tck.Check(t.Context(), make(), sel) })
	return r
}

func correct() tck.Target { return target(memory.New()) }

// losing is a driver that acknowledges what it was given.
type losing struct{ spi.Driver }

func (d losing) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	return losingConn{spi.ConnWrapper{Conn: c}}, err
}

type losingConn struct{ spi.ConnWrapper }

func (c losingConn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	r, err := c.Conn.NewReceiver(ctx, cfg)
	return losingReceiver{spi.ReceiverWrapper{Receiver: r}}, err
}

type losingReceiver struct{ spi.ReceiverWrapper }

func (r losingReceiver) Receive(ctx context.Context, max int) ([]spi.Received, error) {
	got, err := r.Receiver.Receive(ctx, max)
	for i := range got {
		_, _ = r.Receiver.Ack(ctx, []spi.Receipt{got[i].Receipt})
	}
	return got, err
}

func lossy() tck.Target {
	target := correct()
	target.Driver = losing{target.Driver}
	return target
}

func TestConclusions(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		target     func() tck.Target
		sel        tck.Selection
		conclusion report.Conclusion
		reason     string
	}{
		"everything passes":           {correct, tck.Selection{}, report.Conformant, ""},
		"a failure":                   {lossy, tck.Selection{IDs: []string{"R061", "R043"}}, report.NotConformant, "failed: R061"},
		"some left out":               {correct, tck.Selection{IDs: []string{"R001"}}, report.Partial, fmt.Sprintf("%d cases were left out", len(tck.Requirements())-1)},
		"a known failure":             {lossy, tck.Selection{KnownFailures: []string{"R018", "R019", "R031", "R039", "R061", "R073", "R116", "R117", "R136", "R141", "R142", "R143", "R151", "R153", "R154", "R159", "R160", "G13", "G21", "G23", "G24", "G25", "G26", "G31", "G32", "G33"}}, report.Partial, "known failures: R018"},
		"a known failure that passes": {correct, tck.Selection{KnownFailures: []string{"R061"}}, report.NotConformant, "they pass; take them off the list: R061"},
		"nothing selected":            {correct, tck.Selection{IDs: []string{}}, report.Broken, "nothing ran"},
		"an unknown requirement":      {correct, tck.Selection{IDs: []string{"R999"}}, report.Broken, `no requirement "R999"`},
		"an unknown known failure":    {correct, tck.Selection{KnownFailures: []string{"R999"}}, report.Broken, `no requirement "R999"`},
		"a bad URL":                   {func() tck.Target { return tck.Target{URL: "memory"} }, tck.Selection{}, report.Broken, "malformed access-point URL"},
		"an unknown driver":           {func() tck.Target { return tck.Target{URL: "oms:none://h/r"} }, tck.Selection{}, report.Broken, "no driver of that name"},
		"a driver of another name":    {func() tck.Target { t := correct(); t.URL = "oms:other://h/r"; return t }, tck.Selection{}, report.Broken, `the URL names driver "other"`},
		"a driver that does not open": {func() tck.Target { t := correct(); t.URL += "?x=y"; return t }, tck.Selection{}, report.Broken, "the target does not open"},
		"a hook that fails": {func() tck.Target {
			t := correct()
			t.Faults.Stall = func(context.Context) (func(), error) { return nil, errors.New("no hands") }
			return t
		}, tck.Selection{IDs: []string{"R054"}}, report.Broken, "the harness or the environment failed: R054"},
		"no way to make a queue": {func() tck.Target {
			return target(memory.New(memory.WithCapabilities()))
		}, tck.Selection{IDs: []string{"R001"}}, report.Broken, "the harness or the environment failed: R001"},
	} {
		t.Run(name, func(t *testing.T) {
			r := check(t, c.target, c.sel)
			if r.Conclusion != c.conclusion || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s: %s", r.Conclusion, r.Reason)
			}
			if len(r.Cases) != len(tck.Requirements()) {
				t.Errorf("the report has %d rows", len(r.Cases))
			}
		})
	}
	r := tck.Check(ended, correct(), tck.Selection{})
	if r.Conclusion != report.Broken {
		t.Errorf("with a context that has ended: %s: %s", r.Conclusion, r.Reason)
	}
}

// TestUndeclaredIsNotSupported: the driver declares nothing but queues, and all
// that needs more says so.
func TestUndeclaredIsNotSupported(t *testing.T) {
	r := check(t, func() tck.Target { return target(memory.New(memory.WithCapabilities("admin"))) }, tck.Selection{})
	if r.Conclusion != report.Conformant {
		t.Errorf("%s: %s", r.Conclusion, r.Reason)
	}
	for _, c := range r.Cases {
		want := report.Pass
		switch {
		case c.ID == "R051":
			want = report.Pass // by the Stall hook
		case c.Level == "O" && c.Needs[0] != "admin":
			want = report.NotSupported
		}
		if c.Verdict != want {
			t.Errorf("%s is %s, want %s: %s", c.Name(), c.Verdict, want, c.Message)
		}
	}
	for _, p := range r.Profiles {
		want := report.Undeclared
		if p.Name == "core" || p.Name == "extended/admin" {
			want = report.Conformant
		}
		if p.Conclusion != want {
			t.Errorf("profile %s is %s, want %s", p.Name, p.Conclusion, want)
		}
	}
}

// dying is a driver that refuses everything from its nth sender on.
type dying struct {
	spi.Driver
	left *int
}

func (d dying) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	return dyingConn{spi.ConnWrapper{Conn: c}, d.left}, err
}

type dyingConn struct {
	spi.ConnWrapper
	left *int
}

func (c dyingConn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	if *c.left--; *c.left < 0 {
		return nil, errors.New("the driver is gone")
	}
	return c.Conn.NewSender(ctx, cfg)
}

func TestTargetThatDiesOnTheWay(t *testing.T) {
	r := check(t, func() tck.Target {
		target, left := correct(), 3
		target.Driver, target.Faults, target.Parallel = dying{target.Driver, &left}, tck.Faults{}, 1
		return target
	}, tck.Selection{})
	if r.Conclusion != report.Broken || !strings.Contains(r.Reason, "the target died during the run") || !strings.Contains(r.Reason, "the driver is gone") {
		t.Errorf("%s: %s", r.Conclusion, r.Reason)
	}
	if r.Counts[report.Pass] == 0 || r.Counts[report.Skipped] > 0 {
		t.Errorf("the cases that ran are not reported: %v", r.Counts)
	}
}

// TestHooksRunOutsideOfTheCase has a hook start what outlives the case, which is
// not the case's, and one that panics.
func TestHooksRunOutsideOfTheCase(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	s := memory.New()
	tg := target(s)
	tg.Faults.Kill = func(ctx context.Context) error {
		go func() { <-stop }()
		return s.Kill(ctx)
	}
	if c := one(t, tg, "G33"); c.Verdict != report.Pass {
		t.Errorf("%s: %s", c.Verdict, c.Message)
	}
	tg.Faults.Kill = func(context.Context) error { panic("no such system") }
	if c := one(t, tg, "G33"); c.Verdict != report.Error || !strings.Contains(c.Message, "no such system") {
		t.Errorf("%s: %s", c.Verdict, c.Message)
	}
}

func one(t *testing.T, tg tck.Target, id string) report.Case {
	r := tck.Check(t.Context(), tg, tck.Selection{IDs: []string{id}})
	for _, c := range r.Cases {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no case %s: %s", id, r.Reason)
	return report.Case{}
}
