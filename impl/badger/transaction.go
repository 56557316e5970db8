package badger

import (
	"context"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Prepare implements spi.Transactor.
func (s *sender) Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (out spi.Outcome, id string, err error) {
	if err := s.Begin(ctx, "prepare", m.Destination); err != nil {
		return out, "", err
	}
	if s.forget == nil {
		return out, "", om.NewError(om.CodeCheckerMissing, "prepare", m.Destination, "make the sender with a checker")
	}
	outcomes, ms := make([]spi.Outcome, 1), []*om.Message{m}
	parts := s.encoder.Divide(ms, outcomes, s.queue)
	if outcomes[0].Err != nil {
		return outcomes[0], "", nil
	}
	p := &parts[0]
	a := broker.Append{Queue: p.Queue.(view).Queue, Partition: p.Partition, Epoch: s.epoch}
	a.Chunk, id = s.encoder.EncodePrepared(p, ms)
	if _, err := s.conn.broker.Prepare(ctx, a, s.group, check); err != nil {
		return out, "", err // the chunk's memory may still be read
	}
	s.encoder.Release(p)
	return spi.Outcome{SendResult: om.SendResult{MessageID: id, Partition: -1, Offset: -1}}, id, nil
}

// Commit implements spi.Transactor.
func (s *sender) Commit(ctx context.Context, id string) error {
	return s.endTransaction(ctx, "commit", id, om.TxCommit)
}

// Rollback implements spi.Transactor.
func (s *sender) Rollback(ctx context.Context, id string) error {
	return s.endTransaction(ctx, "rollback", id, om.TxRollback)
}

func (s *sender) endTransaction(ctx context.Context, op, id string, verdict om.TxVerdict) error {
	if err := s.Begin(ctx, op, id); err != nil {
		return err
	}
	return s.conn.broker.EndTransaction(ctx, id, s.group, s.epoch, verdict)
}

// check has the sender's checker asked while the sender lives.
func (s *sender) check(ask om.TransactionChecker) (err error) {
	s.forget, err = s.conn.broker.AddChecker(s.group, s.epoch, func(ctx context.Context, t broker.Transaction) om.TxVerdict {
		m, err := batch.Prepared(t.Chunk, t.Queue)
		if err != nil || !s.enter() {
			return om.TxUnknown
		}
		defer s.asking.Done()
		ctx, cancel := s.Within(ctx)
		defer cancel()
		return ask(ctx, m)
	})
	return err
}

// enter reports whether the sender lives, and has its end wait for asking.
func (s *sender) enter() bool {
	s.ending.RLock()
	defer s.ending.RUnlock()
	select {
	case <-s.Done():
		return false
	default:
		s.asking.Add(1)
		return true
	}
}

// info returns a transaction as the contract tells it.
func info(t broker.Transaction) (om.TransactionInfo, error) {
	if t.Chunk == nil {
		return t.TransactionInfo, nil
	}
	var err error
	t.Message, err = batch.Prepared(t.Chunk, t.Queue)
	return t.TransactionInfo, err
}

// Transactions implements spi.TransactionAdmin.
func (c *conn) Transactions(ctx context.Context, queue string, max int) ([]om.TransactionInfo, error) {
	if err := c.Begin(ctx, "list transactions", queue); err != nil {
		return nil, err
	}
	ts, err := c.broker.Transactions(queue, max)
	if err != nil {
		return nil, err
	}
	out := make([]om.TransactionInfo, len(ts))
	for i, t := range ts {
		if out[i], err = info(t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Transaction implements spi.TransactionAdmin.
func (c *conn) Transaction(ctx context.Context, id string) (om.TransactionInfo, error) {
	if err := c.Begin(ctx, "show transaction", id); err != nil {
		return om.TransactionInfo{}, err
	}
	t, err := c.broker.Transaction(id)
	if err != nil {
		return om.TransactionInfo{}, err
	}
	return info(t)
}

// EndTransaction implements spi.TransactionAdmin.
func (c *conn) EndTransaction(ctx context.Context, id string, verdict om.TxVerdict) error {
	if err := c.Begin(ctx, "end transaction", id); err != nil {
		return err
	}
	return c.broker.EndTransaction(ctx, id, "", broker.Epoch{}, verdict)
}
