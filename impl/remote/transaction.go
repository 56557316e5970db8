package remote

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Prepare implements spi.Transactor.
func (s *sender) Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (out spi.Outcome, id string, err error) {
	if err := s.begin(ctx); err != nil {
		return out, "", err
	}
	if s.checker == nil {
		return out, "", om.NewError(om.CodeCheckerMissing, "prepare", m.Destination, "make the sender with a checker")
	}
	for range maxDivisions {
		outcomes, ms := make([]spi.Outcome, 1), []*om.Message{m}
		parts := s.encoder.Divide(ms, outcomes, func(name string) (batch.Queue, error) { return s.conn.queue(ctx, name) })
		if outcomes[0].Err != nil {
			return outcomes[0], "", nil
		}
		p := &parts[0]
		data, id := s.encoder.EncodePrepared(p, ms)
		a := s.append(p, data)
		a.Idempotent = false
		r, err := call(s.conn, ctx, "prepare", m.Destination, s.conn.messaging.Prepare,
			&wirepb.PrepareRequest{Append: a, ProducerGroup: text(s.group), Check: wire.TransactionCheck(check)})
		if err != nil {
			return out, "", err // the chunk's memory may still be read
		}
		s.encoder.Release(p)
		if r.GetError() == nil {
			return spi.Outcome{SendResult: om.SendResult{MessageID: id, Partition: -1, Offset: -1}}, id, nil
		}
		s.conn.forget(p.Queue.(*queue))
		out.Err = wire.FromError(r.GetError())
	}
	return out, "", nil
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
	if err := s.begin(ctx); err != nil {
		return err
	}
	_, err := call(s.conn, ctx, op, id, s.conn.messaging.EndTransaction,
		&wirepb.EndTransactionRequest{TransactionId: text(id), ProducerGroup: text(s.group), Verdict: wire.Verdict(verdict), ProducerId: s.producerID, ProducerEpoch: s.epoch})
	return err
}

// checkWithin is how long a checker may take; the server does not wait longer.
const checkWithin = 10 * time.Second

// check has the server ask the sender about transactions while the sender lives:
// when a stream breaks it opens another.
func (s *sender) check() {
	for pause := retryPause.BaseDelay; s.life.Err() == nil; pause = min(2*pause, retryPause.MaxDelay) {
		before := s.conn.secrets.before()
		began := time.Now()
		err := s.checkOn()
		if s.life.Err() != nil {
			return
		}
		if s.conn.secrets.again(before, err) {
			continue
		}
		err = s.conn.failed(s.life, err, "check", s.group)
		if errors.Is(err, om.CodeProducerFenced) {
			s.conn.log.Warn("the server asks about transactions no more", "error", err)
			return
		}
		s.conn.log.Warn("the server cannot ask about transactions; it is tried again", "error", err)
		if time.Since(began) > retryPause.MaxDelay {
			pause = retryPause.BaseDelay
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-t.C:
		case <-s.life.Done():
			t.Stop()
		}
	}
}

// checkOn answers questions of one stream until it breaks.
func (s *sender) checkOn() error {
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	stream, err := s.conn.messaging.CheckTransactions(ctx)
	if err != nil {
		return err
	}
	hello := &wirepb.CheckTransactionsRequest{
		Request: &wirepb.CheckTransactionsRequest_ProducerGroup{ProducerGroup: text(s.group)}, ProducerId: s.producerID, ProducerEpoch: s.epoch,
	}
	if err := stream.Send(hello); err != nil {
		_, err = stream.Recv()
		return err
	}
	answers := make(chan *wirepb.CheckAnswer)
	s.asking.Go(func() {
		for {
			select {
			case a := <-answers:
				if stream.Send(&wirepb.CheckTransactionsRequest{Request: &wirepb.CheckTransactionsRequest_Answer{Answer: a}}) != nil {
					return // Recv knows why
				}
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		s.asking.Go(func() {
			verdict := om.TxUnknown
			if m, err := batch.Prepared(q.GetChunk(), q.GetQueue()); err == nil {
				within, cancel := context.WithTimeout(ctx, checkWithin)
				verdict = s.checker(within, m)
				cancel()
			}
			select {
			case answers <- &wirepb.CheckAnswer{Question: q.GetQuestion(), Verdict: wire.Verdict(verdict)}:
			case <-ctx.Done():
			}
		})
	}
}

// Transactions implements spi.TransactionAdmin.
func (c *conn) Transactions(ctx context.Context, queue string, max int) ([]om.TransactionInfo, error) {
	r, err := call(c, ctx, "list transactions", queue, c.resources.ListTransactions, &wirepb.ListTransactionsRequest{Queue: text(queue), Max: wire.TransactionCheck(om.TransactionCheck{Max: max}).GetMax()})
	if err != nil {
		return nil, err
	}
	out := make([]om.TransactionInfo, len(r.GetTransactions()))
	for i, t := range r.GetTransactions() {
		if out[i], err = transactionInfo(t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Transaction implements spi.TransactionAdmin.
func (c *conn) Transaction(ctx context.Context, id string) (om.TransactionInfo, error) {
	r, err := call(c, ctx, "show transaction", id, c.resources.GetTransaction, &wirepb.GetTransactionRequest{TransactionId: text(id)})
	if err != nil {
		return om.TransactionInfo{}, err
	}
	return transactionInfo(r.GetTransaction())
}

// EndTransaction implements spi.TransactionAdmin.
func (c *conn) EndTransaction(ctx context.Context, id string, verdict om.TxVerdict) error {
	_, err := call(c, ctx, "end transaction", id, c.resources.DecideTransaction, &wirepb.DecideTransactionRequest{TransactionId: text(id), Verdict: wire.Verdict(verdict)})
	return err
}

func transactionInfo(t *wirepb.TransactionInfo) (info om.TransactionInfo, err error) {
	info = om.TransactionInfo{
		ID: t.GetTransactionId(), Queue: t.GetQueue(), ProducerGroup: t.GetProducerGroup(), Prepared: time.UnixMilli(t.GetPrepared()).UTC(),
		Checks: int(t.GetChecks()), Parked: t.GetParked(),
	}
	if n := t.GetNextCheck(); n != 0 {
		info.NextCheck = time.UnixMilli(n).UTC()
	}
	if len(t.GetChunk()) > 0 {
		info.Message, err = batch.Prepared(t.GetChunk(), t.GetQueue())
	}
	return info, err
}

// answers begins to answer questions about transactions; Close ends it.
func (s *sender) answers(cfg spi.SenderConfig) {
	s.group, s.checker = cmp.Or(cfg.Group, crand.Text()), cfg.Checker
	s.life, s.end = context.WithCancel(s.conn.life)
	if s.checker != nil && s.conn.capabilities.Has(om.CapTransaction) {
		s.asking.Add(1) // from before the first call of the checker until after the last
		if !s.conn.spawn(func() { defer s.asking.Done(); s.check() }) {
			s.asking.Done()
		}
	}
}
