package tck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var pushCases = table{
	"R072": listenerCalled,
	"R073": batchListenerAcks,
	"R077": listenerPerQueue,
	"R078": receiveInterceptors,
	"G31":  handlerPanic,
}

// collect returns a handler that notes the bodies of what it gets.
func collect(l *log) om.Handler {
	return func(_ context.Context, d *om.Delivery) error {
		l.add(string(d.Body))
		return nil
	}
}

func listenerCalled(t *trial) {
	q := t.Queue()
	seen := newLog()
	c := t.Push()
	t.NoError(c.Bind(t.ctx, collect(seen), q), "bind")
	t.pause(t.Slack)
	t.SendAll(t.Producer(), q, "0", "1")
	equalLists(t, "messages to the handler", t.await(seen, 2, "messages to the handler"), []string{"0", "1"})
	t.NoError(c.Close(t.ctx), "close")
	t.Nothing(t.Pull([]string{q}), "a handler that returned nil acknowledges")
}

func batchListenerAcks(t *trial) {
	const n = 4
	whole, some := t.Queue(), t.Queue()
	p := t.Producer()
	t.SendAll(p, whole, numbered(n)...)
	t.SendAll(p, some, numbered(n)...)
	handled := newLog()
	c := t.Push(om.WithManualAck(), om.WithHandlerBatch(n), om.WithLease(max(t.Lease, 2*t.Arrive)))
	batch := func(settle func(ctx context.Context, b *om.Batch) error) om.BatchHandler {
		return func(ctx context.Context, b *om.Batch) error {
			t.Succeeds(settle(ctx, b), "acknowledging in a batch handler")
			for _, d := range b.Deliveries {
				handled.add(string(d.Body))
			}
			return nil
		}
	}
	t.NoError(c.BindBatch(t.ctx, batch(func(ctx context.Context, b *om.Batch) error { return b.Ack(ctx) }), whole), "bind")
	t.NoError(c.BindBatch(t.ctx, batch(func(ctx context.Context, b *om.Batch) error {
		var even []*om.Delivery
		for _, d := range b.Deliveries {
			if d.Body[0]%2 == 0 {
				even = append(even, d)
			}
		}
		return b.AckOnly(ctx, even...)
	}), some), "bind")
	t.await(handled, 2*n, "messages to the batch handlers")
	t.NoError(c.Close(t.ctx), "close")
	t.Nothing(t.Pull([]string{whole}), "a batch that was acknowledged as a whole must not come again")
	left := t.Pull([]string{some})
	equalLists(t, "messages of a batch that were not acknowledged", sortedBodies(t.ReceiveN(left, n/2)), []string{"1", "3"})
	t.Nothing(left, "the acknowledged part of a batch must not come again")
}

func listenerPerQueue(t *trial) {
	a, b := t.Queue(), t.Queue()
	seenA, seenB := newLog(), newLog()
	c := t.Push()
	t.NoError(c.Bind(t.ctx, collect(seenA), a), "bind")
	t.NoError(c.Bind(t.ctx, collect(seenB), b), "bind")
	p := t.Producer()
	for i := range 5 {
		t.Send(p, message(a, fmt.Sprint("a", i)))
		t.Send(p, message(b, fmt.Sprint("b", i)))
	}
	equalLists(t, "messages to the handler of the first queue", t.await(seenA, 5, "messages to the handler of the first queue"), []string{"a0", "a1", "a2", "a3", "a4"})
	equalLists(t, "messages to the handler of the second queue", t.await(seenB, 5, "messages to the handler of the second queue"), []string{"b0", "b1", "b2", "b3", "b4"})
}

func receiveInterceptors(t *trial) {
	q := t.Queue()
	seen := newLog()
	c := t.Push(om.WithReceiveInterceptor(om.ReceiveInterceptor{
		Before: func(ctx context.Context, _ *om.Delivery) (context.Context, error) {
			seen.add("before")
			return ctx, nil
		},
		After: func(context.Context, *om.Delivery, error) { seen.add("after") },
	}))
	t.NoError(c.Bind(t.ctx, func(context.Context, *om.Delivery) error {
		seen.add("handler")
		return nil
	}, q), "bind")
	p := t.Producer()
	t.Send(p, message(q, "a"))
	t.await(seen, 3, "calls of hooks and handler")
	t.Send(p, message(q, "b"))
	t.await(seen, 6, "calls of hooks and handler")
	t.pause(t.Slack)
	equalLists(t, "calls", seen.all(), []string{"before", "handler", "after", "before", "handler", "after"})
}

func handlerPanic(t *trial) {
	q := t.Queue()
	seen := newLog()
	var panicked, failed atomic.Bool
	c := t.Push(om.WithLease(t.Lease))
	t.NoError(c.Bind(t.ctx, func(_ context.Context, d *om.Delivery) error {
		switch {
		case string(d.Body) == "panics" && !panicked.Swap(true):
			panic("the case's handler panics")
		case string(d.Body) == "fails" && !failed.Swap(true):
			return errors.New("the case's handler fails")
		}
		seen.add(string(d.Body))
		return nil
	}, q), "bind")
	t.SendAll(t.Producer(), q, "panics", "fails", "works")
	got := t.await(seen, 3, "messages handled after a panic and a failure")
	slices.Sort(got)
	equalLists(t, "messages handled", got, []string{"fails", "panics", "works"})
}

var suspendCases = table{
	"R074": suspendResume,
	"R075": suspendForATime,
	"R076": suspendMisuse,
}

// suspended returns a push consumer that is suspended for d, and what its
// handler sees.
func (t *trial) suspended(q string, d time.Duration) (om.PushConsumer, *log) {
	seen := newLog()
	c := t.Push()
	t.NoError(c.Bind(t.ctx, collect(seen), q), "bind")
	t.Send(t.Producer(), message(q, "first"))
	t.await(seen, 1, "messages to the handler")
	t.NoError(c.Suspend(t.ctx, d), "suspend")
	return c, seen
}

func suspendResume(t *trial) {
	q := t.Queue()
	c, seen := t.suspended(q, 0)
	equal(t, "Suspended after Suspend", c.Suspended(), true)
	t.SendAll(t.Producer(), q, "1", "2", "3")
	t.pause(t.Quiet)
	equalLists(t, "messages to the handler while suspended", seen.all(), []string{"first"})
	t.NoError(c.Resume(t.ctx), "resume")
	equal(t, "Suspended after Resume", c.Suspended(), false)
	equalLists(t, "messages to the handler after Resume", t.await(seen, 4, "messages after Resume"), []string{"first", "1", "2", "3"})
}

func suspendForATime(t *trial) {
	q := t.Queue()
	began := time.Now()
	c, seen := t.suspended(q, 2*t.Quiet)
	t.Send(t.Producer(), message(q, "second"))
	t.await(seen, 2, "messages after a suspension for a time")
	if d := time.Since(began); d < 2*t.Quiet-t.Slack {
		t.Errorf("a message came %v after a suspension of %v", d, 2*t.Quiet)
	}
	equal(t, "Suspended after its time", c.Suspended(), false)
	t.NoError(c.Suspend(t.ctx, 0), "suspend")
	t.pause(2 * t.Quiet)
	equal(t, "Suspended without a time", c.Suspended(), true)
}

func suspendMisuse(t *trial) {
	c := t.Push()
	t.Is(c.Resume(t.ctx), "Resume without Suspend", om.CodeNotSuspended)
	t.NoError(c.Stop(t.ctx), "stop")
	t.Is(c.Suspend(t.ctx, 0), "Suspend of a stopped consumer", om.CodeNotRunning)
}

var transactionCases = table{
	"R038": transactionID,
	"R079": preparedIsHidden,
	"R080": commitExposes,
	"R081": rollbackDiscards,
	"R082": needsChecker,
	"R083": checkerAsked,
	"R084": checkerAnswers,
}

func unknownYet(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }

// prepare prepares a message with a checker.
func (t *trial) prepare(q, body string, check om.TransactionChecker) om.Transaction {
	soon := om.TransactionCheck{After: max(t.Quiet, 200*time.Millisecond), Every: max(t.Quiet, 200*time.Millisecond)}
	tx, err := t.Producer(om.WithTransactionChecker(check)).Prepare(t.ctx, message(q, body), om.WithTransactionCheck(soon))
	t.NoError(err, "prepare")
	return tx
}

func transactionID(t *trial) {
	q := t.Queue()
	m := message(q, "a")
	tx, err := t.Producer(om.WithTransactionChecker(unknownYet)).Prepare(t.ctx, m)
	t.NoError(err, "prepare")
	if tx.ID() == "" {
		t.Errorf("the transaction has no id")
	}
	equal(t, "transaction id in the prepared message's header", m.Ext.TransactionID, tx.ID())
	t.NoError(tx.Commit(t.ctx), "commit")
	equal(t, "transaction id after commit", m.Ext.TransactionID, tx.ID())
	d := t.Receive(t.Pull([]string{q}))
	equal(t, "transaction id at the consumer", d.Ext.TransactionID, tx.ID())
}

func preparedIsHidden(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	tx := t.prepare(q, "hidden", unknownYet)
	t.Nothing(c, "a prepared message must be invisible")
	t.NoError(tx.Rollback(t.ctx), "rollback")
}

func commitExposes(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	tx := t.prepare(q, "committed", unknownYet)
	t.NoError(tx.Commit(t.ctx), "commit")
	d := t.Receive(c)
	equal(t, "body", string(d.Body), "committed")
	t.Ack(c, d)
	t.Nothing(c, "a committed message must be delivered once")
	t.Succeeds(tx.Commit(t.ctx), "a second Commit")
	t.Is(tx.Rollback(t.ctx), "Rollback after Commit", om.ErrTransaction)
}

func rollbackDiscards(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	tx := t.prepare(q, "rolled back", unknownYet)
	t.NoError(tx.Rollback(t.ctx), "rollback")
	t.Nothing(c, "a message that was rolled back must never be delivered")
	t.Is(tx.Commit(t.ctx), "Commit after Rollback", om.ErrTransaction)
}

func needsChecker(t *trial) {
	_, err := t.Producer().Prepare(t.ctx, message(t.Queue(), "a"))
	t.Is(err, "prepare without a checker", om.ErrTransaction)
}

func checkerAsked(t *trial) {
	q := t.Queue()
	asked := newLog()
	t.prepare(q, "left open", func(_ context.Context, m *om.Message) om.TxVerdict {
		asked.add(string(m.Body))
		return om.TxRollback
	})
	equalLists(t, "messages that the checker was asked about", t.await(asked, 1, "questions to the checker")[:1], []string{"left open"})
}

func checkerAnswers(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	var unknown atomic.Int32
	t.prepare(q, "unknown, then committed", func(context.Context, *om.Message) om.TxVerdict {
		if unknown.Add(1) == 1 {
			return om.TxUnknown
		}
		return om.TxCommit
	})
	rolled := newLog()
	t.prepare(q, "rolled back", func(context.Context, *om.Message) om.TxVerdict {
		rolled.add("asked")
		return om.TxRollback
	})
	d := t.ReceiveWithin(c, 4*t.Arrive)
	equal(t, "body of the message that the checker committed", string(d.Body), "unknown, then committed")
	if n := unknown.Load(); n < 2 {
		t.Errorf("the message was delivered after %d questions, the first answer was unknown", n)
	}
	t.Ack(c, d)
	t.await(rolled, 1, "questions about the second transaction")
	t.Nothing(c, "what the checker rolled back must never be delivered")
}
