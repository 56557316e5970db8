package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// transaction is a prepared message and what became of it. It is remembered
// when it has ended, so that ending it again the same way is no error.
type transaction struct {
	id      string
	message *accepted
	sender  *sender // whose checker is asked
	timer   *time.Timer
	ended   om.TxVerdict // TxUnknown while it is open

	prepared time.Time
	every    time.Duration
	left     int // checks
	asked    int
	parked   bool
}

// maxChecks is how often the checker is asked by default.
const maxChecks = 15

func (s *sender) Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (spi.Outcome, string, error) {
	const op = "prepare"
	if err := s.beginTransaction(ctx, op, m.Destination); err != nil {
		return spi.Outcome{}, "", err
	}
	sys := s.conn.s
	defer sys.mu.Unlock()
	if s.checker == nil {
		return spi.Outcome{}, "", om.NewError(om.CodeCheckerMissing, op, m.Destination, "make the sender with a checker")
	}
	a, err := s.conn.accept(op, m, map[*queue]int32{})
	if err != nil {
		return spi.Outcome{Err: err}, "", nil
	}
	if err := s.fenced(op, m.Destination); err != nil {
		return spi.Outcome{Err: err}, "", nil
	}
	set := a.queue.config.TransactionCheck
	t := &transaction{
		id: "tx-" + sys.newID(), message: a, sender: s, prepared: time.Now(),
		every: cmp.Or(check.Every, set.Every, sys.txTimeout), left: cmp.Or(check.Max, set.Max, maxChecks),
	}
	a.m.Ext.TransactionID = t.id
	sys.transactions[t.id] = t
	t.timer = time.AfterFunc(cmp.Or(check.After, set.After, sys.txTimeout), func() { sys.ask(t) })
	return spi.Outcome{SendResult: om.SendResult{MessageID: a.m.MessageID, Partition: -1, Offset: -1}}, t.id, nil
}

func (s *sender) Commit(ctx context.Context, txID string) error {
	return s.endTransaction(ctx, "commit", txID, om.TxCommit)
}

func (s *sender) Rollback(ctx context.Context, txID string) error {
	return s.endTransaction(ctx, "rollback", txID, om.TxRollback)
}

// beginTransaction begins a call that a stall holds back; a capability that is
// not there is told at once.
func (s *sender) beginTransaction(ctx context.Context, op, resource string) error {
	sys := s.conn.s
	if err := sys.begin(ctx, &s.life, om.CapTransaction, op, resource); err != nil {
		return err
	}
	sys.mu.Unlock()
	return sys.enter(ctx, &s.life, op, resource, sys.flowing)
}

func (s *sender) endTransaction(ctx context.Context, op, id string, v om.TxVerdict) error {
	if err := s.beginTransaction(ctx, op, id); err != nil {
		return err
	}
	sys := s.conn.s
	defer sys.mu.Unlock()
	if err := s.fenced(op, id); err != nil {
		return err
	}
	t := sys.transactions[id]
	switch {
	case s.conn.readOnly:
		return om.NewError(om.CodeForbidden, op, id, "the account may not send; use another one")
	case t == nil || t.sender != s && (s.group == "" || t.sender.group != s.group):
		return om.NewError(om.CodeTransactionNotExists, op, id, "this group of producers has no transaction with this id")
	case t.ended == v:
		return nil
	case t.ended != om.TxUnknown:
		return om.NewError(om.CodeTransactionState, op, id, "the transaction has been ended the other way")
	case t.message.queue.deleted:
		return om.NewError(om.CodeDestinationNotFound, op, t.message.queue.config.Name, "the queue was deleted, and the prepared message with it")
	}
	t.finish(v)
	return nil
}

// finish ends an open transaction.
func (t *transaction) finish(v om.TxVerdict) {
	t.timer.Stop()
	t.ended = v
	if v == om.TxCommit {
		t.message.publish()
	}
}

// asker returns the sender that can be asked: the one that has prepared the
// message, or another one of its group.
func (sys *System) asker(t *transaction) *sender {
	if t.sender.end == nil && t.sender.fenced("check", t.id) == nil {
		return t.sender
	}
	for c := range sys.conns {
		for other := range c.senders {
			if other.end == nil && other.fenced("check", t.id) == nil && other.checker != nil && other.group != "" && other.group == t.sender.group {
				return other
			}
		}
	}
	return nil
}

// ask asks the checker what became of an open transaction, and has it asked
// again when it does not know.
func (sys *System) ask(t *transaction) {
	sys.mu.Lock()
	if t.ended != om.TxUnknown || t.message.queue.deleted {
		sys.mu.Unlock()
		return
	}
	s := sys.asker(t)
	if s == nil {
		t.timer.Reset(t.every)
		sys.mu.Unlock()
		return
	}
	if t.left == 0 {
		t.ended, t.parked = om.TxRollback, true
		sys.mu.Unlock()
		return
	}
	t.left--
	t.asked++
	s.asking.Add(1)
	defer s.asking.Done()
	sys.advance(time.Now())
	m := copyOut(t.message.m)
	sys.mu.Unlock()

	verdict := s.checker(s.ctx, m)

	sys.mu.Lock()
	defer sys.mu.Unlock()
	switch {
	case t.ended != om.TxUnknown:
	case verdict == om.TxUnknown || s.end != nil || s.fenced("check", t.id) != nil:
		t.timer.Reset(t.every)
	default:
		t.finish(verdict)
	}
}

// Transactions implements spi.TransactionAdmin.
func (c *conn) Transactions(ctx context.Context, name string, max int) ([]om.TransactionInfo, error) {
	if err := c.begin(ctx, om.CapTransaction, "list transactions", name); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	var only *queue
	if name != "" {
		var err error
		if only, err = c.s.queue("list transactions", name); err != nil {
			return nil, err
		}
	}
	var out []om.TransactionInfo
	for _, t := range c.s.transactions {
		if (t.ended == om.TxUnknown || t.parked) && (only == nil || t.message.queue == only) {
			out = append(out, t.info())
		}
	}
	slices.SortFunc(out, func(a, b om.TransactionInfo) int {
		return cmp.Or(a.Prepared.Compare(b.Prepared), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(max, len(out))], nil
}

func (t *transaction) info() om.TransactionInfo {
	return om.TransactionInfo{
		ID: t.id, Queue: t.message.queue.config.Name, ProducerGroup: t.sender.group, Prepared: t.prepared, Checks: t.asked, Parked: t.parked,
		Message: copyOut(t.message.m),
	}
}

// Transaction implements spi.TransactionAdmin.
func (c *conn) Transaction(ctx context.Context, id string) (om.TransactionInfo, error) {
	if err := c.begin(ctx, om.CapTransaction, "show transaction", id); err != nil {
		return om.TransactionInfo{}, err
	}
	defer c.s.mu.Unlock()
	if t := c.s.transactions[id]; t != nil && (t.ended == om.TxUnknown || t.parked) {
		return t.info(), nil
	}
	return om.TransactionInfo{}, om.NewError(om.CodeTransactionNotExists, "show transaction", id, "no open transaction has this id")
}

// EndTransaction implements spi.TransactionAdmin.
func (c *conn) EndTransaction(ctx context.Context, id string, v om.TxVerdict) error {
	const op = "end transaction"
	if err := c.begin(ctx, om.CapTransaction, op, id); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	t := c.s.transactions[id]
	switch {
	case t == nil:
		return om.NewError(om.CodeTransactionNotExists, op, id, "no transaction has this id")
	case t.parked:
		t.parked, t.ended = false, om.TxUnknown
	case t.ended == v:
		return nil
	case t.ended != om.TxUnknown:
		return om.NewError(om.CodeTransactionState, op, id, "the transaction has been ended the other way")
	}
	t.finish(v)
	return nil
}
