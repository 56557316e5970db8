package tck

import (
	"context"
	"errors"
	"fmt"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

var producerCases = table{
	"R052": sendUnknownDestination,
	"R053": sendUnauthorised,
	"R054": sendTimeout,
	"R055": asyncDoesNotBlock,
	"R056": futureListenerAndCancel,
	"R057": onewayNoResult,
	"R059": interceptorCanModify,
	"R060": interceptorPostAndRemove,
	"G01":  noAliasing,
	"G30":  interceptorOrder,
}

func sendUnknownDestination(t *trial) {
	p := t.Producer()
	missing := t.Missing()
	for range 2 { // the first must not have made it
		_, err := p.Send(t.ctx, message(missing, "a"))
		t.Is(err, "send to a queue that does not exist", om.ErrDestination, om.CodeDestinationNotFound)
	}
}

func sendUnauthorised(t *trial) {
	if t.target.ReadOnly == nil {
		t.Untestedf("the target names no account that may not send (ReadOnly)")
	}
	q := t.Queue()
	c := t.Pull([]string{q})
	ap, err := t.target.Library.Open(t.ctx, t.target.URL, append(t.options(t.target.Driver), oms.WithCredentials(t.target.ReadOnly))...)
	t.NoError(err, "open with the account that may not send")
	t.Cleanup(func(ctx context.Context) { _ = ap.Close(ctx) })
	p, err := ap.NewProducer(t.ctx)
	if err == nil {
		_, err = p.Send(t.ctx, message(q, "forbidden"))
	}
	t.Is(err, "send with an account that may not", om.ErrSecurity)
	t.Nothing(c, "what an account may not send must not be stored")
}

func sendTimeout(t *trial) {
	q := t.Queue()
	p := t.Producer()
	t.Send(p, message(q, "warm"))
	open, _ := t.Stall()
	defer open()
	began := time.Now()
	ctx, cancel := t.within(t.Quiet)
	defer cancel()
	var err error
	if t.Ends("Send to a provider that does not answer", t.Arrive, func() { _, err = p.Send(ctx, message(q, "late")) }) {
		t.Is(err, "send to a provider that does not answer", om.ErrTimeout, om.CodeTimeout)
		if d := time.Since(began); d < t.Quiet-t.Slack {
			t.Errorf("Send gave up after %v, its time was %v", d, t.Quiet)
		}
	}
	slow, err := t.AP().NewProducer(t.ctx, om.WithSendTimeout(t.Quiet))
	t.NoError(err, "new producer")
	t.Ends("Send with a SendTimeout", t.Arrive, func() { _, err = slow.Send(t.ctx, message(q, "late")) })
	t.Is(err, "send with a SendTimeout to a provider that does not answer", om.ErrTimeout)
}

func asyncDoesNotBlock(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	open, _ := t.Stall()
	defer open()
	var future *om.Future[om.SendResult]
	if !t.Ends("SendAsync while the provider does not answer", t.Quiet, func() { future = p.SendAsync(t.ctx, message(q, "a")) }) {
		return
	}
	select {
	case <-future.Done():
		_, err := future.Result()
		t.Errorf("the future was done before the provider answered (%v)", shown(err))
	default:
	}
	open()
	ctx, cancel := t.within(t.Arrive)
	defer cancel()
	r, err := future.Wait(ctx)
	t.NoError(err, "the future")
	equal(t, "id at the consumer", t.Receive(c).MessageID, r.MessageID)
}

func futureListenerAndCancel(t *trial) {
	q := t.Queue()
	p := t.Producer()
	done := p.SendAsync(t.ctx, message(q, "a"))
	r, err := done.Wait(t.ctx)
	t.NoError(err, "the future")
	called := make(chan om.SendResult, 1)
	done.OnDone(func(r om.SendResult, _ error) { called <- r })
	select {
	case got := <-called:
		equal(t, "what a listener is told that was added after completion", got.MessageID, r.MessageID)
	default:
		t.Errorf("a listener that was added after completion did not run at once")
	}
	equal(t, "Cancel after completion", done.Cancel(), false)

	open, _ := t.Stall()
	defer open()
	pending := p.SendAsync(t.ctx, message(q, "b"))
	equal(t, "Cancel before completion", pending.Cancel(), true)
	select {
	case <-pending.Done():
	default:
		t.Errorf("a cancelled future is not done")
	}
	_, err = pending.Wait(t.ctx)
	t.Is(err, "a cancelled future", context.Canceled)
	equal(t, "a second Cancel", pending.Cancel(), false)
}

func onewayNoResult(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	open, _ := t.Stall()
	defer open()
	var err, lost error
	ended := t.Ends("SendOneway while the provider does not answer", t.Quiet, func() {
		err = p.SendOneway(t.ctx, message(q, "a"))
		lost = p.SendOneway(t.ctx, message(t.Missing(), "b"))
	})
	if !ended {
		return
	}
	t.Succeeds(err, "SendOneway")
	t.Succeeds(lost, "SendOneway to a queue that does not exist, which only the provider knows,")
	open()
	equal(t, "body", string(t.Receive(c).Body), "a")
}

// Succeeds fails the case unless err is nil.
func (t *trial) Succeeds(err error, what string) {
	if err != nil {
		t.Errorf("%s gave %s, want success", what, shown(err))
	}
}

func interceptorCanModify(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	p := t.Producer(om.WithSendInterceptor(om.SendInterceptor{Before: func(ctx context.Context, m *om.Message) (context.Context, error) {
		m.Properties["added"] = om.String("by the interceptor")
		m.Body = append([]byte("changed "), m.Body...)
		return ctx, nil
	}}))
	t.Send(p, message(q, "body"))
	d := t.Receive(c)
	equal(t, "body at the consumer", string(d.Body), "changed body")
	equal(t, "property at the consumer", d.Properties.GetString("added", ""), "by the interceptor")
}

func interceptorPostAndRemove(t *trial) {
	q := t.Queue()
	p := t.Producer()
	seen := newLog()
	remove := p.AddInterceptor(om.SendInterceptor{
		Before: func(ctx context.Context, m *om.Message) (context.Context, error) {
			seen.add("before " + string(m.Body))
			return ctx, nil
		},
		After: func(_ context.Context, m *om.Message, _ om.SendResult) { seen.add("after " + string(m.Body)) },
	})
	t.Send(p, message(q, "good"))
	if _, err := p.Send(t.ctx, message(t.Missing(), "bad")); err == nil {
		t.Errorf("send to a queue that does not exist succeeded")
	}
	remove()
	t.Send(p, message(q, "later"))
	equalLists(t, "calls of the hooks", seen.all(), []string{"before good", "after good", "before bad"})
}

func interceptorOrder(t *trial) {
	q := t.Queue()
	seen := newLog()
	var sends []om.ProducerOption
	var receives []om.ConsumerOption
	for _, name := range []string{"1", "2", "3"} {
		sends = append(sends, om.WithSendInterceptor(om.SendInterceptor{
			Before: func(ctx context.Context, _ *om.Message) (context.Context, error) {
				seen.add("before " + name)
				return ctx, nil
			},
			After: func(context.Context, *om.Message, om.SendResult) { seen.add("after " + name) },
		}))
		receives = append(receives, om.WithReceiveInterceptor(om.ReceiveInterceptor{
			Before: func(ctx context.Context, _ *om.Delivery) (context.Context, error) {
				seen.add("receiving " + name)
				return ctx, nil
			},
			After: func(context.Context, *om.Delivery, error) { seen.add("received " + name) },
		}))
	}
	t.Send(t.Producer(sends...), message(q, "a"))
	equalLists(t, "send hooks", seen.all(), []string{"before 1", "before 2", "before 3", "after 3", "after 2", "after 1"})
	c := t.Push(receives...)
	t.NoError(c.Bind(t.ctx, func(context.Context, *om.Delivery) error { return nil }, q), "bind")
	equalLists(t, "receive hooks", t.await(seen, 12, "calls of hooks")[6:],
		[]string{"receiving 1", "receiving 2", "receiving 3", "received 3", "received 2", "received 1"})
}

func noAliasing(t *trial) {
	q := t.Queue()
	p := t.Producer()
	m := message(q, "body of the first")
	m.Properties["bytes"] = om.Binary([]byte("bytes"))
	m.Properties["key"] = om.String("first")
	t.Send(p, m)
	copy(m.Body, "XXXX")
	m.Properties["key"] = om.String("second")
	delete(m.Properties, "bytes")
	a, b := t.Pull([]string{q}, om.WithGroup("a")), t.Pull([]string{q}, om.WithGroup("b"))
	check := func(d *om.Delivery, who string) {
		equal(t, "body for "+who, string(d.Body), "body of the first")
		equal(t, "property for "+who, d.Properties.GetString("key", ""), "first")
		equal(t, "binary property for "+who, string(d.Properties.GetBytes("bytes", nil)), "bytes")
	}
	d := t.Receive(a)
	check(d, "the first group, after the sender has changed its message")
	copy(d.Body, "YYYY")
	d.Properties["key"] = om.String("changed")
	check(t.Receive(b), "the second group, after the first has changed what it received")
}

var batchCases = table{
	"R058": batchAllDelivered,
	"G27":  batchPartial,
	"G28":  batchEmpty,
	"G29":  batchOrder,
}

func batchAllDelivered(t *trial) {
	const n = 250
	q := t.manyPartitions()
	rs := t.SendAll(t.Producer(), q, numbered(n)...)
	equal(t, "send results", len(rs), n)
	got := make(map[string]int)
	for _, d := range t.ReceiveN(t.Pull([]string{q}), n) {
		got[string(d.Body)]++
	}
	for _, b := range numbered(n) {
		if got[b] != 1 {
			t.Errorf("message %s of the batch came %d times", b, got[b])
		}
	}
}

func batchPartial(t *trial) {
	q := t.Queue()
	p, c := t.Producer(), t.Pull([]string{q})
	ms := messages(q, "0", "1", "2")
	ms[1].Destination = t.Missing()
	rs, err := p.SendBatch(t.ctx, ms)
	var batch *om.BatchError
	if !errors.As(err, &batch) {
		t.Fatalf("a batch with one bad message: got %s, want a *BatchError", shown(err))
	}
	t.Is(batch.At(1), "the bad message's error", om.ErrDestination)
	if t.Has(om.CapAtomicBatch) {
		for i := range ms {
			if batch.At(i) == nil {
				t.Errorf("message %d of an atomic batch that failed has no error", i)
			}
		}
		t.Nothing(c, "an atomic batch that failed must store nothing")
		return
	}
	for _, i := range []int{0, 2} {
		t.Succeeds(batch.At(i), fmt.Sprintf("good message %d beside a bad one", i))
		if len(rs) == 3 && rs[i].MessageID == "" {
			t.Errorf("good message %d beside a bad one has no id in its result", i)
		}
	}
	equalLists(t, "stored messages", sortedBodies(t.ReceiveN(c, 2)), []string{"0", "2"})
	t.Nothing(c, "the bad message must not be stored")
}

func batchEmpty(t *trial) {
	p := t.Producer()
	for what, send := range map[string]func() error{
		"SendBatch of nothing":       func() error { _, err := p.SendBatch(t.ctx, nil); return err },
		"SendBatchAsync of nothing":  func() error { _, err := p.SendBatchAsync(t.ctx, nil).Wait(t.ctx); return err },
		"SendBatchOneway of nothing": func() error { return p.SendBatchOneway(t.ctx, []*om.Message{}) },
	} {
		var err error
		if t.Ends(what, t.Arrive, func() { err = send() }) {
			t.Succeeds(err, what)
		}
	}
	equal(t, "messages that came to the driver", t.gate.messages(), 0)
}

func batchOrder(t *trial) {
	q := t.Queue()
	const n = 100
	t.SendAll(t.Producer(), q, numbered(n)...)
	equalLists(t, "order of the batch", bodies(t.ReceiveN(t.Pull([]string{q}), n)), numbered(n))
}
