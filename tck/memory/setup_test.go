package memory_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

const lease = 10 * time.Second

// fixture is a system with one connection and the queue "q" of one partition.
type fixture struct {
	*testing.T
	sys    *memory.System
	conn   spi.Conn
	sender spi.Sender
}

// bubble runs a test in a bubble of testing/synctest, which also finds
// goroutines that are left behind.
func bubble(t *testing.T, test func(f *fixture), opts ...memory.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sys := memory.New(append([]memory.Option{memory.WithQueues(om.QueueConfig{Name: "q"})}, opts...)...)
		f := &fixture{T: t, sys: sys, conn: open(t, sys)}
		f.sender = f.newSender(nil)
		test(f)
		if err := f.conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func open(t *testing.T, sys *memory.System) spi.Conn {
	t.Helper()
	c, err := sys.Driver("memory").Open(t.Context(), config(t, "oms:memory://local/r"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func config(t *testing.T, url string) spi.Config {
	t.Helper()
	u, err := om.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return spi.Config{URL: u, Logger: slog.Default()}
}

// as returns what is behind a value.
func as[T any](f *fixture, v any) T {
	f.Helper()
	t, ok := spi.As[T](v)
	if !ok {
		f.Fatalf("%T is no %T", v, t)
	}
	return t
}

func (f *fixture) queue(name string, partitions int) {
	f.Helper()
	f.ok(as[spi.Admin](f, f.conn).CreateQueue(f.Context(), om.QueueConfig{Name: name, Partitions: partitions}))
}

func (f *fixture) newSender(check om.TransactionChecker) spi.Sender {
	f.Helper()
	s, err := f.conn.NewSender(f.Context(), spi.SenderConfig{Checker: check})
	f.ok(err)
	return s
}

func (f *fixture) receiver(queue, group string) spi.Receiver {
	f.Helper()
	r, err := f.conn.NewReceiver(f.Context(), spi.ReceiverConfig{Queue: queue, Group: group, Lease: lease})
	f.ok(err)
	return r
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// is checks the code of an error and that it tells what and where.
func (f *fixture) is(err error, code om.Code) {
	f.Helper()
	var e *om.Error
	if !errors.Is(err, code) {
		f.Fatalf("the error is %v, not %v", err, code)
	}
	if !errors.As(err, &e) || e.Op == "" || e.Err == nil {
		f.Errorf("the error %v tells no operation or no reason", err)
	}
}

// msg returns a message to "q" with the fields that the portable client sets.
func msg(body string, change ...func(*om.Message)) *om.Message {
	m := om.NewMessage("q", []byte(body))
	m.Version, m.BornHost = om.SpecVersion, "host"
	m.BornAt = time.Now().UTC().Truncate(time.Millisecond)
	for _, c := range change {
		c(m)
	}
	return m
}

func to(queue string) func(*om.Message) { return func(m *om.Message) { m.Destination = queue } }
func key(k string) func(*om.Message)    { return func(m *om.Message) { m.Ext.MessageKey = k } }
func qos(q om.QoS) func(*om.Message)    { return func(m *om.Message) { m.QoS = q } }
func priority(p int8) func(*om.Message) { return func(m *om.Message) { m.Ext.Priority = p } }
func partition(n int32) func(*om.Message) {
	return func(m *om.Message) { m.Ext.Partition = om.Some(n) }
}

func delay(d time.Duration) func(*om.Message) {
	return func(m *om.Message) { m.Ext.Delay = d }
}

func expire(d time.Duration) func(*om.Message) {
	return func(m *om.Message) { m.Ext.ExpireAt = om.ExpireAfter(d) }
}

func property(k string, v om.Value) func(*om.Message) {
	return func(m *om.Message) { m.Properties[k] = v }
}

// send sends messages that must be accepted.
func (f *fixture) send(ms ...*om.Message) []spi.Outcome {
	f.Helper()
	outs, err := f.sender.Send(f.Context(), ms)
	f.ok(err)
	for _, o := range outs {
		f.ok(o.Err)
	}
	return outs
}

// refused returns the error of a message that must not be accepted.
func (f *fixture) refused(m *om.Message) error {
	f.Helper()
	outs, err := f.sender.Send(f.Context(), []*om.Message{m})
	f.ok(err)
	return outs[0].Err
}

// within returns a context that ends after d.
func (f *fixture) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(f.Context(), d)
	f.Cleanup(cancel)
	return ctx
}

// take receives up to max messages that must be there now.
func (f *fixture) take(r spi.Receiver, max int) []spi.Received {
	f.Helper()
	got, err := r.Receive(f.within(time.Nanosecond), max)
	f.ok(err)
	return got
}

// gets receives messages with exactly these bodies.
func (f *fixture) gets(r spi.Receiver, bodies ...string) []spi.Received {
	f.Helper()
	var all []spi.Received
	for len(all) < len(bodies) {
		all = append(all, f.take(r, len(bodies)-len(all))...)
	}
	var got []string
	for _, d := range all {
		got = append(got, string(d.Message.Body))
	}
	if fmt.Sprint(got) != fmt.Sprint(bodies) {
		f.Fatalf("got %q, not %q", got, bodies)
	}
	return all
}

// empty checks that nothing can be received now.
func (f *fixture) empty(r spi.Receiver) {
	f.Helper()
	got, err := r.Receive(f.within(time.Nanosecond), 1)
	if !errors.Is(err, context.DeadlineExceeded) {
		f.Fatalf("received %v, %v where nothing should be", bodies(got), err)
	}
}

func bodies(ds []spi.Received) (out []string) {
	for _, d := range ds {
		out = append(out, string(d.Message.Body))
	}
	return out
}

func receipts(ds ...spi.Received) (out []spi.Receipt) {
	for _, d := range ds {
		out = append(out, d.Receipt)
	}
	return out
}

// ack acknowledges deliveries that must be open.
func (f *fixture) ack(r spi.Receiver, ds ...spi.Received) {
	f.Helper()
	f.settled(r.Ack(f.Context(), receipts(ds...)))
}

func (f *fixture) settled(errs []error, err error) {
	f.Helper()
	f.ok(err)
	if errs != nil {
		f.Fatal(errs)
	}
}

// stale checks that a settlement of one delivery came too late.
func (f *fixture) stale(errs []error, err error) {
	f.Helper()
	f.ok(err)
	if len(errs) != 1 {
		f.Fatalf("%d errors", len(errs))
	}
	f.is(errs[0], om.CodeStaleReceipt)
}

func long(n int) string { return strings.Repeat("x", n) }
