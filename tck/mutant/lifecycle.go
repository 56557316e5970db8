package mutant

import (
	"context"
	"errors"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

var lifecycleMutants = []Mutant{
	{"second-start-dead", "R094", "after a restart", func(p *parts) {
		p.push = func(c om.PushConsumer) om.PushConsumer { return lazy{c} }
	}},
	{"double-close-fails", "G10", "Close number 2 of the driver's connection", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn { return &closingOnce{ConnWrapper: spi.ConnWrapper{Conn: c}} }
	}},
	{"send-after-close-stores", "G11", "Send of the driver after Close: got success", func(p *parts) {
		p.sender = func(s spi.Sender) spi.Sender { return neverClosed{spi.SenderWrapper{Sender: s}} }
	}},
	{"poller-leaks", "G12", "the case left goroutines behind", func(p *parts) {
		p.sender = func(s spi.Sender) spi.Sender {
			go func() { <-p.release }()
			return s
		}
	}},
	{"unsupported-succeeds-silently", "R096", "SetFilter without capability filter: got success", func(p *parts) {
		p.caps = without(om.CapFilter)
		p.resources = func(r om.Resources) om.Resources { return careless{r} }
	}},
	{"claims-without-method", "G40", "its interface is missing", func(p *parts) {
		p.conn = hide
	}},
	{"ctx-checked-late", "G03", "Send of the driver with a context that has ended: got success", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			return s.Send(context.WithoutCancel(ctx), ms)
		}
	}},
	{"ctx-ignored", "G04", "Receive of the driver whose context ended did not return", func(p *parts) {
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			return r.Receiver.Receive(context.WithoutCancel(ctx), max)
		}
	}},
	{"ctx-captured", "G05", "closed (20001)", func(p *parts) {
		p.open = func(ctx context.Context, url string, opts ...oms.Option) (om.AccessPoint, error) {
			ap, err := oms.Open(ctx, url, opts...)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = ap.Close(context.Background()) })
			}
			return ap, err
		}
	}},
	{"acks-not-durable", "G33", "messages after Restart that were not acknowledged before", func(p *parts) {
		restart := p.faults.Restart
		p.faults.Restart = func(ctx context.Context) error { return errors.Join(restart(ctx), rewind(ctx, p.driver)) }
	}},
}

// rewind has all groups of all queues begin anew.
func rewind(ctx context.Context, d spi.Driver) error {
	u, err := om.ParseURL(url)
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, spi.Config{URL: u})
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	admin, _ := spi.As[spi.Admin](c)
	describer, _ := spi.As[spi.Describer](c)
	seeker, _ := spi.As[spi.Seeker](c)
	spaces, err := admin.Namespaces(ctx)
	for _, space := range spaces {
		queues, _ := admin.Queues(ctx, space)
		for _, q := range queues {
			groups, _ := describer.Groups(ctx, q.Name)
			for _, g := range groups {
				err = errors.Join(err, seeker.SeekGroup(ctx, q.Name, g.Group, om.Begin()))
			}
		}
	}
	return err
}

// lazy does not start again.
type lazy struct{ om.PushConsumer }

func (c lazy) Start(context.Context) error { return nil }

type closingOnce struct {
	spi.ConnWrapper
	closed once
}

func (c *closingOnce) Close(ctx context.Context) error {
	if !c.closed.first() {
		return om.NewError(om.CodeServerError, "close", "", "closed already")
	}
	return c.Conn.Close(ctx)
}

type neverClosed struct{ spi.SenderWrapper }

func (neverClosed) Close(context.Context) error { return nil }

type careless struct{ om.Resources }

func (careless) SetFilter(context.Context, string, om.Filter) error { return nil }

// hiding has no Unwrap: the powers that it does not name are not found.
type hiding struct {
	spi.Conn
	spi.Admin
	spi.Describer
	spi.Seeker
	spi.Streamer
	spi.Filterer
}

func hide(c spi.Conn) spi.Conn {
	h := hiding{Conn: c}
	h.Admin, _ = spi.As[spi.Admin](c)
	h.Describer, _ = spi.As[spi.Describer](c)
	h.Seeker, _ = spi.As[spi.Seeker](c)
	h.Streamer, _ = spi.As[spi.Streamer](c)
	h.Filterer, _ = spi.As[spi.Filterer](c)
	return h
}

var errorMutants = []Mutant{
	failing("code-zero", "R095", "the error has no status code", func(err error) error {
		var e *om.Error
		if errors.As(err, &e) {
			return &om.Error{Op: e.Op, Resource: e.Resource, Err: e.Err}
		}
		return err
	}),
	failing("error-flattened-to-string", "G06", "finds no *openmessaging.Error", func(err error) error { return errors.New(err.Error()) }),
	{"own-sentinel-only", "G07", "want “unsupported operation”", func(p *parts) {
		p.caps = without(om.CapDelay)
		p.send = eachMessage(func(m *om.Message) error {
			if m.Ext.Delay != 0 {
				return unsupported{}
			}
			return nil
		})
	}},
	pulling("one-of-two", "G08", "context deadline exceeded", func(c om.PullConsumer) om.PullConsumer { return vague{c} }),
	failing("all-retryable", "G09", "the error says that it is retryable", func(err error) error {
		return om.NewError(om.CodeServiceUnavailable, "send", "", "%s", err.Error())
	}),
}

// failing returns a mutant that changes the errors of Send.
func failing(name, kills, says string, change func(error) error) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			r, err := p.Send(ctx, m)
			if err != nil {
				err = change(err)
			}
			return r, err
		})
	}}
}

// unsupported is of its class, but unknown to the standard library.
type unsupported struct{}

func (unsupported) Error() string        { return "not done here" }
func (unsupported) Is(target error) bool { return target == om.ErrUnsupported }

// vague does not say that it was the deadline.
type vague struct{ om.PullConsumer }

func (c vague) Receive(ctx context.Context, opts ...om.ReceiveOption) (*om.Delivery, error) {
	d, err := c.PullConsumer.Receive(ctx, opts...)
	if errors.Is(err, context.DeadlineExceeded) {
		err = om.NewError(om.CodeTimeout, "receive", "", "nothing came")
	}
	return d, err
}

var settleMutants = []Mutant{
	reading("id-changes-on-redelivery", "G21", "message id of the redelivery", func(m *om.Message) {
		if m.Ext.DeliveryCount > 1 {
			m.MessageID += "-again"
		}
	}),
	{"second-ack-errors", "G22", "acknowledgement number 2 by the driver", func(p *parts) {
		var done locked[map[spi.Receipt]bool]
		done.v = make(map[spi.Receipt]bool)
		p.ack = func(ctx context.Context, r *receiver, receipts []spi.Receipt) (errs []error, err error) {
			done.do(func(d *map[spi.Receipt]bool) {
				for _, x := range receipts {
					if (*d)[x] {
						err = om.NewError(om.CodeStaleReceipt, "ack", r.queue, "acknowledged before")
					}
					(*d)[x] = true
				}
			})
			if err != nil {
				return nil, err
			}
			return r.Receiver.Ack(ctx, receipts)
		}
	}},
	{"stale-ack-settles", "G23", "a stale receipt settled a later delivery", func(p *parts) {
		type holder struct {
			r       *receiver
			receipt spi.Receipt
		}
		var latest locked[map[string][]holder]
		latest.v = make(map[string][]holder)
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			got, err := r.Receiver.Receive(ctx, max)
			latest.do(func(l *map[string][]holder) {
				for _, x := range got {
					(*l)[r.queue] = append((*l)[r.queue], holder{r, x.Receipt})
				}
			})
			return got, err
		}
		p.ack = func(ctx context.Context, r *receiver, receipts []spi.Receipt) ([]error, error) {
			errs, err := r.Receiver.Ack(ctx, receipts)
			if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, om.CodeStaleReceipt) }) {
				var all []holder
				latest.do(func(l *map[string][]holder) { all = slices.Clone((*l)[r.queue]) })
				for _, h := range all {
					_, _ = h.r.Receiver.Ack(ctx, []spi.Receipt{h.receipt})
				}
				return nil, nil
			}
			return errs, err
		}
	}},
	powers("nack-loses", "G24", "no message came within", "nack"),
	powers("extend-noop", "G25", "came to another consumer", "extend"),
	powers("dlq-loses", "G26", "want the first one and a dead-letter queue", "reject"),
}
