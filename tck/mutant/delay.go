package mutant

import (
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var delayMutants = []Mutant{
	canceling("cancel-does-nothing", "R113", "messages that were not cancelled", func(func() error) error { return nil }),
	canceling("cancel-always-succeeds", "R114", "cancelling a message that is not there: got success", func(do func() error) error {
		if err := do(); !errors.Is(err, om.CodeMessageNotFound) {
			return err
		}
		return nil
	}),
	{"delay-forgotten-on-restart", "R115", "no message came within", func(p *parts) {
		type sent struct{ queue, id string }
		var delayed locked[[]sent]
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			out, err := s.Send(ctx, ms)
			for i, o := range out {
				if ms[i].Ext.Delay > 0 {
					delayed.do(func(all *[]sent) { *all = append(*all, sent{ms[i].Destination, o.MessageID}) })
				}
			}
			return out, err
		}
		var last locked[spi.DelayCanceler]
		p.opened = func(_ context.Context, _ spi.Config, c spi.Conn) {
			last.do(func(d *spi.DelayCanceler) { *d, _ = spi.As[spi.DelayCanceler](c) })
		}
		restart := p.faults.Restart
		p.faults.Restart = func(ctx context.Context) error {
			delayed.do(func(all *[]sent) {
				for _, m := range *all {
					last.do(func(d *spi.DelayCanceler) { _ = (*d).CancelDelayed(ctx, m.queue, m.id) })
				}
			})
			return restart(ctx)
		}
	}},
}

// canceling changes what cancelling does.
func canceling(name, kills, says string, cancel func(do func() error) error) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			d, _ := spi.As[spi.DelayCanceler](c)
			return canceler{spi.ConnWrapper{Conn: c}, d, cancel}
		}
	}}
}

type canceler struct {
	spi.ConnWrapper
	d      spi.DelayCanceler
	cancel func(do func() error) error
}

func (c canceler) CancelDelayed(ctx context.Context, queue, id string) error {
	return c.cancel(func() error { return c.d.CancelDelayed(ctx, queue, id) })
}
