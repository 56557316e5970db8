package mutant

import (
	"context"
	"time"

	"github.com/openmessaging/openmessaging-go/spi"
)

// powers returns a mutant one of whose settlements does something else.
func powers(name, kills, says, broken string) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			r, err := c.NewReceiver(ctx, cfg)
			if err != nil {
				return nil, err
			}
			return powerless{spi.ReceiverWrapper{Receiver: r}, broken}, nil
		}
	}}
}

type powerless struct {
	spi.ReceiverWrapper
	broken string
}

func (r powerless) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	if r.broken == "nack" {
		return r.Receiver.Ack(ctx, receipts)
	}
	n, _ := spi.As[spi.Nacker](r.Receiver)
	return n.Nack(ctx, receipts, delay)
}

func (r powerless) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	if r.broken == "extend" {
		return nil, nil
	}
	l, _ := spi.As[spi.Leaser](r.Receiver)
	return l.Extend(ctx, receipts, lease)
}

func (r powerless) Reject(ctx context.Context, receipts []spi.Receipt, reason string) ([]error, error) {
	if r.broken == "reject" {
		return r.Receiver.Ack(ctx, receipts)
	}
	d, _ := spi.As[spi.DeadLetterer](r.Receiver)
	return d.Reject(ctx, receipts, reason)
}
