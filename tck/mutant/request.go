package mutant

import (
	"context"
	"strings"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var requestMutants = []Mutant{
	requesting("reply-crossed", "R100", "body of the reply", func() requestFunc {
		var last locked[*om.Message]
		return func(ctx context.Context, p om.Producer, m *om.Message) (*om.Message, error) {
			reply, err := p.Request(ctx, m)
			if err != nil {
				return nil, err
			}
			crossed := reply
			last.do(func(last **om.Message) {
				if *last != nil {
					crossed = *last
				}
				*last = reply
			})
			return crossed, nil
		}
	}),
	requesting("request-changes-message", "R100", "the caller's message", func() requestFunc {
		return func(ctx context.Context, p om.Producer, m *om.Message) (*om.Message, error) {
			reply, err := p.Request(ctx, m)
			if err == nil {
				m.Ext.CorrelationID = reply.Ext.CorrelationID
			}
			return reply, err
		}
	}),
	requesting("request-timeout-is-empty", "R147", "a request that nobody answers: got success", func() requestFunc {
		return func(ctx context.Context, p om.Producer, m *om.Message) (*om.Message, error) {
			reply, err := p.Request(ctx, m)
			if om.CodeOf(err) == om.CodeTimeout {
				return om.NewMessage("", nil), nil
			}
			return reply, err
		}
	}),
	taking("late-reply-handed-on", "R147", "only", func(id, last string) bool { return id != last }),
	taking("reply-without-id-taken", "R148", "only", func(id, _ string) bool { return id == "" }),
	taking("forged-reply-taken", "R148", "only", func(id, last string) bool { return id != "" && id != last }),
	requesting("one-request-at-a-time", "R149", "of 50 messages came", func() requestFunc {
		turn := make(chan struct{}, 1) // a mutex would stop the clock of the bubble
		return func(ctx context.Context, p om.Producer, m *om.Message) (*om.Message, error) {
			turn <- struct{}{}
			defer func() { <-turn }()
			return p.Request(ctx, m)
		}
	}),
	managing("reply-queue-left", "R150", "a reply to a producer that was stopped: got success", admin{deleteQueue: func(a admin, ctx context.Context, name string) error {
		if om.IsReplyQueue(name) {
			return nil
		}
		return a.Admin.DeleteQueue(ctx, name)
	}}),
	managing("queue-expires-in-use", "R150", "while a receiver was open", admin{createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
		err := a.Admin.CreateQueue(ctx, c)
		if err == nil && c.Expires == time.Second {
			time.AfterFunc(c.Expires, func() { _ = a.Admin.DeleteQueue(context.WithoutCancel(ctx), c.Name) })
		}
		return err
	}}),
	managing("queue-expires-never", "R150", "is still there", expiring(time.Hour)),
	{"queue-expires-early", "R150", "after it was used", func(p *parts) {
		p.close = func(ctx context.Context, r *receiver) error {
			err := r.Receiver.Close(ctx)
			if a, _ := spi.As[spi.Admin](r.conn); strings.HasSuffix(r.queue, "://expires") {
				_ = a.DeleteQueue(ctx, r.queue)
			}
			return err
		}
	}},
	{"reply-to-once", "R151", "the reply-to of another delivery", func(p *parts) {
		p.read = func(m *om.Message) {
			if m.Ext.DeliveryCount > 1 {
				delete(m.Properties, om.PropertyReplyTo)
			}
		}
	}},
	{"reply-failure-lost", "R151", "a request that is refused: got success", func(p *parts) {
		p.write = func(m *om.Message) { delete(m.Properties, om.PropertyReplyError) }
	}},
}

// expiring makes queues that expire after another time than they say.
func expiring(d time.Duration) admin {
	return admin{
		createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
			if c.Expires == time.Second {
				c.Expires = d
			}
			return a.Admin.CreateQueue(ctx, c)
		},
		queue: func(c *om.QueueConfig) {
			if c.Expires == d {
				c.Expires = time.Second
			}
		},
	}
}

type requestFunc func(ctx context.Context, p om.Producer, m *om.Message) (*om.Message, error)

// requesting returns a mutant whose requests are made by another function.
func requesting(name, kills, says string, request func() requestFunc) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		do := request()
		p.producer = func(p om.Producer) om.Producer { return requester{p, do} }
	}}
}

type requester struct {
	om.Producer
	do requestFunc
}

func (r requester) Request(ctx context.Context, m *om.Message) (*om.Message, error) {
	return r.do(ctx, r.Producer, m)
}

// taking returns a mutant that takes replies with some ids for those to the last
// request.
func taking(name, kills, says string, takes func(id, last string) bool) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		var asked sync.Map // reply queue → correlation id of its last request
		p.write = func(m *om.Message) {
			if to := m.Properties.GetString(om.PropertyReplyTo, ""); to != "" {
				asked.Store(to, m.Ext.CorrelationID)
			}
		}
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			got, err := r.Receiver.Receive(ctx, max)
			last, _ := asked.Load(r.queue)
			for i := range got {
				if id, ok := last.(string); ok && takes(got[i].Message.Ext.CorrelationID, id) {
					got[i].Message.Ext.CorrelationID = id
				}
			}
			return got, err
		}
	}}
}
