package oms

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Prepare and the ends of transactions are not retried: after a failure that
// leaves them open the checker decides.
func (p *producer) Prepare(ctx context.Context, m *om.Message, opts ...om.PrepareOption) (om.Transaction, error) {
	const op = "prepare"
	queue := queueOf(m)
	r, err := p.current(ctx, op, queue)
	if err != nil {
		return nil, err
	}
	t, leave, err := p.transactor(r, op, queue)
	if err != nil {
		return nil, err
	}
	defer leave()
	if p.cfg.Checker == nil {
		return nil, om.NewError(om.CodeCheckerMissing, op, queue, "make the producer with WithTransactionChecker")
	}
	if m == nil {
		return nil, noMessage(op)
	}
	half, links := new(om.Message), p.hooks.load()
	copyTo(half, m, nil, len(links) > 0)
	passed, err := p.prepare(ctx, links, op, half, time.Now())
	if err != nil {
		return nil, err
	}
	var cfg om.PrepareConfig
	for _, o := range opts {
		o(&cfg)
	}
	out, id, err := t.Prepare(ctx, half, cfg.Check)
	if err == nil {
		err = out.Err
	}
	if err = p.ap.errs.wrap(err, op, queue); err != nil {
		passed.end(half, om.SendResult{}, err)
		return nil, err
	}
	half.MessageID, half.Ext.TransactionID = out.MessageID, id
	passed.end(half, out.SendResult, nil)
	giveBack(m, half)
	return newTransaction(p, queue, id, out.MessageID), nil
}

// transactor returns the driver's transactions and the function that ends
// their use.
func (p *producer) transactor(r *sendRun, op, queue string) (spi.Transactor, func(), error) {
	if !p.ap.caps.Has(om.CapTransaction) {
		return nil, nil, unsupported(op, queue, om.CapTransaction)
	}
	t, ok := spi.As[spi.Transactor](r.sender)
	if !ok {
		return nil, nil, notHonest(op, queue, om.CapTransaction, "Transactor")
	}
	c := r.direct.enter()
	if c == nil {
		return nil, nil, om.NewError(om.CodeNotRunning, op, queue, "the producer is stopping")
	}
	return t, func() { r.direct.leave(c) }, nil
}

// transaction implements openmessaging.Transaction. It outlives a Stop and
// Start of its producer.
type transaction struct {
	p                    *producer
	queue, id, messageID string
	turn                 chan struct{} // holds a token while nobody ends the transaction
	ended                om.TxVerdict  // guarded by the turn
}

func newTransaction(p *producer, queue, id, messageID string) *transaction {
	t := &transaction{p: p, queue: queue, id: id, messageID: messageID, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

func (t *transaction) ID() string        { return t.id }
func (t *transaction) MessageID() string { return t.messageID }

func (t *transaction) Commit(ctx context.Context) error {
	return t.end(ctx, "commit", om.TxCommit, spi.Transactor.Commit)
}

func (t *transaction) Rollback(ctx context.Context) error {
	return t.end(ctx, "rollback", om.TxRollback, spi.Transactor.Rollback)
}

// end ends the transaction once. After a failure it may be tried again.
func (t *transaction) end(ctx context.Context, op string, verdict om.TxVerdict, do func(spi.Transactor, context.Context, string) error) error {
	r, err := t.p.current(ctx, op, t.queue)
	if err != nil {
		return err
	}
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return ended(ctx, op, t.queue)
	}
	switch t.ended {
	case verdict:
		return nil
	case om.TxUnknown:
	default:
		return om.NewError(om.CodeTransactionState, op, t.queue, "the transaction %s has been ended the other way", t.id)
	}
	driver, leave, err := t.p.transactor(r, op, t.queue)
	if err != nil {
		return err
	}
	defer leave()
	if err := do(driver, ctx, t.id); err != nil {
		return t.p.ap.errs.wrap(err, op, t.queue)
	}
	t.ended = verdict
	return nil
}
