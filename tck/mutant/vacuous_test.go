package mutant_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/report"
)

// vacuous is a driver whose every method does the same useless thing.
type vacuous struct {
	do func(ctx context.Context) error
}

func (v vacuous) Info() spi.Info {
	return spi.Info{Name: "vacuous", Version: "1", SpecVersion: om.SpecVersion}
}

func (v vacuous) Open(ctx context.Context, _ spi.Config) (spi.Conn, error) { return v, v.do(ctx) }
func (v vacuous) Capabilities() om.Capabilities                            { return nil }
func (v vacuous) NewSender(ctx context.Context, _ spi.SenderConfig) (spi.Sender, error) {
	return v, v.do(ctx)
}
func (v vacuous) NewReceiver(ctx context.Context, _ spi.ReceiverConfig) (spi.Receiver, error) {
	return v, v.do(ctx)
}
func (v vacuous) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	return make([]spi.Outcome, len(ms)), v.do(ctx)
}
func (v vacuous) Receive(ctx context.Context, _ int) ([]spi.Received, error) {
	if err := v.do(ctx); err != nil {
		return nil, err
	}
	<-ctx.Done()
	return nil, ctx.Err()
}
func (v vacuous) Ack(ctx context.Context, _ []spi.Receipt) ([]error, error) { return nil, v.do(ctx) }
func (v vacuous) Close(ctx context.Context) error                           { return v.do(ctx) }

// opening is a vacuous driver that opens.
type opening struct{ vacuous }

func (o opening) Open(context.Context, spi.Config) (spi.Conn, error) { return o.vacuous, nil }

// TestVacuousDriversTurnTheRunRed: the run ends, and its conclusion is bad,
// whether already Open is vacuous or only what comes after it.
func TestVacuousDriversTurnTheRunRed(t *testing.T) {
	for name, do := range map[string]func(release chan struct{}) func(context.Context) error{
		"does nothing": func(chan struct{}) func(context.Context) error { return func(context.Context) error { return nil } },
		"always errors": func(chan struct{}) func(context.Context) error {
			return func(context.Context) error { return errors.New("no") }
		},
		"always panics": func(chan struct{}) func(context.Context) error { return func(context.Context) error { panic("no") } },
		"never returns": func(release chan struct{}) func(context.Context) error {
			return func(context.Context) error { <-release; return errors.New("released") }
		},
	} {
		for _, opens := range []bool{false, true} {
			where := "/from Open on"
			if opens {
				where = "/after Open"
			}
			t.Run(name+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					release := make(chan struct{})
					v := vacuous{do(release)}
					var d spi.Driver = v
					if opens {
						d = opening{v}
					}
					var sel tck.Selection
					if raceEnabled { // what never returns is left behind, and under -race that costs minutes
						for i, req := range tck.Requirements() {
							if i%4 == 0 {
								sel.IDs = append(sel.IDs, req.ID)
							}
						}
					}
					r := tck.Check(t.Context(), tck.Target{
						URL: "oms:vacuous://localhost/tck", Driver: d,
						CreateQueue: func(_ context.Context, name string, _ int) (string, error) { return name, nil },
					}, sel)
					close(release)
					if r.Conclusion != report.NotConformant && r.Conclusion != report.Broken {
						t.Errorf("the conclusion is %s (%s): %v", r.Conclusion, r.Reason, r.Counts)
					}
					if r.Counts[report.Pass] > 40 {
						t.Errorf("%d cases pass: %v", r.Counts[report.Pass], r.Counts)
					}
					t.Logf("%s: %s, %v", r.Conclusion, r.Reason, r.Counts)
				})
			})
		}
	}
}
