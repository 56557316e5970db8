package mutant

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sanitized sends a message without what is no UTF-8.
func sanitized(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
	m = m.Clone()
	for k, v := range m.Properties {
		if s, _ := v.Text(); !utf8.ValidString(k) || !utf8.ValidString(s) {
			delete(m.Properties, k)
		}
	}
	return p.Send(ctx, m)
}

// reading returns a mutant that changes what is received.
func reading(name, kills, says string, f func(*om.Message)) Mutant {
	return Mutant{name, kills, says, func(p *parts) { p.read = f }}
}

// writing returns a mutant that changes what is sent.
func writing(name, kills, says string, f func(*om.Message)) Mutant {
	return Mutant{name, kills, says, func(p *parts) { p.write = f }}
}

var counter atomic.Int64

var messageMutants = []Mutant{
	reading("version-empty", "R008", `has version ""`, func(m *om.Message) { m.Version = "" }),
	reading("id-blank", "R009", "has no message id", func(m *om.Message) { m.MessageID = "" }),
	reading("destination-blank", "R009", "has no destination", func(m *om.Message) { m.Destination = "" }),
	reading("born-time-blank", "R009", "has no born time", func(m *om.Message) { m.BornAt = time.Time{} }),
	reading("born-host-blank", "R009", "has no born host", func(m *om.Message) { m.BornHost = "" }),
	reading("properties-nil", "R009", "properties of the received message are nil", func(m *om.Message) { m.Properties = nil }),
	writing("last-byte-dropped", "R010", "the first difference is at", func(m *om.Message) { m.Body = m.Body[:max(0, len(m.Body)-1)] }),
	{"empty-body-refused", "R011", "message body required", func(p *parts) {
		p.send = eachMessage(func(m *om.Message) error {
			if len(m.Body) == 0 {
				return om.NewError(om.CodeBodyRequired, "send", m.Destination, "")
			}
			return nil
		})
	}},
	{"id-empty", "R012", "the send result has no message id", func(p *parts) {
		p.send = outcomes(func(_ spi.Sender, o *spi.Outcome) { o.MessageID = "" })
	}},
	{"id-echoes-caller", "R013", "the id that the caller had set was kept", func(p *parts) {
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			id := m.MessageID
			r, err := p.Send(ctx, m)
			if err == nil && id != "" {
				m.MessageID, r.MessageID = id, id
			}
			return r, err
		})
	}},
	{"id-per-producer-counter", "R014", "ids that repeat", func(p *parts) {
		var counts locked[map[spi.Sender]int]
		counts.v = make(map[spi.Sender]int)
		p.send = outcomes(func(s spi.Sender, o *spi.Outcome) {
			counts.do(func(c *map[spi.Sender]int) {
				(*c)[s]++
				o.MessageID = fmt.Sprint("message-", (*c)[s])
			})
		})
	}},
	reading("id-regenerated-on-read", "R015", "id at the consumer", func(m *om.Message) { m.MessageID = fmt.Sprint("read-", counter.Add(1)) }),
	reading("born-time-in-seconds", "R016", "the born time at the consumer is", func(m *om.Message) { m.BornAt = time.UnixMilli(m.BornAt.Unix()) }),
	reading("born-host-is-broker", "R017", "born host at the consumer", func(m *om.Message) { m.BornHost = "broker" }),
	{"default-is-at-most-once", "R018", "no message came within", func(p *parts) { p.receive = ackOnReceive }},
	{"delivers-compressed-bytes", "R022", "the body arrived with", func(p *parts) {
		p.read = func(m *om.Message) {
			if m.Compression != "" {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				_, _ = z.Write(m.Body)
				_ = z.Close()
				m.Body = b.Bytes()
			}
		}
	}},
	{"defaults-to-first-queue", "R023", "send without a destination: got success", func(p *parts) {
		p.perOpen = func(l *library) {
			var first locked[string]
			l.pull = func(c om.PullConsumer) om.PullConsumer { return noting{c, &first} }
			l.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
				if m.Destination == "" {
					m.Destination = first.get()
				}
				return p.Send(ctx, m)
			})
		}
	}},
	reading("destination-blank-on-read", "R024", "destination at the consumer", func(m *om.Message) { m.Destination = "" }),
	{"queue-name-prefix-scan", "R025", "a message of another queue must not appear", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			outs, err := s.Send(ctx, ms)
			for _, m := range ms {
				if shorter, ok := strings.CutSuffix(m.Destination, "q10"); ok {
					c := m.Clone()
					c.Destination = shorter + "q1"
					_, _ = s.Send(ctx, []*om.Message{c})
				}
			}
			return outs, err
		}
	}},
	writing("oversize-truncated", "R026", "bytes of body: got success", func(m *om.Message) { m.Body = m.Body[:min(len(m.Body), 1<<20)] }),
	{"qos-clamped", "G18", "send with qos 3: got success", func(p *parts) {
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			m.QoS = max(om.AtLeastOnce, min(m.QoS, om.ExactlyOnce))
			return p.Send(ctx, m)
		})
	}},
}

// noting notes the first queue that is bound.
type noting struct {
	om.PullConsumer
	first *locked[string]
}

func (n noting) Bind(ctx context.Context, queues ...string) error {
	n.first.do(func(first *string) {
		if *first == "" {
			*first = queues[0]
		}
	})
	return n.PullConsumer.Bind(ctx, queues...)
}

// eachMessage refuses the messages for which check has an error, and sends the
// others.
func eachMessage(check func(*om.Message) error) func(context.Context, spi.Sender, []*om.Message) ([]spi.Outcome, error) {
	return func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
		all := make([]spi.Outcome, len(ms))
		var good []*om.Message
		var places []int
		for i, m := range ms {
			if all[i].Err = check(m); all[i].Err == nil {
				good, places = append(good, m), append(places, i)
			}
		}
		if len(good) == 0 {
			return all, nil
		}
		outs, err := s.Send(ctx, good)
		for i := range outs {
			all[places[i]] = outs[i]
		}
		if err != nil {
			return nil, err
		}
		return all, nil
	}
}

// outcomes changes the outcomes of what was sent.
func outcomes(change func(spi.Sender, *spi.Outcome)) func(context.Context, spi.Sender, []*om.Message) ([]spi.Outcome, error) {
	return func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
		outs, err := s.Send(ctx, ms)
		for i := range outs {
			if outs[i].Err == nil {
				change(s, &outs[i])
			}
		}
		return outs, err
	}
}

func receiptsOf(got []spi.Received) []spi.Receipt {
	out := make([]spi.Receipt, len(got))
	for i := range got {
		out[i] = got[i].Receipt
	}
	return out
}

// ackOnReceive settles what it hands out.
func ackOnReceive(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
	got, err := r.Receiver.Receive(ctx, max)
	if err == nil {
		_, err = r.Receiver.Ack(context.WithoutCancel(ctx), receiptsOf(got))
	}
	return got, err
}
