package mutant

import (
	"context"
	"errors"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// admin is a connection whose administration is at fault.
type admin struct {
	spi.ConnWrapper
	spi.Admin
	createQueue func(a admin, ctx context.Context, c om.QueueConfig) error
	deleteQueue func(a admin, ctx context.Context, name string) error
	queues      func([]om.QueueConfig) []om.QueueConfig
	queue       func(*om.QueueConfig)
}

func (a admin) CreateQueue(ctx context.Context, c om.QueueConfig) error {
	if a.createQueue != nil {
		return a.createQueue(a, ctx, c)
	}
	return a.Admin.CreateQueue(ctx, c)
}

func (a admin) DeleteQueue(ctx context.Context, name string) error {
	if a.deleteQueue != nil {
		return a.deleteQueue(a, ctx, name)
	}
	return a.Admin.DeleteQueue(ctx, name)
}

func (a admin) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	qs, err := a.Admin.Queues(ctx, namespace)
	if a.queues != nil {
		qs = a.queues(qs)
	}
	return qs, err
}

func (a admin) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	c, err := a.Admin.Queue(ctx, name)
	if a.queue != nil {
		a.queue(&c)
	}
	return c, err
}

func managing(name, kills, says string, fault admin) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			a := fault
			a.ConnWrapper = spi.ConnWrapper{Conn: c}
			a.Admin, _ = spi.As[spi.Admin](c)
			return a
		}
	}}
}

// same is the queue that namespace-ignored has once only.
func same(name string) string {
	if strings.HasSuffix(name, "://same") {
		return om.JoinQueueName("default", "same")
	}
	return name
}

var resourceMutants = []Mutant{
	managing("list-is-stale", "R085", "queues after one was created", admin{queues: func([]om.QueueConfig) []om.QueueConfig { return nil }}),
	managing("create-overwrites", "R086", "create a queue that exists: got success", admin{createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
		err := a.Admin.CreateQueue(ctx, c)
		if errors.Is(err, om.CodeDestinationExists) {
			err = errors.Join(a.Admin.DeleteQueue(ctx, c.Name), a.Admin.CreateQueue(ctx, c))
		}
		return err
	}}),
	managing("delete-missing-ok", "R087", "delete a queue that does not exist: got success", admin{deleteQueue: func(a admin, ctx context.Context, name string) error {
		err := a.Admin.DeleteQueue(ctx, name)
		if missing(name) {
			return nil
		}
		return err
	}}),
	{"namespace-ignored", "R088", "a queue of the same name in another namespace must share nothing", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			a, _ := spi.As[spi.Admin](c)
			return admin{ConnWrapper: spi.ConnWrapper{Conn: c}, Admin: a, createQueue: func(a admin, ctx context.Context, c om.QueueConfig) error {
				c.Name = same(c.Name)
				err := a.Admin.CreateQueue(ctx, c)
				if errors.Is(err, om.CodeDestinationExists) && strings.HasSuffix(c.Name, "://same") {
					return nil
				}
				return err
			}}
		}
		p.write = func(m *om.Message) { m.Destination = same(m.Destination) }
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			cfg.Queue = same(cfg.Queue)
			return c.NewReceiver(ctx, cfg)
		}
	}},
	managing("name-split-wrong", "R089", "name of the queue", admin{queue: func(c *om.QueueConfig) {
		_, c.Name = om.SplitQueueName(c.Name, "")
	}}),
	filtering("filter-inverted", "R090", "of 2 messages came", func(f om.Filter, set func(om.Filter) error) error {
		return set(om.SQL("NOT (" + f.Expression + ")"))
	}),
	filtering("null-matches", "R090", "a message that does not match", func(f om.Filter, set func(om.Filter) error) error {
		return set(om.SQL("(" + f.Expression + ") OR color IS NULL"))
	}),
	filtering("bad-filter-accepted", "G35", "set filter n =: got success", func(f om.Filter, set func(om.Filter) error) error {
		_ = set(f)
		return nil
	}),
	{"routing-moves-instead", "R091", "no message came within", func(p *parts) {
		var moves locked[map[string]string]
		moves.v = make(map[string]string)
		p.conn = func(c spi.Conn) spi.Conn {
			r, _ := spi.As[spi.Router](c)
			return router{spi.ConnWrapper{Conn: c}, r, func(c om.RouteConfig, _ error) error {
				moves.do(func(m *map[string]string) { (*m)[c.Source] = c.Target })
				return nil
			}}
		}
		p.write = func(m *om.Message) {
			moves.do(func(to *map[string]string) {
				if target := (*to)[m.Destination]; target != "" {
					m.Destination = target
				}
			})
		}
	}},
	{"route-loops", "G36", "a route that makes a cycle: got success", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			r, _ := spi.As[spi.Router](c)
			return router{spi.ConnWrapper{Conn: c}, r, func(om.RouteConfig, error) error { return nil }}
		}
	}},
	{"broadcast-is-p2p", "R098", "of 10 messages came", func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			cfg.Group = "all"
			return c.NewReceiver(ctx, cfg)
		}
	}},
	{"partition-missing", "R092", "partitions of the queue", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			d, _ := spi.As[spi.Describer](c)
			return describer{spi.ConnWrapper{Conn: c}, d}
		}
	}},
}

type filterer struct {
	spi.ConnWrapper
	spi.Filterer
	change func(om.Filter, func(om.Filter) error) error
}

func (f filterer) SetFilter(ctx context.Context, queue string, filter om.Filter) error {
	return f.change(filter, func(x om.Filter) error { return f.Filterer.SetFilter(ctx, queue, x) })
}

func filtering(name, kills, says string, change func(om.Filter, func(om.Filter) error) error) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			f, _ := spi.As[spi.Filterer](c)
			return filterer{spi.ConnWrapper{Conn: c}, f, change}
		}
	}}
}

type router struct {
	spi.ConnWrapper
	spi.Router
	created func(om.RouteConfig, error) error
}

func (r router) CreateRoute(ctx context.Context, c om.RouteConfig) error {
	return r.created(c, r.Router.CreateRoute(ctx, c))
}

func (r router) DeleteRoute(ctx context.Context, name string) error {
	_ = r.Router.DeleteRoute(ctx, name)
	return nil
}

type describer struct {
	spi.ConnWrapper
	spi.Describer
}

func (d describer) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	ps, err := d.Describer.Partitions(ctx, queue)
	return ps[:max(0, len(ps)-1)], err
}
