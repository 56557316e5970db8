package mutant

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// without returns capabilities without c.
func without(c om.Capability) func(om.Capabilities) om.Capabilities {
	return func(all om.Capabilities) om.Capabilities {
		return slices.DeleteFunc(all, func(x om.Capability) bool { return x == c })
	}
}

// fromCaller makes a mutant that keeps what the caller wrote into a field that
// the provider has to set.
func fromCaller(name, kills, says string, field func(target, source *om.Message)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		var kept locked[map[string]*om.Message]
		kept.v = make(map[string]*om.Message)
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			before := *m
			r, err := p.Send(ctx, m)
			kept.do(func(k *map[string]*om.Message) { (*k)[r.MessageID] = &before })
			return r, err
		})
		p.pull = onReceive(func(d *om.Delivery) {
			kept.do(func(k *map[string]*om.Message) {
				if before := (*k)[d.MessageID]; before != nil {
					field(d.Message, before)
				}
			})
		})
	}}
}

var extensionMutants = []Mutant{
	{"ext-required", "R027", "a message key is required", func(p *parts) {
		p.send = eachMessage(func(m *om.Message) error {
			if m.Ext.MessageKey == "" && m.Ext.CorrelationID == "" {
				return om.NewError(om.CodeBadRequest, "send", m.Destination, "a message key is required")
			}
			return nil
		})
	}},
	{"delay-silently-ignored", "R028", "the driver's own answer to a message that asks for delay, which is not declared: got success", func(p *parts) {
		p.caps = without(om.CapDelay)
		p.write = func(m *om.Message) { m.Ext.Delay = 0 }
	}},
	fromCaller("store-time-from-caller", "R029", "the store time is", func(target, source *om.Message) { target.Ext.StoredAt = source.Ext.StoredAt }),
	fromCaller("store-host-from-caller", "R030", "the store host is", func(target, source *om.Message) { target.Ext.StoreHost = source.Ext.StoreHost }),
	reading("trace-lost-on-redelivery", "R031", "of the redelivery", func(m *om.Message) {
		if m.Ext.DeliveryCount > 1 {
			m.Ext.TraceID = ""
		}
	}),
	{"order-swapped-within-batch", "R032", "messages of key", func(p *parts) {
		p.send = reordered(func(ms []*om.Message) {
			for i := range ms {
				for k := i + 1; k < len(ms); k++ {
					if key := ms[i].Ext.MessageKey; key != "" && key == ms[k].Ext.MessageKey {
						ms[i], ms[k] = ms[k], ms[i]
						return
					}
				}
			}
		})
	}},
	{"key-round-robin", "R033", "lie in partitions", func(p *parts) {
		var turn atomic.Int32
		p.write = func(m *om.Message) {
			if m.Ext.MessageKey != "" && m.Ext.Partition.IsZero() {
				m.Ext.Partition = om.Some(turn.Add(1) % 2)
			}
		}
	}},
	writing("delay-halved", "R034", "too early", func(m *om.Message) { m.Ext.Delay /= 2 }),
	writing("delay-never-fires", "R034", "no message came within", func(m *om.Message) {
		if m.Ext.Delay > 0 {
			m.Ext.Delay = 1000 * time.Hour
		}
	}),
	writing("everything-delayed", "R035", "a message without a delay did not come within", func(m *om.Message) { m.Ext.Delay += 3 * time.Second }),
	writing("expired-still-delivered", "R036", "body of what comes after the first message has expired", func(m *om.Message) { m.Ext.ExpireAt = time.Time{} }),
	writing("default-ttl", "R037", "no message came within", func(m *om.Message) {
		if m.Ext.ExpireAt.IsZero() {
			m.Ext.ExpireAt = time.Now().Add(2 * time.Second)
		}
	}),
	reading("count-stuck", "R039", "delivery count of delivery 2", func(m *om.Message) { m.Ext.DeliveryCount = 1 }),
	{"out-of-range-refused", "R040", "is refused, it should be ignored", func(p *parts) {
		p.producer = onSend(func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error) {
			if m.Ext.Priority < 0 || m.Ext.Priority > 10 {
				return om.SendResult{}, om.NewError(om.CodeBadParameter, "send", m.Destination, "priority %d", m.Ext.Priority)
			}
			return p.Send(ctx, m)
		})
	}},
	{"priority-inverted", "R041", "the higher priority came first, want", func(p *parts) {
		invert := func(m *om.Message) {
			if m.Ext.Priority != 0 {
				m.Ext.Priority = 11 - m.Ext.Priority
			}
		}
		p.write, p.read = invert, invert
	}},
	{"low-priority-starves", "R162", "a message of priority 1 did not come", func(p *parts) {
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			for {
				got, err := r.Receiver.Receive(ctx, max)
				got = slices.DeleteFunc(got, func(m spi.Received) bool { return m.Message.Ext.Priority == 1 })
				if len(got) > 0 || err != nil {
					return got, err
				}
			}
		}
	}},
	{"redelivery-goes-behind", "R160", "messages of a key over the deaths", func(p *parts) {
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			got, err := r.Receiver.Receive(ctx, max)
			if len(got) > 1 && got[0].Message.Ext.DeliveryCount > 1 {
				got[0], got[1] = got[1], got[0]
			}
			return got, err
		}
	}},
	writing("partition-modulo-off-by-one", "R042", "partition in the send result", func(m *om.Message) {
		if n, ok := m.Ext.Partition.Get(); ok {
			m.Ext.Partition = om.Some((n + 1) % 3)
		}
	}),
	writing("late-after-expiry", "G19", "nor one that expires before it is due", func(m *om.Message) {
		if m.Ext.Delay > 0 {
			m.Ext.ExpireAt = time.Time{}
		}
	}),
	writing("partition-wraps", "G20", "send to partition 2 of 2: got success", func(m *om.Message) {
		if n, ok := m.Ext.Partition.Get(); ok {
			m.Ext.Partition = om.Some(n % 2)
		}
	}),
	{"offset-reused", "G34", "gave offset 0 after 0", func(p *parts) {
		p.send = outcomes(func(_ spi.Sender, o *spi.Outcome) { o.Offset = 0 })
	}},
}

// reordered sends messages in another order than asked, and answers in the
// order asked.
func reordered(change func([]*om.Message)) func(context.Context, spi.Sender, []*om.Message) ([]spi.Outcome, error) {
	return func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
		other := slices.Clone(ms)
		change(other)
		outs, err := s.Send(ctx, other)
		if err != nil {
			return nil, err
		}
		back := make([]spi.Outcome, len(ms))
		for i, m := range ms {
			back[i] = outs[slices.Index(other, m)]
		}
		return back, nil
	}
}
