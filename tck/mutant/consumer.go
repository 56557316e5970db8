package mutant

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// pulling returns a mutant of pull consumers.
func pulling(name, kills, says string, wrap func(om.PullConsumer) om.PullConsumer) Mutant {
	return Mutant{name, kills, says, func(p *parts) { p.pull = wrap }}
}

var consumerMutants = []Mutant{
	{"lost-on-consumer-close", "R019", "of 20 messages came", func(p *parts) {
		p.close = func(ctx context.Context, r *receiver) error {
			_, _ = r.Receiver.Ack(ctx, r.all())
			return r.Receiver.Close(ctx)
		}
	}},
	writing("qos1-redelivers", "R020", "a message with qos 1 must not be delivered twice", func(m *om.Message) {
		if m.QoS == om.AtMostOnce {
			m.QoS = om.AtLeastOnce
		}
	}),
	{"dedup-window-missing", "R021", "takes effect", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			if slices.ContainsFunc(ms, func(m *om.Message) bool { return m.QoS == om.ExactlyOnce }) {
				_, _ = s.Send(ctx, ms)
			}
			return s.Send(ctx, ms)
		}
	}},
	{"ack-on-receive", "R061", "no message came within", func(p *parts) { p.receive = ackOnReceive }},
	{"ack-is-noop", "R062", "what was acknowledged must not come again", func(p *parts) {
		p.ack = func(context.Context, *receiver, []spi.Receipt) ([]error, error) { return nil, nil }
	}},
	pulling("unbind-leaks", "R063", `"after"`, func(c om.PullConsumer) om.PullConsumer { return clinging{c} }),
	pulling("unbound-still-listed", "R064", "bound queues after unbind", func(c om.PullConsumer) om.PullConsumer {
		return &remembering{PullConsumer: c}
	}),
	{"bind-creates-queue", "R065", "to a queue that does not exist: got success", func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			if admin, ok := spi.As[spi.Admin](c); ok {
				_ = admin.CreateQueue(ctx, om.QueueConfig{Name: cfg.Queue})
			}
			return c.NewReceiver(ctx, cfg)
		}
	}},
	pulling("only-first-queue", "R066", "no message came within", func(c om.PullConsumer) om.PullConsumer { return choosy{c} }),
	pulling("returns-empty-early", "R067", "Receive returned before a message was there", func(c om.PullConsumer) om.PullConsumer {
		return impatient{c}
	}),
	{"message-lost-on-timeout", "R068", "no message came within", func(p *parts) {
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			if r.lost.get() {
				r.lost.set(false)
				got, err := r.Receiver.Receive(ctx, 1)
				if err != nil {
					return nil, err
				}
				_, _ = r.Receiver.Ack(ctx, receiptsOf(got))
			}
			got, err := r.Receiver.Receive(ctx, max)
			if ctx.Err() != nil {
				r.lost.set(true)
			}
			return got, err
		}
	}},
	pulling("stop-deadlocks", "R069", "while a Receive blocks did not return", func(c om.PullConsumer) om.PullConsumer { return endless{c} }),
	pulling("max-exceeded", "R070", "a batch receive of at most 4 returned", func(c om.PullConsumer) om.PullConsumer { return greedy{c} }),
	streamed("position-off-by-one", "R071", "body at offset", func(offset int64, _ error) (int64, error) { return offset + 1, nil }),
	pulling("break-leaks", "G13", "of 3 messages came", func(c om.PullConsumer) om.PullConsumer { return leaky{c} }),
	pulling("error-repeats", "G14", "the iterator went on after its error", func(c om.PullConsumer) om.PullConsumer { return repeating{c} }),
	{"delivered-to-all", "R097", "went to", func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			cfg.Group += fmt.Sprint(counter.Add(1))
			return c.NewReceiver(ctx, cfg)
		}
	}},
	streamed("position-not-clamped", "R099", "out of range", nil),
	{"stored-position-of-connection", "R161", "forward on another connection", func(p *parts) {
		var opened atomic.Int64
		p.conn = func(c spi.Conn) spi.Conn {
			s, _ := spi.As[spi.Streamer](c)
			later := min(opened.Add(1)-1, 1)
			return streamer{spi.ConnWrapper{Conn: c}, s, func(offset int64, err error) (int64, error) { return max(0, offset-later), err }}
		}
	}},
}

// streamed returns a mutant whose Resolve is changed; with nil it does not clamp.
func streamed(name, kills, says string, change func(int64, error) (int64, error)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			s, _ := spi.As[spi.Streamer](c)
			return streamer{spi.ConnWrapper{Conn: c}, s, change}
		}
	}}
}

type streamer struct {
	spi.ConnWrapper
	spi.Streamer
	change func(int64, error) (int64, error)
}

func (s streamer) Resolve(ctx context.Context, queue string, partition int32, p om.Position) (int64, error) {
	offset, err := s.Streamer.Resolve(ctx, queue, partition, p)
	if want, ok := p.Offset(); ok && s.change == nil && err == nil && want != offset {
		return 0, om.NewError(om.CodeBadParameter, "resolve", queue, "offset %d is out of range", want)
	}
	if s.change == nil {
		return offset, err
	}
	return s.change(offset, err)
}

type clinging struct{ om.PullConsumer }

func (clinging) Unbind(context.Context, ...string) error { return nil }

type remembering struct {
	om.PullConsumer
	ever locked[[]string]
}

func (c *remembering) Queues() (all []string) {
	c.ever.do(func(ever *[]string) {
		*ever = append(*ever, c.PullConsumer.Queues()...)
		slices.Sort(*ever)
		*ever = slices.Compact(*ever)
		all = slices.Clone(*ever)
	})
	return all
}

type choosy struct{ om.PullConsumer }

func (c choosy) Bind(ctx context.Context, queues ...string) error {
	return c.PullConsumer.Bind(ctx, queues[0])
}

type impatient struct{ om.PullConsumer }

func (c impatient) Receive(ctx context.Context, opts ...om.ReceiveOption) (*om.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	return c.PullConsumer.Receive(ctx, opts...)
}

type endless struct{ om.PullConsumer }

func (endless) Stop(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (c endless) Close(ctx context.Context) error { return c.Stop(ctx) }

type greedy struct{ om.PullConsumer }

func (c greedy) ReceiveBatch(ctx context.Context, max int, opts ...om.ReceiveOption) ([]*om.Delivery, error) {
	return c.PullConsumer.ReceiveBatch(ctx, 2*max, opts...)
}

// leaky settles more than it hands out.
type leaky struct{ om.PullConsumer }

func (c leaky) All(ctx context.Context) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		for {
			ds, err := c.ReceiveBatch(ctx, 10)
			if err == nil {
				err = c.Ack(ctx, ds...)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, d := range ds {
				if !yield(d, nil) {
					return
				}
			}
		}
	}
}

type repeating struct{ om.PullConsumer }

func (c repeating) All(ctx context.Context) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		for d, err := range c.PullConsumer.All(ctx) {
			if !yield(d, err) {
				return
			}
			if err != nil && !yield(nil, err) {
				return
			}
		}
	}
}

// missing reports whether a queue's name is one that cases use for none.
func missing(name string) bool { return strings.HasSuffix(name, "missing") }
