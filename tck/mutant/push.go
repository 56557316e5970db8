package mutant

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// pushing returns a mutant of push consumers.
func pushing(name, kills, says string, wrap func(om.PushConsumer) om.PushConsumer) Mutant {
	return Mutant{name, kills, says, func(p *parts) { p.push = wrap }}
}

var pushMutants = []Mutant{
	{"receive-starves", "R072", "messages to the handler: 0 of 2 came", func(p *parts) {
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			got, err := r.Receiver.Receive(short, max)
			if err != nil && short.Err() != nil {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return got, err
		}
	}},
	{"ack-one-acks-all", "R073", "of 2 messages came", func(p *parts) {
		p.ack = func(ctx context.Context, r *receiver, _ []spi.Receipt) ([]error, error) {
			_, err := r.Receiver.Ack(ctx, r.all())
			return nil, err
		}
	}},
	pushing("suspend-ignored", "R074", "messages to the handler while suspended", func(c om.PushConsumer) om.PushConsumer { return restless{c} }),
	pushing("suspend-forever", "R075", "messages after a suspension for a time", func(c om.PushConsumer) om.PushConsumer { return sleepy{c} }),
	pushing("resume-always-fine", "R076", "Resume without Suspend: got success", func(c om.PushConsumer) om.PushConsumer { return easy{c} }),
	pushing("cross-queue-dispatch", "R077", "messages to the handler of the", func(c om.PushConsumer) om.PushConsumer {
		return &crossed{PushConsumer: c}
	}),
	{"post-before-handler", "R078", "calls: got", func(p *parts) {
		p.receiving = func(c *om.ConsumerConfig) {
			c.Interceptors = slices.Clone(c.Interceptors)
			for i, hooks := range c.Interceptors {
				c.Interceptors[i] = om.ReceiveInterceptor{Before: func(ctx context.Context, d *om.Delivery) (context.Context, error) {
					ctx, err := hooks.Before(ctx, d)
					hooks.After(ctx, d, err)
					return ctx, err
				}}
			}
		}
	}},
	pushing("panic-kills-consumer", "G31", "messages handled after a panic and a failure", func(c om.PushConsumer) om.PushConsumer {
		return &fragile{PushConsumer: c}
	}),
	pushing("stop-drops-acks", "G32", "Stop returned while a handler ran", func(c om.PushConsumer) om.PushConsumer { return abrupt{c} }),
	pushing("state-stuck", "R093", "state of a stopped push consumer", func(c om.PushConsumer) om.PushConsumer { return always{c} }),
}

type restless struct{ om.PushConsumer }

func (restless) Suspend(context.Context, time.Duration) error { return nil }
func (restless) Suspended() bool                              { return true }

type sleepy struct{ om.PushConsumer }

func (c sleepy) Suspend(ctx context.Context, _ time.Duration) error {
	return c.PushConsumer.Suspend(ctx, 0)
}

type easy struct{ om.PushConsumer }

func (easy) Resume(context.Context) error { return nil }

// crossed calls the handler that was bound first for every queue.
type crossed struct {
	om.PushConsumer
	first locked[om.Handler]
}

func (c *crossed) Bind(ctx context.Context, h om.Handler, queues ...string) error {
	c.first.do(func(first *om.Handler) {
		if *first == nil {
			*first = h
		}
	})
	return c.PushConsumer.Bind(ctx, c.first.get(), queues...)
}

// fragile calls no handler any more after one has panicked.
type fragile struct {
	om.PushConsumer
	dead atomic.Bool
}

func (c *fragile) Bind(ctx context.Context, h om.Handler, queues ...string) error {
	return c.PushConsumer.Bind(ctx, func(ctx context.Context, d *om.Delivery) (err error) {
		defer func() {
			if recover() != nil {
				c.dead.Store(true)
			}
		}()
		if c.dead.Load() {
			return nil
		}
		return h(ctx, d)
	}, queues...)
}

// abrupt cuts its handlers off.
type abrupt struct{ om.PushConsumer }

func (c abrupt) Stop(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_ = c.PushConsumer.Stop(ctx)
	return nil
}

type always struct{ om.PushConsumer }

func (always) State() om.State { return om.Started }

var transactionMutants = []Mutant{
	reading("txn-id-missing-at-consumer", "R038", "transaction id at the consumer", func(m *om.Message) { m.Ext.TransactionID = "" }),
	transacting("prepared-visible", "R079", "a prepared message must be invisible", transactor{prepared: func(t transactor, ctx context.Context, id string, m *om.Message) {
		_, _ = t.Sender.Send(ctx, []*om.Message{m})
	}}),
	transacting("commit-loses", "R080", "no message came within", transactor{commit: func(t transactor, ctx context.Context, id string) error {
		return t.Transactor.Rollback(ctx, id)
	}}),
	transacting("commit-doubles", "R080", "a committed message must be delivered once", transactor{commit: func(t transactor, ctx context.Context, id string) error {
		err := t.Transactor.Commit(ctx, id)
		t.open.do(func(open *map[string]*om.Message) { _, _ = t.Sender.Send(ctx, []*om.Message{(*open)[id]}) })
		return err
	}}),
	transacting("rollback-commits", "R081", "a message that was rolled back must never be delivered", transactor{rollback: func(t transactor, ctx context.Context, id string) error {
		return t.Transactor.Commit(ctx, id)
	}}),
	{"checker-not-required", "R082", "prepare without a checker: got success", func(p *parts) {
		p.sending = func(c *om.ProducerConfig) {
			if c.Checker == nil {
				c.Checker = func(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }
			}
		}
	}},
	{"never-asks", "R083", "questions to the checker", func(p *parts) {
		p.checker = func(om.TransactionChecker) om.TransactionChecker {
			return func(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }
		}
	}},
	{"unknown-treated-as-commit", "R084", "the first answer was unknown", func(p *parts) {
		p.checker = func(ask om.TransactionChecker) om.TransactionChecker {
			return func(ctx context.Context, m *om.Message) om.TxVerdict {
				if v := ask(ctx, m); v != om.TxUnknown {
					return v
				}
				return om.TxCommit
			}
		}
	}},
}

// transactor is a sender whose transactions are at fault.
type transactor struct {
	spi.Sender
	spi.Transactor
	open     *locked[map[string]*om.Message]
	prepared func(t transactor, ctx context.Context, id string, m *om.Message)
	commit   func(t transactor, ctx context.Context, id string) error
	rollback func(t transactor, ctx context.Context, id string) error
}

func transacting(name, kills, says string, fault transactor) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.sender = func(s spi.Sender) spi.Sender {
			t := fault
			t.Sender = s
			t.Transactor, _ = spi.As[spi.Transactor](s)
			t.open = &locked[map[string]*om.Message]{v: make(map[string]*om.Message)}
			return t
		}
	}}
}

func (t transactor) Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (spi.Outcome, string, error) {
	out, id, err := t.Transactor.Prepare(ctx, m, check)
	if err == nil {
		t.open.do(func(open *map[string]*om.Message) { (*open)[id] = m.Clone() })
		if t.prepared != nil {
			t.prepared(t, ctx, id, m)
		}
	}
	return out, id, err
}

func (t transactor) Commit(ctx context.Context, id string) error {
	if t.commit != nil {
		return t.commit(t, ctx, id)
	}
	return t.Transactor.Commit(ctx, id)
}

func (t transactor) Rollback(ctx context.Context, id string) error {
	if t.rollback != nil {
		return t.rollback(t, ctx, id)
	}
	return t.Transactor.Rollback(ctx, id)
}
