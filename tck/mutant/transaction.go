package mutant

import (
	"context"
	"errors"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var checkMutants = []Mutant{
	transacting("second-commit-refused", "R119", "commit, and commit again", transactor{commit: func(t transactor, ctx context.Context, id string) (err error) {
		t.open.do(func(open *map[string]*om.Message) {
			if _, ok := (*open)[id]; !ok {
				err = om.NewError(om.CodeTransactionNotExists, "commit", id, "")
			}
			delete(*open, id)
		})
		if err == nil {
			err = t.Transactor.Commit(ctx, id)
		}
		return err
	}}),
	transacting("conflict-ignored", "R119", "Rollback after Commit: got success", transactor{rollback: func(t transactor, ctx context.Context, id string) error {
		if err := t.Transactor.Rollback(ctx, id); !errors.Is(err, om.CodeTransactionState) {
			return err
		}
		return nil
	}}),
	grouping("groups-ignored", "R120", "commit by another group of producers: got success", func(c *spi.SenderConfig) { c.Group = "all" }),
	checking("checks-without-end", "R121", "questions to the checker", func(c *om.TransactionCheck) { c.Max = 0 }),
	checking("checks-too-early", "R121", "questions to the checker", func(c *om.TransactionCheck) {
		if c.Max > 0 {
			c.Every, c.Max = c.Every/8, 8
		}
	}),
	grouping("checks-only-the-same", "R122", "no message came within", func(c *spi.SenderConfig) { c.Group = "" }),
	{"transaction-forgotten-on-restart", "R123", "commit after Restart", func(p *parts) {
		var last locked[spi.TransactionAdmin]
		p.opened = func(_ context.Context, _ spi.Config, c spi.Conn) {
			last.do(func(a *spi.TransactionAdmin) { *a, _ = spi.As[spi.TransactionAdmin](c) })
		}
		restart := p.faults.Restart
		p.faults.Restart = func(ctx context.Context) error {
			last.do(func(a *spi.TransactionAdmin) {
				list, _ := (*a).Transactions(ctx, "", 100)
				for _, t := range list {
					_ = (*a).EndTransaction(ctx, t.ID, om.TxRollback)
				}
			})
			return restart(ctx)
		}
	}},
	{"open-transaction-blocks", "R124", "no message came within", func(p *parts) {
		var open locked[int]
		p.sender = func(s spi.Sender) spi.Sender {
			t := transactor{Sender: s, open: &locked[map[string]*om.Message]{v: make(map[string]*om.Message)}}
			t.Transactor, _ = spi.As[spi.Transactor](s)
			t.prepared = func(transactor, context.Context, string, *om.Message) { open.do(func(n *int) { *n++ }) }
			t.commit = func(t transactor, ctx context.Context, id string) error {
				open.do(func(n *int) { *n-- })
				return t.Transactor.Commit(ctx, id)
			}
			return t
		}
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			for open.get() > 0 {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(time.Millisecond):
				}
			}
			return r.Receiver.Receive(ctx, max)
		}
	}},
	{"checks-of-queue-ignored", "R125", "messages that the checker was asked about", func(p *parts) {
		var set locked[om.TransactionCheck]
		managing("", "", "", admin{
			createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
				set.do(func(k *om.TransactionCheck) { *k = c.TransactionCheck })
				c.TransactionCheck = om.TransactionCheck{}
				return a.Admin.CreateQueue(ctx, c)
			},
			queue: func(c *om.QueueConfig) { c.TransactionCheck = set.get() },
		}).make(p)
	}},
	checking("checks-of-message-ignored", "R125", "messages that the checker was asked about", func(c *om.TransactionCheck) {
		if c.After == time.Hour {
			*c = om.TransactionCheck{}
		}
	}),
	deciding("parked-forgotten", "R126", "transactions that are listed after the last check", decider{list: func(ts []om.TransactionInfo) []om.TransactionInfo {
		return slices.DeleteFunc(ts, func(t om.TransactionInfo) bool { return t.Parked })
	}}),
	deciding("commit-by-hand-discards", "R126", "no message came within", decider{end: func(om.TxVerdict) om.TxVerdict { return om.TxRollback }}),
	{"fencing-forgets-transactions", "R127", "by a producer that was fenced off: got success", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn { return halfFenced{spi.ConnWrapper{Conn: c}} }
	}},
	{"panic-rolls-back", "R133", "no message came within", func(p *parts) {
		p.sending = func(c *om.ProducerConfig) {
			ask := c.Checker
			if ask == nil {
				return
			}
			c.Checker = func(ctx context.Context, m *om.Message) (v om.TxVerdict) {
				defer func() {
					if recover() != nil {
						v = om.TxRollback
					}
				}()
				return ask(ctx, m)
			}
		}
	}},
	transacting("commit-comes-late", "R134", "messages in the order of their commits", transactor{commit: func(t transactor, ctx context.Context, id string) error {
		const held = "held back"
		var late string
		t.open.do(func(open *map[string]*om.Message) {
			if m := (*open)[held]; m != nil {
				late = m.Ext.TransactionID
			}
			(*open)[held] = &om.Message{Ext: om.ExtensionHeader{TransactionID: id}}
		})
		if late == "" {
			return nil
		}
		return errors.Join(t.Transactor.Commit(ctx, id), t.Transactor.Commit(ctx, late))
	}}),
}

// halfFenced makes senders whose transactions are those of one without an id.
type halfFenced struct{ spi.ConnWrapper }

func (h halfFenced) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	s, err := h.Conn.NewSender(ctx, cfg)
	if err != nil || cfg.Checker == nil {
		return s, err
	}
	cfg.ProducerID = ""
	other, err := h.Conn.NewSender(ctx, cfg)
	x, _ := spi.As[spi.Transactor](other)
	return fenceless{s, x}, err
}

type fenceless struct {
	spi.Sender
	spi.Transactor
}

func (f fenceless) Unwrap() any { return f.Sender }

// decider is what operators do about transactions, at fault.
type decider struct {
	spi.ConnWrapper
	spi.TransactionAdmin
	list func([]om.TransactionInfo) []om.TransactionInfo
	end  func(om.TxVerdict) om.TxVerdict
}

func deciding(name, kills, says string, fault decider) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			d := fault
			d.Conn = c
			d.TransactionAdmin, _ = spi.As[spi.TransactionAdmin](c)
			return d
		}
	}}
}

func (d decider) Transactions(ctx context.Context, queue string, max int) ([]om.TransactionInfo, error) {
	ts, err := d.TransactionAdmin.Transactions(ctx, queue, max)
	if d.list != nil {
		ts = d.list(ts)
	}
	return ts, err
}

func (d decider) EndTransaction(ctx context.Context, id string, v om.TxVerdict) error {
	if d.end != nil {
		v = d.end(v)
	}
	return d.TransactionAdmin.EndTransaction(ctx, id, v)
}

// grouping changes the settings of senders.
func grouping(name, kills, says string, change func(*spi.SenderConfig)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn { return regrouped{spi.ConnWrapper{Conn: c}, change} }
	}}
}

type regrouped struct {
	spi.ConnWrapper
	change func(*spi.SenderConfig)
}

func (r regrouped) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	r.change(&cfg)
	return r.Conn.NewSender(ctx, cfg)
}

// checking changes when transactions are checked.
func checking(name, kills, says string, change func(*om.TransactionCheck)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.sender = func(s spi.Sender) spi.Sender {
			x, _ := spi.As[spi.Transactor](s)
			return rechecked{s, x, change}
		}
	}}
}

type rechecked struct {
	spi.Sender
	spi.Transactor
	change func(*om.TransactionCheck)
}

func (r rechecked) Prepare(ctx context.Context, m *om.Message, check om.TransactionCheck) (spi.Outcome, string, error) {
	if check != (om.TransactionCheck{}) {
		r.change(&check)
	}
	return r.Transactor.Prepare(ctx, m, check)
}
