package memory

import (
	"context"
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
}

func (s *sender) Prepare(ctx context.Context, m *om.Message) (spi.Outcome, string, error) {
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
	t := &transaction{id: "tx-" + sys.newID(), message: a, sender: s}
	a.m.Ext.TransactionID = t.id
	sys.transactions[t.id] = t
	t.timer = time.AfterFunc(sys.txTimeout, func() { s.ask(t) })
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
	t := sys.transactions[id]
	switch {
	case s.conn.readOnly:
		return om.NewError(om.CodeForbidden, op, id, "the account may not send; use another one")
	case t == nil:
		return om.NewError(om.CodeTransactionNotExists, op, id, "no transaction has this id")
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

// ask asks the checker what became of an open transaction, and has it asked
// again when it does not know.
func (s *sender) ask(t *transaction) {
	sys := s.conn.s
	sys.mu.Lock()
	if s.end != nil || t.ended != om.TxUnknown || t.message.queue.deleted {
		sys.mu.Unlock()
		return
	}
	s.asking.Add(1)
	defer s.asking.Done()
	sys.advance(time.Now())
	m := copyOut(t.message.m)
	sys.mu.Unlock()

	verdict := s.checker(s.ctx, m)

	sys.mu.Lock()
	defer sys.mu.Unlock()
	switch {
	case s.end != nil || t.ended != om.TxUnknown:
	case verdict == om.TxUnknown:
		t.timer.Reset(sys.txTimeout)
	default:
		t.finish(verdict)
	}
}
