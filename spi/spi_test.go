package spi_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

type driver struct{ name string }

func (d driver) Info() spi.Info                                   { return spi.Info{Name: d.name} }
func (driver) Open(context.Context, spi.Config) (spi.Conn, error) { return nil, nil }

func TestR048_unknown_driver(t *testing.T) {
	var r spi.Registry
	_, err := r.Lookup("kafka")
	if !errors.Is(err, om.CodeDriverUnavailable) || !strings.Contains(err.Error(), "known: none") {
		t.Error(err)
	}
	r.Register(driver{"nats"})
	r.Register(driver{"badger"})
	_, err = r.Lookup("kafka")
	if !errors.Is(err, om.CodeDriverUnavailable) || !strings.Contains(err.Error(), "known: badger, nats") {
		t.Error(err)
	}
	if d, err := r.Lookup("nats"); d != (driver{"nats"}) || err != nil {
		t.Error(d, err)
	}
}

func TestRegisterPanics(t *testing.T) {
	for name, part := range map[string]string{"": "without a name", "twice": `two drivers are named "twice"`} {
		func() {
			defer func() {
				if told := fmt.Sprint(recover()); !strings.Contains(told, part) {
					t.Errorf("a driver named %q: %s", name, told)
				}
			}()
			var r spi.Registry
			r.Register(driver{"twice"})
			r.Register(driver{name})
		}()
	}
}

type pinging struct {
	spi.Conn
	told string
}

func (p *pinging) Ping(context.Context) error { return errors.New(p.told) }

type overriding struct {
	spi.ConnWrapper
}

func (overriding) Ping(context.Context) error { return errors.New("wrapper") }

func TestG40_powers_are_found_through_wrappers(t *testing.T) {
	inner := &pinging{told: "inner"}
	wrapped := spi.ConnWrapper{Conn: spi.ConnWrapper{Conn: inner}}
	p, ok := spi.As[spi.Pinger](wrapped)
	if !ok || p.Ping(t.Context()).Error() != "inner" {
		t.Error("not found behind two wrappers")
	}
	p, ok = spi.As[spi.Pinger](overriding{spi.ConnWrapper{Conn: inner}})
	if !ok || p.Ping(t.Context()).Error() != "wrapper" {
		t.Error("the wrapper's own method is not found first")
	}
	if _, ok := spi.As[spi.Admin](wrapped); ok {
		t.Error("found what is not there")
	}
	if _, ok := spi.As[spi.Pinger](nil); ok {
		t.Error("found in nil")
	}
	if _, ok := spi.As[spi.Nacker](spi.ReceiverWrapper{}); ok {
		t.Error("found in an empty wrapper")
	}
	if _, ok := spi.As[spi.Transactor](spi.SenderWrapper{}); ok {
		t.Error("found in an empty wrapper")
	}
}

func TestRegistryIsConcurrent(t *testing.T) {
	var r spi.Registry
	var all sync.WaitGroup
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("d%02d", i)
		want = append(want, name)
		all.Go(func() {
			r.Register(driver{name})
			if _, err := r.Lookup(name); err != nil {
				t.Error(err)
			}
			_ = r.Names()
		})
	}
	all.Wait()
	if got := r.Names(); !slices.Equal(got, want) {
		t.Errorf("Names = %v", got)
	}
}

type nacking struct{ spi.Receiver }

func (nacking) Nack(context.Context, []spi.Receipt, time.Duration) ([]error, error) {
	return nil, om.NewError(om.CodeUnsupported, "nack", "q", "")
}

type preparing struct{ spi.Sender }

func (preparing) Prepare(context.Context, *om.Message, om.TransactionCheck) (spi.Outcome, string, error) {
	return spi.Outcome{}, "tx", nil
}
func (preparing) Commit(context.Context, string) error   { return nil }
func (preparing) Rollback(context.Context, string) error { return nil }

func TestG40_powers_of_senders_and_receivers(t *testing.T) {
	n, ok := spi.As[spi.Nacker](spi.ReceiverWrapper{Receiver: spi.ReceiverWrapper{Receiver: nacking{}}})
	if !ok {
		t.Fatal("Nacker not found behind two wrappers")
	}
	if _, err := n.Nack(t.Context(), nil, 0); !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, om.ErrUnsupported) {
		t.Errorf("the error lost its class on the way: %v", err)
	}
	x, ok := spi.As[spi.Transactor](spi.SenderWrapper{Sender: spi.SenderWrapper{Sender: preparing{}}})
	if !ok {
		t.Fatal("Transactor not found behind two wrappers")
	}
	if _, id, err := x.Prepare(t.Context(), nil, om.TransactionCheck{}); id != "tx" || err != nil {
		t.Error(id, err)
	}
}

func TestG39_credentials_do_not_show(t *testing.T) {
	c := spi.Credentials{AccountID: "alice", AccountKey: "s3cret", Token: "t0ken"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "with", c, "at", &c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("opened", "with", c, "at", &c)
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprint(&c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%s %q %x %d", c, c, c, c),
		fmt.Sprintf("%+v", []spi.Credentials{c}), fmt.Errorf("with %v", c).Error(), log.String(),
	} {
		if strings.Contains(shown, c.AccountKey) || strings.Contains(shown, c.Token) || !strings.Contains(shown, "alice") {
			t.Errorf("shown as %s", shown)
		}
	}
}

func TestParseOptions(t *testing.T) {
	for options, part := range map[string]string{
		"n=1":        "",
		"n=3&on=1":   "",
		"m=3":        "no such option: m; there are: n, on",
		"n=three":    "n=three: parse error; it is how many",
		"n=3&n=4":    "the option n occurs 2 times",
		"on=perhaps": "on=perhaps: parse error",
	} {
		u, err := om.ParseURL("oms:x://a/r?" + options)
		if err != nil {
			t.Fatal(err)
		}
		set := flag.NewFlagSet("x", flag.ContinueOnError)
		n, on := set.Int("n", 1, "how many"), set.Bool("on", false, "whether")
		err = spi.ParseOptions(u, set)
		switch {
		case part != "" && (!errors.Is(err, om.CodeMalformedURL) || !strings.Contains(err.Error(), part)):
			t.Errorf("%q: %v", options, err)
		case part == "" && (err != nil || *on != (*n == 3)):
			t.Errorf("%q: n %d, on %t, %v", options, *n, *on, err)
		}
	}
}

func TestR028_refuse(t *testing.T) {
	for needs, ask := range map[om.Capability]func(*om.Message){
		om.CapDelay:       func(m *om.Message) { m.Ext.Delay = 1 },
		om.CapExpire:      func(m *om.Message) { m.Ext.ExpireAt = om.ExpireAfter(time.Hour) },
		om.CapPriority:    func(m *om.Message) { m.Ext.Priority = 10 },
		om.CapQoS1:        func(m *om.Message) { m.QoS = om.AtMostOnce },
		om.CapQoS2:        func(m *om.Message) { m.QoS = om.ExactlyOnce },
		om.CapCompression: func(m *om.Message) { m.Compression = "gzip" },
		om.CapPartitions:  func(m *om.Message) { m.Ext.Partition = om.Some(int32(0)) },
		om.CapExtIDs:      func(m *om.Message) { m.Ext.TraceID = "t" },
		om.CapNested:      func(m *om.Message) { m.Properties["o"] = om.Object(om.Properties{}) },
	} {
		m := om.NewMessage("q", nil)
		m.Properties["n"], m.Ext.Priority = om.Long(1), 11 // which counts as none
		if err := spi.Refuse("send", m, nil); err != nil {
			t.Errorf("asks for nothing: %v", err)
		}
		ask(m)
		if err := spi.Refuse("send", m, om.Capabilities{"other"}); !errors.Is(err, om.ErrUnsupported) || !strings.Contains(err.Error(), string(needs)) {
			t.Errorf("asks for %s: %v", needs, err)
		}
		if err := spi.Refuse("send", m, om.Capabilities{"other", needs}); err != nil {
			t.Errorf("%s is declared: %v", needs, err)
		}
	}
}

func TestR026_limits(t *testing.T) {
	m := om.NewMessage("q", []byte("12345"))
	m.Properties["k"], m.Ext.MessageKey = om.String("value"), "12345"
	size := m.Properties.Size()
	for _, l := range []spi.Limits{{}, {Body: 5, Properties: size, Header: 6}} {
		if err := l.Check("send", m); err != nil {
			t.Errorf("within %+v: %v", l, err)
		}
	}
	for code, l := range map[om.Code]spi.Limits{om.CodeBodyTooLarge: {Body: 4}, om.CodePropertiesTooLarge: {Properties: size - 1}, om.CodeHeaderTooLarge: {Header: 5}} {
		if err := l.Check("send", m); !errors.Is(err, code) {
			t.Errorf("over %+v: %v", l, err)
		}
	}
}

func TestGive(t *testing.T) {
	var text string
	var err error
	var other fmt.Stringer
	as := func(target any) bool { return spi.Give(target, "text") || spi.Give(target, io.EOF) }
	if !as(&text) || text != "text" || !as(&err) || err != io.EOF || as(&other) || as(text) || as(nil) {
		t.Errorf("%q, %v, %v", text, err, other)
	}
}
