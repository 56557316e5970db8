package tck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var lifecycleCases = table{
	"R093": states,
	"R094": restartable,
	"G02":  concurrentUse,
	"G10":  closeIdempotent,
	"G11":  afterClose,
	"G12":  noGoroutineLeak,
	"G32":  gracefulStop,
}

// endpoints returns one of each kind, bound to q where that is possible.
func (t *trial) endpoints(q string) map[string]om.Lifecycle {
	push := t.Push(om.WithGroup("push"))
	t.NoError(push.Bind(t.ctx, func(context.Context, *om.Delivery) error { return nil }, q), "bind")
	return map[string]om.Lifecycle{"producer": t.Producer(), "pull consumer": t.Pull([]string{q}, om.WithGroup("pull")), "push consumer": push}
}

// states watches a stop that takes time: STOPPING is seen while a handler runs.
func states(t *trial) {
	q := t.Queue()
	for what, e := range t.endpoints(q) {
		equal(t, "state of a new "+what, e.State(), om.Started)
		t.NoError(e.Stop(t.ctx), "stop")
		equal(t, "state of a stopped "+what, e.State(), om.Stopped)
		t.NoError(e.Start(t.ctx), "start")
		equal(t, "state of a "+what+" that was started again", e.State(), om.Started)
		t.NoError(e.Close(t.ctx), "close")
		equal(t, "state of a closed "+what, e.State(), om.Stopped)
	}
	running, finish := make(chan struct{}), make(chan struct{})
	c := t.Push()
	t.NoError(c.Bind(t.ctx, func(context.Context, *om.Delivery) error {
		close(running)
		<-finish
		return nil
	}, q), "bind")
	t.Send(t.Producer(), message(q, "a"))
	select {
	case <-running:
	case <-t.ctx.Done():
		close(finish)
		t.Fatalf("the handler was not called")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(t.ctx) }()
	for deadline := time.Now().Add(t.Arrive); c.State() == om.Started && time.Now().Before(deadline); {
		t.pause(time.Millisecond)
	}
	equal(t, "state while a stop waits for a handler", c.State(), om.Stopping)
	close(finish)
	t.Succeeds(<-stopped, "stop")
	equal(t, "state after the stop", c.State(), om.Stopped)
}

func restartable(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q}, om.WithGroup("pull"))
	seen := newLog()
	push := t.Push(om.WithGroup("push"))
	t.NoError(push.Bind(t.ctx, collect(seen), q), "bind")
	for i := range 3 {
		for what, e := range map[string]om.Lifecycle{"producer": p, "pull consumer": c, "push consumer": push} {
			t.NoError(e.Stop(t.ctx), "stop %s", what)
			t.NoError(e.Start(t.ctx), "start %s again", what)
		}
		t.Send(p, message(q, fmt.Sprint(i)))
		d := t.Receive(c)
		equal(t, "body after a restart", string(d.Body), fmt.Sprint(i))
		t.Ack(c, d)
		t.await(seen, i+1, "messages to the handler after a restart")
	}
}

func concurrentUse(t *trial) {
	const workers, each = 6, 8
	q := t.manyPartitions()
	p, c := t.Producer(), t.Pull([]string{q})
	var all sync.WaitGroup
	var received atomic.Int32
	ctx, done := context.WithCancel(t.ctx)
	defer done()
	for w := range workers {
		all.Go(func() {
			for i := range each {
				var err error
				switch i % 4 {
				case 0:
					_, err = p.Send(t.ctx, message(q, "x"))
				case 1:
					_, err = p.SendAsync(t.ctx, message(q, "x")).Wait(t.ctx)
				case 2:
					_, err = p.SendBatch(t.ctx, messages(q, "x"))
				default:
					err = p.SendOneway(t.ctx, message(q, "x"))
				}
				if err != nil {
					t.Errorf("send number %d of worker %d: %v", i, w, err)
				}
				_, _, _ = p.State(), c.Queues(), t.AP().Attributes()
			}
		})
		all.Go(func() {
			for {
				ds, err := c.ReceiveBatch(ctx, 3)
				if err != nil {
					return
				}
				if err := c.Ack(t.ctx, ds...); err != nil {
					t.Errorf("acknowledge: %v", err)
				}
				if received.Add(int32(len(ds))) >= workers*each {
					done()
				}
			}
		})
	}
	if !t.Ends("concurrent use of one producer and one consumer", 2*t.Arrive, all.Wait) {
		done()
	}
	equal(t, "messages received", received.Load(), workers*each)
}

func closeIdempotent(t *trial) {
	ap := t.OpenAgain()
	q := t.Queue()
	p, err := ap.NewProducer(t.ctx)
	t.NoError(err, "new producer")
	c := t.PullOf(ap, []string{q})
	for what, f := range map[string]func(context.Context) error{"a producer": p.Close, "a consumer": c.Close} {
		for i := range 3 {
			t.closes(what, i, f)
		}
	}
	for i := range 3 {
		t.closes("the access point", i, ap.Close)
	}
	t.driverCloses(q)
}

func (t *trial) closes(what string, i int, f func(context.Context) error) {
	var err error
	if t.Ends(fmt.Sprintf("Close number %d of %s", i+1, what), t.Arrive, func() { err = f(t.ctx) }) && err != nil && !is(err, om.ErrClosed) {
		t.Errorf("Close number %d of %s: got %s, want success or ErrClosed", i+1, what, shown(err))
	}
}

// driverCloses closes the driver's own values twice, without the portable layer.
func (t *trial) driverCloses(q string) {
	conn := t.openRaw()
	s, err := conn.NewSender(t.ctx, spi.SenderConfig{})
	t.NoError(err, "new sender of the driver")
	r, err := conn.NewReceiver(t.ctx, spi.ReceiverConfig{Queue: q, Group: "raw", Lease: t.Lease})
	t.NoError(err, "new receiver of the driver")
	for what, f := range map[string]func(context.Context) error{"the driver's sender": s.Close, "the driver's receiver": r.Close} {
		t.closes(what, 0, f)
		t.closes(what, 1, f)
	}
	t.closes("the driver's connection", 0, conn.Close)
	t.closes("the driver's connection", 1, conn.Close)
}

func afterClose(t *trial) {
	q := t.Queue()
	watch := t.Pull([]string{q}, om.WithGroup("watch"))
	ap := t.OpenAgain()
	p, err := ap.NewProducer(t.ctx)
	t.NoError(err, "new producer")
	c := t.PullOf(ap, []string{q})
	t.NoError(p.Close(t.ctx), "close")
	t.NoError(c.Close(t.ctx), "close")
	closed := map[string]func() error{
		"Send":       func() error { _, err := p.Send(t.ctx, message(q, "a")); return err },
		"SendBatch":  func() error { _, err := p.SendBatch(t.ctx, messages(q, "a")); return err },
		"SendAsync":  func() error { _, err := p.SendAsync(t.ctx, message(q, "a")).Wait(t.ctx); return err },
		"SendOneway": func() error { return p.SendOneway(t.ctx, message(q, "a")) },
		"Start":      func() error { return p.Start(t.ctx) },
		"Receive":    func() error { _, err := c.Receive(t.ctx); return err },
		"Bind":       func() error { return c.Bind(t.ctx, q) },
	}
	check := func(calls map[string]func() error) {
		for what, f := range calls {
			var err error
			if t.Ends(what+" after Close", t.Arrive, func() { err = f() }) {
				t.Is(err, what+" after Close", om.ErrClosed)
			}
		}
	}
	check(closed)
	t.NoError(ap.Close(t.ctx), "close")
	check(map[string]func() error{
		"NewProducer":     func() error { _, err := ap.NewProducer(t.ctx); return err },
		"NewPullConsumer": func() error { _, err := ap.NewPullConsumer(t.ctx); return err },
	})
	conn := t.openRaw()
	s, err := conn.NewSender(t.ctx, spi.SenderConfig{})
	t.NoError(err, "new sender of the driver")
	t.NoError(s.Close(t.ctx), "close the driver's sender")
	check(map[string]func() error{"Send of the driver": func() error { return sendWith(t.ctx, s, stamped(message(q, "a"))) }})
	t.Nothing(watch, "what is sent after Close must not be stored")
}

// noGoroutineLeak uses everything; that nothing is left is judged after every case.
func noGoroutineLeak(t *trial) {
	q := t.Queue()
	for range 3 {
		ap := t.OpenAgain()
		p, err := ap.NewProducer(t.ctx)
		t.NoError(err, "new producer")
		c := t.PullOf(ap, []string{q})
		push, err := ap.NewPushConsumer(t.ctx, om.WithGroup("push"))
		t.NoError(err, "new push consumer")
		t.NoError(push.Bind(t.ctx, func(context.Context, *om.Delivery) error { return nil }, q), "bind")
		t.Send(p, message(q, "a"))
		t.Receive(c)
		t.NoError(ap.Close(t.ctx), "close")
	}
}

func gracefulStop(t *trial) {
	q := t.Queue()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	seen := newLog()
	c := t.Push()
	t.NoError(c.Bind(t.ctx, func(_ context.Context, d *om.Delivery) error {
		entered <- struct{}{}
		<-leave
		seen.add(string(d.Body))
		return nil
	}, q), "bind")
	t.SendAll(t.Producer(), q, "0", "1", "2")
	select {
	case <-entered:
	case <-time.After(t.Arrive):
		close(leave)
		t.Fatalf("the handler was not called within %v", t.Arrive)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(t.ctx) }()
	t.pause(t.Slack)
	select {
	case err := <-stopped:
		t.Errorf("Stop returned while a handler ran (%s)", shown(err))
		stopped <- err
	default:
	}
	close(leave)
	var err error
	t.Ends("Stop after the handlers have finished", t.Arrive, func() { err = <-stopped })
	t.Succeeds(err, "Stop")
	handled := seen.all()
	var rest []string
	if n := 3 - len(handled); n > 0 {
		rest = bodies(t.ReceiveN(t.Pull([]string{q}), n))
	}
	all := slices.Concat(handled, rest)
	slices.Sort(all)
	equalLists(t, "messages handled before the stop and received after it", all, []string{"0", "1", "2"})
	t.Nothing(t.Pull([]string{q}), "what a handler finished during a stop is acknowledged")

	short, cancel := t.within(t.Slack)
	defer cancel()
	hang := make(chan struct{})
	defer close(hang)
	stuck := t.Push(om.WithGroup("stuck"))
	t.NoError(stuck.Bind(t.ctx, func(context.Context, *om.Delivery) error {
		entered <- struct{}{}
		<-hang
		return nil
	}, q), "bind")
	<-entered
	t.Ends("Stop with a context that ends while a handler runs", t.Arrive, func() { err = stuck.Stop(short) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop whose context ended: got %s, want one that matches context.DeadlineExceeded", shown(err))
	}
}
