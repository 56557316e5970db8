package badger

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// conn implements spi.Conn, spi.Admin, spi.Describer, spi.StatsReader, spi.Finder, spi.Seeker, spi.Streamer,
// spi.GroupConfigurer, spi.Redriver, spi.DelayCanceler, spi.Filterer, spi.Router, spi.Pinger and spi.Asser.
type conn struct {
	spi.Life
	broker       *broker.Broker
	capabilities om.Capabilities
	release      func() error
}

func newConn(b *broker.Broker, release func() error) *conn {
	return &conn{broker: b, capabilities: b.Capabilities(), release: release}
}

func (c *conn) Capabilities() om.Capabilities { return c.capabilities }

func (c *conn) NewSender(ctx context.Context, cfg spi.SenderConfig) (_ spi.Sender, err error) {
	if err := c.Begin(ctx, "new sender", ""); err != nil {
		return nil, err
	}
	s := newSender(c)
	if cfg.ProducerID != "" {
		if s.epoch, err = c.broker.OpenProducer(ctx, cfg.ProducerID); err != nil {
			return nil, err
		}
	}
	if err := c.Own(s); err != nil {
		return nil, err
	}
	if s.group = cmp.Or(cfg.Group, rand.Text()); cfg.Checker != nil {
		if err := s.check(cfg.Checker); err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
	}
	return s, nil
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	if err := c.Begin(ctx, "bind", cfg.Queue); err != nil {
		return nil, err
	}
	bc := broker.ReceiverConfig{Queue: cfg.Queue, Group: cfg.Group, Start: cfg.Start, Filter: cfg.Filter, Lease: cfg.Lease}
	if m := cfg.Member; m != nil {
		bc.Member = &broker.Member{Member: m.Member, Strategy: m.Strategy.Name(), Session: m.Session}
	}
	br, err := c.broker.NewReceiver(ctx, bc)
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: c, broker: br, queue: cfg.Queue, member: batch.NewMember(cfg.Member)}
	if err := c.Own(r); err != nil {
		return nil, errors.Join(err, br.Close(ctx))
	}
	return r, nil
}

func (c *conn) Close(ctx context.Context) error { return c.End(ctx, c.release) }

func (c *conn) Ping(ctx context.Context) error {
	if err := c.Begin(ctx, "ping", ""); err != nil {
		return err
	}
	return c.broker.Ping(ctx)
}

// As gives the *broker.Broker to who asks for it.
func (c *conn) As(target any) bool { return spi.Give(target, c.broker) }

func (c *conn) CreateNamespace(ctx context.Context, name string) error {
	if err := c.Begin(ctx, "create namespace", name); err != nil {
		return err
	}
	return c.broker.CreateNamespace(ctx, name)
}

func (c *conn) DeleteNamespace(ctx context.Context, name string) error {
	if err := c.Begin(ctx, "delete namespace", name); err != nil {
		return err
	}
	return c.broker.DeleteNamespace(ctx, name)
}

func (c *conn) Namespaces(ctx context.Context) ([]string, error) {
	if err := c.Begin(ctx, "list namespaces", ""); err != nil {
		return nil, err
	}
	return c.broker.Namespaces(), nil
}

func (c *conn) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	if err := c.Begin(ctx, "create queue", q.Name); err != nil {
		return err
	}
	return c.broker.CreateQueue(ctx, q)
}

func (c *conn) DeleteQueue(ctx context.Context, name string) error {
	if err := c.Begin(ctx, "delete queue", name); err != nil {
		return err
	}
	return c.broker.DeleteQueue(ctx, name)
}

func (c *conn) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	q, err := c.queue(ctx, "describe queue", name)
	if err != nil {
		return om.QueueConfig{}, err
	}
	return q.Config(), nil
}

func (c *conn) queue(ctx context.Context, op, name string) (*broker.Queue, error) {
	if err := c.Begin(ctx, op, name); err != nil {
		return nil, err
	}
	return c.broker.Queue(op, name)
}

func (c *conn) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	if err := c.Begin(ctx, "list queues", namespace); err != nil {
		return nil, err
	}
	queues, err := c.broker.Queues(namespace)
	if err != nil {
		return nil, err
	}
	out := make([]om.QueueConfig, len(queues))
	for i, q := range queues {
		out[i] = q.Config()
	}
	return out, nil
}

func (c *conn) AddPartitions(ctx context.Context, queue string, total int) error {
	if err := c.Begin(ctx, "add partitions", queue); err != nil {
		return err
	}
	return c.broker.AddPartitions(ctx, queue, total)
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	if err := c.Begin(ctx, "delete group", queue); err != nil {
		return err
	}
	return c.broker.DeleteGroup(ctx, queue, group)
}

func (c *conn) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	q, err := c.queue(ctx, "list partitions", queue)
	if err != nil {
		return nil, err
	}
	return q.PartitionInfos(), nil
}

func (c *conn) Groups(ctx context.Context, queue string) ([]om.GroupInfo, error) {
	q, err := c.queue(ctx, "list groups", queue)
	if err != nil {
		return nil, err
	}
	return q.Groups(), nil
}

func (c *conn) Stats(ctx context.Context, namespace string, queues []string) ([]om.QueueStats, error) {
	if err := c.Begin(ctx, "read statistics", namespace); err != nil {
		return nil, err
	}
	return c.broker.Stats(namespace, queues)
}

func (c *conn) FindMessages(ctx context.Context, queue string, q om.MessageQuery) ([]spi.Received, string, error) {
	if err := c.Begin(ctx, "find", queue); err != nil {
		return nil, "", err
	}
	spans, next, err := c.broker.FindMessages(ctx, queue, q)
	if err != nil {
		return nil, "", err
	}
	found, err := c.decode(spans, q.Where(queue))
	return found, next, err
}

func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	if err := c.Begin(ctx, "seek", queue); err != nil {
		return err
	}
	return c.broker.SeekGroup(ctx, queue, group, p)
}

func (c *conn) Resolve(ctx context.Context, queue string, partition int32, p om.Position) (int64, error) {
	q, err := c.queue(ctx, "seek", queue)
	if err != nil {
		return 0, err
	}
	return q.Resolve(partition, p)
}

func (c *conn) ReadAt(ctx context.Context, queue string, partition int32, offset int64, limit int) ([]spi.Received, error) {
	q, err := c.queue(ctx, "read", queue)
	if err != nil {
		return nil, err
	}
	spans, err := q.Read(ctx, partition, offset, limit)
	if err != nil {
		return nil, err
	}
	return c.decode(spans, queue)
}

func (c *conn) Await(ctx context.Context, queue string, partition int32, offset int64) error {
	q, err := c.queue(ctx, "read", queue)
	if err != nil {
		return err
	}
	return q.Await(ctx, partition, offset)
}

func (c *conn) ConfigureGroup(ctx context.Context, queue, group string, g om.GroupConfig) error {
	if err := c.Begin(ctx, "configure group", queue); err != nil {
		return err
	}
	return c.broker.ConfigureGroup(ctx, queue, group, g)
}

func (c *conn) Group(ctx context.Context, queue, group string) (om.GroupConfig, error) {
	q, err := c.queue(ctx, "describe group", queue)
	if err != nil {
		return om.GroupConfig{}, err
	}
	return q.Group(group)
}

func (c *conn) Redrive(ctx context.Context, queue, group string, r om.Redrive) ([]om.Redriven, error) {
	if err := c.Begin(ctx, "redrive", queue); err != nil {
		return nil, err
	}
	return c.broker.Redrive(ctx, queue, group, r)
}

func (c *conn) CancelDelayed(ctx context.Context, queue, messageID string) error {
	if err := c.Begin(ctx, "cancel", queue); err != nil {
		return err
	}
	return c.broker.CancelDelayed(ctx, queue, messageID)
}

func (c *conn) SetFilter(ctx context.Context, queue string, f om.Filter) error {
	if err := c.Begin(ctx, "set filter", queue); err != nil {
		return err
	}
	return c.broker.SetFilter(ctx, queue, f)
}

func (c *conn) CreateRoute(ctx context.Context, r om.RouteConfig) error {
	if err := c.Begin(ctx, "create route", r.Name); err != nil {
		return err
	}
	return c.broker.CreateRoute(ctx, r)
}

func (c *conn) UpdateRoute(ctx context.Context, r om.RouteConfig) error {
	if err := c.Begin(ctx, "update route", r.Name); err != nil {
		return err
	}
	return c.broker.UpdateRoute(ctx, r)
}

func (c *conn) DeleteRoute(ctx context.Context, name string) error {
	if err := c.Begin(ctx, "delete route", name); err != nil {
		return err
	}
	return c.broker.DeleteRoute(ctx, name)
}

func (c *conn) Routes(ctx context.Context) ([]om.RouteConfig, error) {
	if err := c.Begin(ctx, "list routes", ""); err != nil {
		return nil, err
	}
	return c.broker.Routes(), nil
}
