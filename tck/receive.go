package tck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func is(err, want error) bool { return errors.Is(err, want) }

// message returns a message with that body and without properties.
func message(queue, body string) *om.Message { return om.NewMessage(queue, []byte(body)) }

// numbered returns n bodies "0", "1", and so on.
func numbered(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprint(i)
	}
	return bodies
}

func messages(queue string, bodies ...string) []*om.Message {
	ms := make([]*om.Message, len(bodies))
	for i, b := range bodies {
		ms[i] = message(queue, b)
	}
	return ms
}

// Send sends m and ends the case when that fails.
func (t *trial) Send(p om.Producer, m *om.Message) om.SendResult {
	r, err := p.Send(t.ctx, m)
	t.NoError(err, "send to %s", m.Destination)
	return r
}

// SendAll sends messages with these bodies in one batch.
func (t *trial) SendAll(p om.Producer, queue string, bodies ...string) []om.SendResult {
	rs, err := p.SendBatch(t.ctx, messages(queue, bodies...))
	t.NoError(err, "send a batch to %s", queue)
	return rs
}

// Receive returns the next delivery and ends the case when none comes in time.
func (t *trial) Receive(c om.PullConsumer) *om.Delivery { return t.ReceiveWithin(c, t.Arrive) }

// ReceiveWithin returns the next delivery and ends the case when none comes
// within d.
func (t *trial) ReceiveWithin(c om.PullConsumer, d time.Duration) *om.Delivery {
	ctx, cancel := t.within(d)
	defer cancel()
	got, err := c.Receive(ctx)
	if is(err, om.ErrTimeout) {
		t.Fatalf("no message came within %v", d)
	}
	t.NoError(err, "receive")
	if got == nil || got.Message == nil {
		t.Fatalf("Receive returned no message and no error")
	}
	return got
}

// ReceiveN returns the next n deliveries.
func (t *trial) ReceiveN(c om.PullConsumer, n int) []*om.Delivery {
	return t.receiveN(c, n, func(...*om.Delivery) {})
}

// ReceiveAndAck returns the next n deliveries and acknowledges them as they
// come: systems may hold messages of a key back until the one before is settled.
func (t *trial) ReceiveAndAck(c om.PullConsumer, n int) []*om.Delivery {
	return t.receiveN(c, n, func(ds ...*om.Delivery) { t.Ack(c, ds...) })
}

func (t *trial) receiveN(c om.PullConsumer, n int, each func(...*om.Delivery)) []*om.Delivery {
	var ds []*om.Delivery
	deadline := time.Now().Add(t.Arrive)
	for len(ds) < n {
		ctx, cancel := context.WithDeadline(t.ctx, deadline)
		got, err := c.ReceiveBatch(ctx, n-len(ds))
		cancel()
		if is(err, om.ErrTimeout) {
			t.Fatalf("%d of %d messages came within %v: %v", len(ds), n, t.Arrive, bodies(ds))
		}
		t.NoError(err, "receive")
		each(got...)
		ds = append(ds, got...)
	}
	return ds
}

// Nothing fails the case when a message comes while it must be quiet.
func (t *trial) Nothing(c om.PullConsumer, why string) {
	ctx, cancel := t.within(t.Quiet)
	defer cancel()
	d, err := c.Receive(ctx)
	switch {
	case err == nil:
		t.Errorf("%s, but message %s with body %q came (delivery %d)", why, d.MessageID, clip(string(d.Body)), d.Ext.DeliveryCount)
	case !is(err, om.ErrTimeout):
		t.Errorf("receiving while nothing comes: got %s, want the timeout class", shown(err))
	}
}

// Ack acknowledges deliveries and ends the case when that fails.
func (t *trial) Ack(c om.PullConsumer, ds ...*om.Delivery) {
	t.NoError(c.Ack(t.ctx, ds...), "acknowledge")
}

// RoundTrip sends m and returns what a consumer of a group of its own receives.
func (t *trial) RoundTrip(m *om.Message) *om.Delivery {
	c := t.Pull([]string{m.Destination}, om.WithGroup(unique("g")))
	t.Send(t.Producer(), m)
	d := t.Receive(c)
	t.Ack(c, d)
	return d
}

func bodies(ds []*om.Delivery) []string {
	var bs []string
	for _, d := range ds {
		bs = append(bs, string(d.Body))
	}
	return bs
}

func sortedBodies(ds []*om.Delivery) []string {
	bs := bodies(ds)
	slices.Sort(bs)
	return bs
}

// Stall holds the provider's answers back until open is called: by the
// target's hook, or else in front of the driver. waits is closed when a send
// has come that far; it is nil with a hook.
func (t *trial) Stall() (open func(), waits <-chan struct{}) {
	if t.target.Faults.Stall != nil {
		var resume func()
		err := unlabelled(func() (err error) {
			resume, err = t.target.Faults.Stall(t.ctx)
			return err
		})
		if err != nil {
			t.Brokenf("the target's Stall hook: %v", err)
		}
		resume = sync.OnceFunc(resume)
		t.Cleanup(func(context.Context) { resume() })
		return resume, nil
	}
	open, waits = t.gate.close()
	t.Cleanup(func(context.Context) { open() })
	return open, waits
}

// Ends fails the case unless f returns in time, and reports whether it did.
func (t *trial) Ends(what string, limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("%s panicked: %v", what, p)
			}
		}()
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		t.Errorf("%s did not return within %v", what, limit)
		return false
	}
}

// log collects texts from many goroutines.
type log struct {
	mu      sync.Mutex
	lines   []string
	changed chan struct{}
}

func newLog() *log { return &log{changed: make(chan struct{})} }

func (l *log) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, s)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// await waits until there are n lines and returns them; it ends the case when
// they do not come in time.
func (t *trial) await(l *log, n int, what string) []string {
	deadline := time.NewTimer(t.Arrive)
	defer deadline.Stop()
	for {
		l.mu.Lock()
		lines, changed := slices.Clone(l.lines), l.changed
		l.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("%s: %d of %d came within %v: %v", what, len(lines), n, t.Arrive, lines)
		}
	}
}

// pause waits for a time in which something must not happen.
func (t *trial) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
	}
}
