package stdio

import (
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// do calls an operation of the connection.
func (c *conn) do(ctx context.Context, op, resource string, r *request) (*answer, error) {
	r.Handle = c.handle
	return c.call(ctx, op, resource, r)
}

func (c *conn) CreateNamespace(ctx context.Context, name string) error {
	_, err := c.do(ctx, "create namespace", name, &request{Op: "create_namespace", Name: name})
	return err
}

func (c *conn) DeleteNamespace(ctx context.Context, name string) error {
	_, err := c.do(ctx, "delete namespace", name, &request{Op: "delete_namespace", Name: name})
	return err
}

func (c *conn) Namespaces(ctx context.Context) ([]string, error) {
	a, err := c.do(ctx, "list namespaces", "", &request{Op: "namespaces"})
	if err != nil {
		return nil, err
	}
	return a.Names, nil
}

func (c *conn) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	config := newQueueConfig(q)
	_, err := c.do(ctx, "create queue", q.Name, &request{Op: "create_queue", Config: &config})
	return err
}

func (c *conn) DeleteQueue(ctx context.Context, name string) error {
	_, err := c.do(ctx, "delete queue", name, &request{Op: "delete_queue", Queue: name})
	return err
}

func (c *conn) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	const op = "describe queue"
	a, err := c.do(ctx, op, name, &request{Op: "queue", Queue: name})
	if err != nil {
		return om.QueueConfig{}, err
	}
	if a.Config == nil {
		return om.QueueConfig{}, c.broken(op, name, errors.New("it has no config"))
	}
	return a.Config.value(), nil
}

func (c *conn) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	a, err := c.do(ctx, "list queues", namespace, &request{Op: "queues", Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return values(a.Configs), nil
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	_, err := c.do(ctx, "delete group", queue, &request{Op: "delete_group", Queue: queue, Group: group})
	return err
}

func (c *conn) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	a, err := c.do(ctx, "list partitions", queue, &request{Op: "partitions", Queue: queue})
	if err != nil {
		return nil, err
	}
	return values(a.Partitions), nil
}

func (c *conn) Groups(ctx context.Context, queue string) ([]om.GroupInfo, error) {
	a, err := c.do(ctx, "list groups", queue, &request{Op: "groups", Queue: queue})
	if err != nil {
		return nil, err
	}
	return values(a.Groups), nil
}

func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	_, err := c.do(ctx, "seek group", queue, &request{Op: "seek", Queue: queue, Group: group, Position: wirePosition(p)})
	return err
}

func (c *conn) Resolve(ctx context.Context, queue string, partition int32, p om.Position) (int64, error) {
	const op = "resolve"
	a, err := c.do(ctx, op, queue, &request{Op: "resolve", Queue: queue, Partition: &partition, Position: wirePosition(p)})
	if err != nil {
		return 0, err
	}
	if a.Offset == nil {
		return 0, c.broken(op, queue, errors.New("it has no offset"))
	}
	return *a.Offset, nil
}

func (c *conn) ReadAt(ctx context.Context, queue string, partition int32, offset int64, max int) ([]spi.Received, error) {
	const op = "read"
	a, err := c.do(ctx, op, queue, &request{Op: "read", Queue: queue, Partition: &partition, Offset: &offset, Max: max})
	if err != nil {
		return nil, err
	}
	got, err := received(a.Deliveries, false)
	if err != nil {
		return nil, c.broken(op, queue, err)
	}
	return got, nil
}

func (c *conn) Await(ctx context.Context, queue string, partition int32, offset int64) error {
	_, err := c.do(ctx, "await", queue, &request{Op: "await", Queue: queue, Partition: &partition, Offset: &offset})
	return err
}

func (c *conn) SetFilter(ctx context.Context, queue string, f om.Filter) error {
	w := filter(f)
	_, err := c.do(ctx, "set filter", queue, &request{Op: "set_filter", Queue: queue, Filter: &w})
	return err
}

func (c *conn) CreateRoute(ctx context.Context, r om.RouteConfig) error {
	_, err := c.do(ctx, "create route", r.Name, &request{Op: "create_route", Route: wireRoute(r)})
	return err
}

func (c *conn) UpdateRoute(ctx context.Context, r om.RouteConfig) error {
	_, err := c.do(ctx, "update route", r.Name, &request{Op: "update_route", Route: wireRoute(r)})
	return err
}

func (c *conn) DeleteRoute(ctx context.Context, name string) error {
	_, err := c.do(ctx, "delete route", name, &request{Op: "delete_route", Name: name})
	return err
}

func (c *conn) Routes(ctx context.Context) ([]om.RouteConfig, error) {
	a, err := c.do(ctx, "list routes", "", &request{Op: "routes"})
	if err != nil {
		return nil, err
	}
	return values(a.Routes), nil
}

var (
	_ spi.Conn         = (*conn)(nil)
	_ spi.Admin        = (*conn)(nil)
	_ spi.Describer    = (*conn)(nil)
	_ spi.Seeker       = (*conn)(nil)
	_ spi.Streamer     = (*conn)(nil)
	_ spi.Filterer     = (*conn)(nil)
	_ spi.Router       = (*conn)(nil)
	_ spi.Pinger       = (*conn)(nil)
	_ spi.Sender       = (*sender)(nil)
	_ spi.Transactor   = (*sender)(nil)
	_ spi.Receiver     = (*receiver)(nil)
	_ spi.Nacker       = (*receiver)(nil)
	_ spi.Leaser       = (*receiver)(nil)
	_ spi.DeadLetterer = (*receiver)(nil)
)
