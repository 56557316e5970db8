package mutant

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

var producerMutants = []Mutant{
	{"send-acks-before-store", "R051", "while the provider could not store anything", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			outs := make([]spi.Outcome, len(ms))
			copies := make([]*om.Message, len(ms))
			for i, m := range ms {
				copies[i] = m.Clone()
				outs[i].SendResult = om.SendResult{MessageID: "soon", Offset: -1, Partition: -1}
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			go func() {
				defer cancel()
				_, _ = s.Send(ctx, copies)
			}()
			return outs, nil
		}
	}},
	{"queue-auto-created", "R052", "send to a queue that does not exist: got success", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn { return creating{spi.ConnWrapper{Conn: c}} }
	}},
	{"auth-checked-after-store", "R053", "what an account may not send must not be stored", func(p *parts) {
		withAccounts(p)
		var full locked[[]spi.Conn] // of all cases
		p.opened = func(ctx context.Context, cfg spi.Config, c spi.Conn) {
			if creds, err := cfg.Credentials(ctx); err == nil && creds.AccountID == "full" {
				full.do(func(all *[]spi.Conn) { *all = append(*all, c) })
			}
		}
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			outs, err := s.Send(ctx, ms)
			for i := range outs {
				if om.CodeOf(outs[i].Err) == om.CodeForbidden {
					for _, c := range slices.Backward(full.get()) {
						other, err := c.NewSender(ctx, spi.SenderConfig{})
						if err != nil {
							continue // its case is over
						}
						_, _ = other.Send(ctx, ms[i:i+1])
						_ = other.Close(ctx)
						break
					}
				}
			}
			return outs, err
		}
	}},
	{"timeout-returns-nil", "R054", "send to a provider that does not answer: got success", func(p *parts) {
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			r, err := p.Send(ctx, m)
			if om.CodeOf(err) == om.CodeTimeout {
				err = nil
			}
			return r, err
		})
	}},
	{"async-is-sync", "R055", "SendAsync while the provider does not answer did not return", func(p *parts) {
		p.producer = func(p om.Producer) om.Producer { return synchronous{p} }
	}},
	{"future-done-at-once", "R056", "Cancel before completion", func(p *parts) {
		p.producer = func(p om.Producer) om.Producer { return hasty{p} }
	}},
	{"oneway-waits", "R057", "SendOneway while the provider does not answer did not return", func(p *parts) {
		p.producer = func(p om.Producer) om.Producer { return waiting{p} }
	}},
	{"batch-drops-last", "R058", "of 250 messages came", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			if len(ms) < 2 {
				return s.Send(ctx, ms)
			}
			outs, err := s.Send(ctx, ms[:len(ms)-1])
			if err != nil {
				return nil, err
			}
			return append(outs, spi.Outcome{SendResult: om.SendResult{MessageID: "dropped"}}), nil
		}
	}},
	{"pre-send-after-encode", "R059", "property at the consumer", func(p *parts) {
		p.sending = func(c *om.ProducerConfig) {
			c.Interceptors = slices.Clone(c.Interceptors)
			for i := range c.Interceptors {
				before := c.Interceptors[i].Before
				c.Interceptors[i].Before = func(ctx context.Context, m *om.Message) (context.Context, error) { return before(ctx, m.Clone()) }
			}
		}
	}},
	{"post-on-failure", "R060", "calls of the hooks", func(p *parts) {
		p.producer = func(p om.Producer) om.Producer { return posting{p} }
	}},
	{"aliases-caller-slice", "G01", "after the sender has changed its message", func(p *parts) {
		var kept locked[map[string]*om.Message]
		kept.v = make(map[string]*om.Message)
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			r, err := p.Send(ctx, m)
			kept.do(func(k *map[string]*om.Message) { (*k)[r.MessageID] = m })
			return r, err
		})
		p.pull = onReceive(func(d *om.Delivery) {
			kept.do(func(k *map[string]*om.Message) {
				if m := (*k)[d.MessageID]; m != nil {
					d.Body, d.Properties = m.Body, m.Properties
				}
			})
		})
	}},
	{"after-hooks-in-order", "G30", "send hooks", func(p *parts) {
		p.sending = func(c *om.ProducerConfig) {
			is := slices.Clone(c.Interceptors)
			for i := range is {
				is[i].After = c.Interceptors[len(is)-1-i].After
			}
			c.Interceptors = is
		}
	}},
	{"one-bad-fails-silently", "G27", "want a *BatchError", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			outs, err := s.Send(ctx, ms)
			for i := range outs {
				if outs[i].Err != nil && len(outs) > 1 {
					outs[i] = spi.Outcome{SendResult: om.SendResult{MessageID: "lost"}}
				}
			}
			return outs, err
		}
	}},
	{"empty-batch-blocks", "G28", "SendBatch of nothing did not return", func(p *parts) {
		p.producer = func(p om.Producer) om.Producer { return stuck{p} }
	}},
	{"batch-reversed", "G29", "order of the batch", func(p *parts) {
		p.send = reordered(func(ms []*om.Message) { slices.Reverse(ms) })
	}},
	{"send-not-concurrent", "G02", "another call is running", func(p *parts) {
		var busy atomic.Bool
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			if busy.Swap(true) {
				return om.SendResult{}, om.NewError(om.CodeServerError, "send", m.Destination, "another call is running")
			}
			defer busy.Store(false)
			time.Sleep(time.Millisecond)
			return p.Send(ctx, m)
		})
	}},
}

// withAccounts has the system demand an account, of which there are one that may
// do all and one that may not send.
func withAccounts(p *parts) {
	const key = "key"
	p.system = memory.New(memory.WithAccount("full", key), memory.WithReadOnlyAccount("reader", key))
	p.driver, p.url = p.system.Driver("memory"), "oms:memory://localhost/tck"
	p.faults.Restart, p.faults.Kill, p.faults.Stall = p.system.Restart, p.system.Kill, p.system.Stall
	account := func(id string) func(context.Context) (spi.Credentials, error) {
		return func(context.Context) (spi.Credentials, error) {
			return spi.Credentials{AccountID: id, AccountKey: key}, nil
		}
	}
	p.credentials, p.readOnly = account("full"), account("reader")
}

// creating makes queues that are sent to.
type creating struct{ spi.ConnWrapper }

func (c creating) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	s, err := c.Conn.NewSender(ctx, cfg)
	admin, _ := spi.As[spi.Admin](c.Conn)
	return creatingSender{spi.SenderWrapper{Sender: s}, admin}, err
}

type creatingSender struct {
	spi.SenderWrapper
	admin spi.Admin
}

func (s creatingSender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	for _, m := range ms {
		_ = s.admin.CreateQueue(ctx, om.QueueConfig{Name: m.Destination})
	}
	return s.Sender.Send(ctx, ms)
}

type synchronous struct{ om.Producer }

func (p synchronous) SendAsync(ctx context.Context, m *om.Message) *om.Future[om.SendResult] {
	f := om.NewFuture[om.SendResult](nil)
	f.Complete(p.Send(ctx, m))
	return f
}

type hasty struct{ om.Producer }

func (p hasty) SendAsync(ctx context.Context, m *om.Message) *om.Future[om.SendResult] {
	go func() { _, _ = p.Send(ctx, m) }()
	f := om.NewFuture[om.SendResult](nil)
	f.Complete(om.SendResult{}, nil)
	return f
}

type waiting struct{ om.Producer }

func (p waiting) SendOneway(ctx context.Context, m *om.Message) error {
	_, err := p.Send(ctx, m)
	return err
}

// posting runs the After hook after failures too.
type posting struct{ om.Producer }

func (p posting) AddInterceptor(i om.SendInterceptor) func() {
	i.Failed = func(ctx context.Context, m *om.Message, _ error) { i.After(ctx, m, om.SendResult{}) }
	return p.Producer.AddInterceptor(i)
}

// stuck never ends a batch of nothing.
type stuck struct{ om.Producer }

func (p stuck) SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
	if len(ms) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return p.Producer.SendBatch(ctx, ms)
}

// once is a flag that is false the first time.
type once struct{ o sync.Once }

func (o *once) first() (first bool) {
	o.o.Do(func() { first = true })
	return first
}
