package mutant

import (
	"context"
	"errors"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var deadLetterMutants = []Mutant{
	redriving("redrive-moves-nothing", "R116", "no message came within", func(r spi.Redriver, ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error) {
		dry := want
		dry.DryRun = true
		out, err := r.Redrive(ctx, queue, group, dry)
		for i := range out {
			if out[i].Err == nil {
				out[i].Offset = 1
			}
		}
		return out, err
	}),
	redriving("redrive-dry-run-moves", "R116", "a dry run must move nothing", func(r spi.Redriver, ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error) {
		want.DryRun = false
		return r.Redrive(ctx, queue, group, want)
	}),
	redriving("redrive-forgets-the-missing", "R116", "redriving a message that is not there", func(r spi.Redriver, ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error) {
		out, err := r.Redrive(ctx, queue, group, want)
		return slices.DeleteFunc(out, func(one om.Redriven) bool { return errors.Is(one.Err, om.CodeMessageNotFound) }), err
	}),
	{"redrive-for-everybody", "R116", "what was redriven for a group must not come to another", func(p *parts) {
		// What is redriven is sent to all groups instead.
		p.conn = func(c spi.Conn) spi.Conn {
			d, _ := spi.As[spi.Redriver](c)
			s, _ := spi.As[spi.Streamer](c)
			return redriver{spi.ConnWrapper{Conn: c}, d, func(r spi.Redriver, ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error) {
				out, err := r.Redrive(ctx, queue, group, want)
				for _, one := range out {
					if one.Err != nil || want.DryRun {
						continue
					}
					err = errors.Join(err, resend(ctx, c, s, one))
				}
				return out, err
			}}
		}
	}},
	configuring("group-settings-ignored", "before its backoff", func(g spi.GroupConfigurer, ctx context.Context, queue, group string, c om.GroupConfig) error {
		c.Backoff = om.NoBackoff
		return g.ConfigureGroup(ctx, queue, group, c)
	}),
	configuring("one-delivery-too-many", "more often than MaxDeliveries says", func(g spi.GroupConfigurer, ctx context.Context, queue, group string, c om.GroupConfig) error {
		c.MaxDeliveries++
		c.Backoff = slices.Clone(c.Backoff)
		for i := range c.Backoff[min(len(c.Backoff), 1):] {
			c.Backoff[i+1] = 0
		}
		return g.ConfigureGroup(ctx, queue, group, c)
	}),
	managing("expired-only-counted", "R118", "bind the dead-letter queue", admin{
		createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
			c.DeadLetterExpired = false
			return a.Admin.CreateQueue(ctx, c)
		},
	}),
	managing("expired-always-buried", "R118", "a queue without DeadLetterExpired", admin{
		createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
			c.DeadLetterExpired = true
			return a.Admin.CreateQueue(ctx, c)
		},
	}),
}

type redriveFault func(r spi.Redriver, ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error)

// redriving changes what redriving does.
func redriving(name, kills, says string, fault redriveFault) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			r, _ := spi.As[spi.Redriver](c)
			return redriver{spi.ConnWrapper{Conn: c}, r, fault}
		}
	}}
}

type redriver struct {
	spi.ConnWrapper
	r     spi.Redriver
	fault redriveFault
}

func (c redriver) Redrive(ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error) {
	return c.fault(c.r, ctx, queue, group, want)
}

// resend sends what was redriven once more, for everybody.
func resend(ctx context.Context, c spi.Conn, s spi.Streamer, one om.Redriven) error {
	got, err := s.ReadAt(ctx, one.Queue, one.Partition, one.Offset, 1)
	if err != nil {
		return err
	}
	sender, err := c.NewSender(ctx, spi.SenderConfig{})
	if err != nil {
		return err
	}
	m := got[0].Message
	m.Destination, m.MessageID = one.Queue, ""
	_, err = sender.Send(ctx, []*om.Message{m})
	return errors.Join(err, sender.Close(ctx))
}

// configuring changes what configuring a group does; the settings are told as
// they were given.
func configuring(name, says string, fault func(g spi.GroupConfigurer, ctx context.Context, queue, group string, c om.GroupConfig) error) Mutant {
	return Mutant{name, "R117", says, func(p *parts) {
		var told locked[om.GroupConfig]
		p.conn = func(c spi.Conn) spi.Conn {
			g, _ := spi.As[spi.GroupConfigurer](c)
			return configurer{spi.ConnWrapper{Conn: c}, g, fault, &told}
		}
	}}
}

type configurer struct {
	spi.ConnWrapper
	g     spi.GroupConfigurer
	fault func(g spi.GroupConfigurer, ctx context.Context, queue, group string, c om.GroupConfig) error
	told  *locked[om.GroupConfig]
}

func (c configurer) ConfigureGroup(ctx context.Context, queue, group string, config om.GroupConfig) error {
	if _, err := config.Complete("configure group", queue); err != nil {
		return err
	}
	c.told.do(func(t *om.GroupConfig) { *t = config })
	return c.fault(c.g, ctx, queue, group, config)
}

func (c configurer) Group(ctx context.Context, queue, group string) (out om.GroupConfig, err error) {
	c.told.do(func(t *om.GroupConfig) { out = *t })
	return out, nil
}
