package memory

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// SendTransacted implements spi.TransactedSender.
func (s *sender) SendTransacted(ctx context.Context, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
	const op = "send"
	sys := s.conn.s
	if err := sys.begin(ctx, &s.life, om.CapTransacted, op, ""); err != nil {
		return nil, err
	}
	sys.mu.Unlock()
	if err := sys.enter(ctx, &s.life, op, "", sys.flowing); err != nil {
		return nil, err
	}
	defer sys.mu.Unlock()
	sys.advance(time.Now())
	accepts, turns := make([]*accepted, len(ms)), map[*queue]int32{}
	if err := s.fenced(op, ""); err != nil {
		return nil, err
	}
	for i, m := range ms {
		var err error
		if accepts[i], err = s.conn.accept(op, m, turns); err != nil {
			return nil, err
		}
	}
	for _, a := range acks {
		r, ok := spi.As[*receiver](a.Receiver)
		if !ok || r.conn != s.conn {
			return nil, om.NewError(om.CodeBadParameter, "ack", "", "a receiver is not one of this connection")
		}
		rcs, err := r.own(om.Ack, a.Receipts)
		if err != nil {
			return nil, err
		}
		for _, rc := range rcs {
			if _, err := r.holds(om.Ack, rc); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range acks {
		r, _ := spi.As[*receiver](a.Receiver)
		_, _ = r.settle(om.Ack, a.Receipts, r.group.ack)
	}
	results := make([]om.SendResult, len(ms))
	for i, a := range accepts {
		results[i] = a.publish()
	}
	return results, nil
}
