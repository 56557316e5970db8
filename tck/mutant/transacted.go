package mutant

import (
	"context"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var transactedMutants = []Mutant{
	{"fencing-missing", "R132", "sending by a producer that was fenced off: got success", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn { return unfenced{spi.ConnWrapper{Conn: c}} }
	}},
	transactedBy("transacted-forgets-acks", "R135", "must not be delivered again",
		func(ctx context.Context, s spi.TransactedSender, ms []*om.Message, _ []spi.TransactedAck) ([]om.SendResult, error) {
			if len(ms) == 0 {
				return nil, nil
			}
			return s.SendTransacted(ctx, ms, nil)
		}),
	transactedBy("transacted-one-by-one", "R136", "a message of what was refused must not be delivered",
		func(ctx context.Context, s spi.TransactedSender, ms []*om.Message, acks []spi.TransactedAck) (results []om.SendResult, err error) {
			for _, m := range ms {
				r, err := s.SendTransacted(ctx, []*om.Message{m}, nil)
				if err != nil {
					return nil, err
				}
				results = append(results, r...)
			}
			if len(acks) > 0 {
				_, err = s.SendTransacted(ctx, nil, acks)
			}
			return results, err
		}),
	{"transacted-not-durable", "R137", "no message came within", func(p *parts) {
		var later locked[[]func()]
		flush := func() {
			later.do(func(all *[]func()) {
				for _, f := range *all {
					f()
				}
				*all = nil
			})
		}
		p.sender = func(s spi.Sender) spi.Sender {
			return transacted{s, func(_ context.Context, t spi.TransactedSender, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
				for i, m := range ms {
					ms[i] = m.Clone()
				}
				later.do(func(all *[]func()) {
					*all = append(*all, func() { _, _ = t.SendTransacted(context.Background(), ms, acks) })
				})
				return make([]om.SendResult, len(ms)), nil
			}}
		}
		p.receive = func(ctx context.Context, r *receiver, max int) ([]spi.Received, error) {
			flush()
			return r.Receiver.Receive(ctx, max)
		}
		for _, hook := range []*func(context.Context) error{&p.faults.Restart, &p.faults.Kill} {
			do := *hook
			*hook = func(ctx context.Context) error {
				later.do(func(all *[]func()) { *all = nil })
				return do(ctx)
			}
		}
	}},
}

type transactedCall = func(ctx context.Context, s spi.TransactedSender, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error)

// transactedBy changes how messages are sent transacted.
func transactedBy(name, kills, says string, call transactedCall) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.sender = func(s spi.Sender) spi.Sender { return transacted{s, call} }
	}}
}

type transacted struct {
	spi.Sender
	call transactedCall
}

func (t transacted) Unwrap() any { return t.Sender }

func (t transacted) SendTransacted(ctx context.Context, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
	s, _ := spi.As[spi.TransactedSender](t.Sender)
	return t.call(ctx, s, ms, acks)
}

// unfenced makes senders without their id.
type unfenced struct{ spi.ConnWrapper }

func (u unfenced) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	cfg.ProducerID = ""
	return u.Conn.NewSender(ctx, cfg)
}
