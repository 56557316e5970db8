package tck

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var checkCases = table{
	"R119": transactionIdempotent,
	"R120": transactionOfOthers,
	"R121": checksSpaced,
	"R122": checkOfGroup,
	"R123": transactionDurable,
	"R124": openDelaysNobody,
	"R125": checksOfQueue,
	"R126": parkedByHand,
	"R127": fencedTransaction,
	"R133": checkerPanics,
	"R134": commitOrder,
}

// transactor returns the driver's transactions of a group of producers.
func (t *trial) transactor(group string) spi.Transactor {
	s, err := t.openRaw().NewSender(t.ctx, spi.SenderConfig{Checker: unknownYet, Group: group})
	t.NoError(err, "new sender of the driver")
	t.Cleanup(func(ctx context.Context) { _ = s.Close(ctx) })
	x, ok := spi.As[spi.Transactor](s)
	if !ok {
		t.Errorf("the driver declares transactions and has no Transactor")
	}
	return x
}

func (t *trial) prepareRaw(x spi.Transactor, q, body string) string {
	out, id, err := x.Prepare(t.ctx, stamped(message(q, body)), om.TransactionCheck{})
	if err == nil {
		err = out.Err
	}
	t.NoError(err, "prepare")
	return id
}

func transactionIdempotent(t *trial) {
	q := t.Queue()
	x := t.transactor(unique("tck"))
	committed, rolled := t.prepareRaw(x, q, "committed"), t.prepareRaw(x, q, "rolled back")
	for range 2 {
		t.NoError(x.Commit(t.ctx, committed), "commit, and commit again")
		t.NoError(x.Rollback(t.ctx, rolled), "roll back, and roll back again")
	}
	t.Is(x.Rollback(t.ctx, committed), "Rollback after Commit", om.ErrTransaction)
	t.Is(x.Commit(t.ctx, rolled), "Commit after Rollback", om.ErrTransaction)
	c := t.Pull([]string{q})
	equal(t, "body", string(t.Receive(c).Body), "committed")
	t.Nothing(c, "a transaction that was ended twice must have its effect once")
}

func transactionOfOthers(t *trial) {
	q := t.Queue()
	mine, other := t.transactor(unique("tck")), t.transactor(unique("tck"))
	id := t.prepareRaw(mine, q, "mine")
	t.Is(other.Commit(t.ctx, id), "commit by another group of producers", om.ErrTransaction)
	t.Is(other.Rollback(t.ctx, id), "rollback by another group of producers", om.ErrTransaction)
	t.Is(mine.Commit(t.ctx, "no such transaction"), "commit of an unknown transaction", om.ErrTransaction)
	c := t.Pull([]string{q})
	t.Nothing(c, "what another group says must have no effect")
	t.NoError(mine.Commit(t.ctx, id), "commit")
	equal(t, "body", string(t.Receive(c).Body), "mine")
}

// questions is what checkers were asked, and when.
type questions struct {
	mu sync.Mutex
	at []time.Time
}

func (q *questions) note() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.at = append(q.at, time.Now())
}

func (q *questions) all() []time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]time.Time(nil), q.at...)
}

func checksSpaced(t *trial) {
	q := t.Queue()
	check := om.TransactionCheck{After: max(t.Quiet, 200*time.Millisecond), Every: max(2*t.Quiet, 400*time.Millisecond), Max: 2}
	var asked questions
	p := t.Producer(om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict {
		asked.note()
		return om.TxUnknown
	}))
	began := time.Now()
	tx, err := p.Prepare(t.ctx, message(q, "never"), om.WithTransactionCheck(check))
	t.NoError(err, "prepare")
	t.pause(check.After + 4*check.Every)
	at := asked.all()
	equal(t, "questions to the checker", len(at), check.Max)
	if len(at) == check.Max {
		for i, least := range []time.Duration{check.After, check.Every} {
			if got := at[i].Sub(began); got < least-50*time.Millisecond {
				t.Errorf("question %d came after %v, not before %v", i+1, got, least)
			}
			began = at[i]
		}
	}
	t.Is(tx.Commit(t.ctx), "commit after the last check", om.ErrTransaction)
	t.Nothing(t.Pull([]string{q}), "after the last check the transaction must be rolled back")
}

func checkOfGroup(t *trial) {
	q, group := t.Queue(), unique("tck")
	soon := om.TransactionCheck{After: max(t.Quiet, 200*time.Millisecond), Every: max(t.Quiet, 200*time.Millisecond)}
	gone := t.Producer(om.WithProducerGroup(group), om.WithTransactionChecker(unknownYet))
	_, err := gone.Prepare(t.ctx, message(q, "left"), om.WithTransactionCheck(soon))
	t.NoError(err, "prepare")
	t.NoError(gone.Close(t.ctx), "close the producer")
	t.Producer(om.WithProducerGroup(unique("tck")), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict {
		return om.TxRollback
	}))
	t.Producer(om.WithProducerGroup(group), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict { return om.TxCommit }))
	equal(t, "the message that another producer of the group has committed", string(t.Receive(t.Pull([]string{q})).Body), "left")
}

func transactionDurable(t *trial) {
	for what, fault := range t.restarts() {
		q, group := t.Queue(), unique("tck")
		x := t.transactor(group)
		open, committed, rolled := t.prepareRaw(x, q, "open"), t.prepareRaw(x, q, "committed"), t.prepareRaw(x, q, "rolled back")
		t.NoError(x.Commit(t.ctx, committed), "commit")
		t.NoError(x.Rollback(t.ctx, rolled), "rollback")
		fault()
		c := t.Pull([]string{q})
		equal(t, "the message that was committed before "+what, string(t.Receive(c).Body), "committed")
		t.Nothing(c, "after "+what+" open transactions and those that were rolled back must be invisible")
		x = t.transactor(group)
		t.Is(x.Rollback(t.ctx, committed), "rollback after "+what+" of what was committed before", om.ErrTransaction)
		t.NoError(x.Commit(t.ctx, open), "commit after %s", what)
		equal(t, "the message that was committed after "+what, string(t.Receive(c).Body), "open")
	}
}

func openDelaysNobody(t *trial) {
	q := t.Queue()
	x := t.transactor(unique("tck"))
	id := t.prepareRaw(x, q, "open")
	t.Send(t.Producer(), message(q, "later"))
	c := t.Pull([]string{q})
	equal(t, "the message behind an open transaction", string(t.Receive(c).Body), "later")
	t.NoError(x.Commit(t.ctx, id), "commit")
	equal(t, "the message after its commit", string(t.Receive(c).Body), "open")
}

// soonest is the shortest check that a driver must keep.
func (t *trial) soonest() om.TransactionCheck {
	d := max(t.Quiet, 200*time.Millisecond)
	return om.TransactionCheck{After: d, Every: d, Max: 1}
}

func checksOfQueue(t *trial) {
	q, set := om.JoinQueueName(t.Namespace(), "checked"), t.soonest()
	set.Max = 3
	t.NoError(t.AP().Resources().CreateQueue(t.ctx, om.QueueConfig{Name: q, TransactionCheck: set}), "create a queue with a TransactionCheck")
	config, err := t.AP().Resources().Queue(t.ctx, q)
	t.NoError(err, "describe the queue")
	equal(t, "TransactionCheck of the queue", config.TransactionCheck, set)
	asked := newLog()
	p := t.Producer(om.WithTransactionChecker(func(_ context.Context, m *om.Message) om.TxVerdict {
		asked.add(string(m.Body))
		return om.TxUnknown
	}))
	later, err := p.Prepare(t.ctx, message(q, "own settings"), om.WithTransactionCheck(om.TransactionCheck{After: time.Hour}))
	t.NoError(err, "prepare")
	_, err = p.Prepare(t.ctx, message(q, "the queue's"))
	t.NoError(err, "prepare")
	t.await(asked, 1, "questions to the checker")
	t.pause(5 * set.Every)
	equalLists(t, "messages that the checker was asked about", asked.all(), []string{"the queue's", "the queue's", "the queue's"})
	t.NoError(later.Commit(t.ctx), "commit")
}

func parkedByHand(t *trial) {
	q := t.Queue()
	rs := t.AP().Resources()
	if _, err := rs.Transactions(t.ctx, q, 1); errors.Is(err, om.ErrUnsupported) {
		t.Untestedf("the driver lists no transactions")
	}
	p := t.Producer(om.WithTransactionChecker(unknownYet))
	var ids []string
	for _, body := range []string{"delivered", "discarded"} {
		tx, err := p.Prepare(t.ctx, message(q, body), om.WithTransactionCheck(t.soonest()))
		t.NoError(err, "prepare")
		ids = append(ids, tx.ID())
	}
	t.pause(4 * t.soonest().Every)
	list, err := rs.Transactions(t.ctx, q, 10)
	t.NoError(err, "list transactions")
	equal(t, "transactions that are listed after the last check", len(list), 2)
	for i, info := range list {
		if info.ID != ids[i] || !info.Parked || info.Checks != 1 || info.Message == nil || info.Queue != q {
			t.Errorf("transaction %d is listed as %+v", i, info)
		}
	}
	c := t.Pull([]string{q})
	t.Nothing(c, "a parked transaction must be invisible")
	for range 2 {
		t.NoError(rs.EndTransaction(t.ctx, ids[0], om.TxCommit), "commit by hand, and again")
		t.NoError(rs.EndTransaction(t.ctx, ids[1], om.TxRollback), "discard by hand, and again")
	}
	t.Is(rs.EndTransaction(t.ctx, ids[0], om.TxRollback), "discarding by hand what was committed", om.ErrTransaction)
	d := t.Receive(c)
	equal(t, "body of what was committed by hand", string(d.Body), "delivered")
	t.Ack(c, d)
	t.Nothing(c, "what was ended by hand must have its effect once")
	list, err = rs.Transactions(t.ctx, q, 10)
	t.NoError(err, "list transactions")
	equal(t, "transactions that are listed after their ends", len(list), 0)
}

func fencedTransaction(t *trial) {
	q, id, group := t.Queue(), unique("tck"), unique("tck")
	open := func() spi.Transactor {
		s, err := t.openRaw().NewSender(t.ctx, spi.SenderConfig{ProducerID: id, Group: group, Checker: unknownYet})
		t.NoError(err, "new sender of the driver")
		t.Cleanup(func(ctx context.Context) { _ = s.Close(ctx) })
		x, _ := spi.As[spi.Transactor](s)
		return x
	}
	before := open()
	left := t.prepareRaw(before, q, "left")
	after := open()
	out, _, err := before.Prepare(t.ctx, stamped(message(q, "fenced")), om.TransactionCheck{})
	if err == nil {
		err = out.Err
	}
	t.Is(err, "preparing by a producer that was fenced off", om.CodeProducerFenced)
	t.Is(before.Commit(t.ctx, left), "commit by a producer that was fenced off", om.CodeProducerFenced)
	t.Is(before.Rollback(t.ctx, left), "rollback by a producer that was fenced off", om.CodeProducerFenced)
	c := t.Pull([]string{q})
	t.Nothing(c, "what a producer does that was fenced off must have no effect")
	t.NoError(after.Commit(t.ctx, left), "commit by the producer after it")
	equal(t, "the message that it has committed", string(t.Receive(c).Body), "left")
}

func checkerPanics(t *trial) {
	q := t.Queue()
	var asked atomic.Int32
	t.prepare(q, "committed in the end", func(context.Context, *om.Message) om.TxVerdict {
		if asked.Add(1) == 1 {
			panic("the case's checker panics")
		}
		return om.TxCommit
	})
	d := t.ReceiveWithin(t.Pull([]string{q}), 4*t.Arrive)
	equal(t, "body of the message that the checker committed", string(d.Body), "committed in the end")
	if n := asked.Load(); n < 2 {
		t.Errorf("the message was delivered after %d questions, the checker panicked at the first", n)
	}
}

func commitOrder(t *trial) {
	q := t.Queue()
	x := t.transactor(unique("tck"))
	first, second := t.prepareRaw(x, q, "prepared first"), t.prepareRaw(x, q, "prepared second")
	p := t.Producer()
	t.Send(p, message(q, "sent before the commits"))
	t.NoError(x.Commit(t.ctx, second), "commit")
	t.Send(p, message(q, "sent between the commits"))
	t.NoError(x.Commit(t.ctx, first), "commit")
	var bodies []string
	for _, d := range t.ReceiveN(t.Pull([]string{q}), 4) {
		bodies = append(bodies, string(d.Body))
	}
	equalLists(t, "messages in the order of their commits", bodies, []string{"sent before the commits", "prepared second", "sent between the commits", "prepared first"})
}
