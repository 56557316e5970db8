package remote

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func (c *conn) Ping(ctx context.Context) error {
	_, err := call(c, ctx, "ping", "", c.messaging.Ping, &wirepb.PingRequest{})
	return err
}

func (c *conn) CreateNamespace(ctx context.Context, name string) error {
	_, err := call(c, ctx, "create namespace", name, c.resources.CreateNamespace, &wirepb.CreateNamespaceRequest{Namespace: text(name)})
	return err
}

func (c *conn) DeleteNamespace(ctx context.Context, name string) error {
	_, err := call(c, ctx, "delete namespace", name, c.resources.DeleteNamespace, &wirepb.DeleteNamespaceRequest{Namespace: text(name)})
	return err
}

func (c *conn) Namespaces(ctx context.Context) ([]string, error) {
	r, err := call(c, ctx, "list namespaces", "", c.resources.ListNamespaces, &wirepb.ListNamespacesRequest{})
	return r.GetNamespaces(), err
}

func (c *conn) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	w := wire.Queue(q)
	w.Name, w.Description = text(w.Name), text(w.Description)
	_, err := call(c, ctx, "create queue", q.Name, c.resources.CreateQueue, &wirepb.CreateQueueRequest{Queue: w})
	return err
}

func (c *conn) DeleteQueue(ctx context.Context, name string) error {
	_, err := call(c, ctx, "delete queue", name, c.resources.DeleteQueue, &wirepb.DeleteQueueRequest{Queue: text(name)})
	return err
}

func (c *conn) AddPartitions(ctx context.Context, queue string, total int) error {
	_, err := call(c, ctx, "add partitions", queue, c.resources.AddPartitions, &wirepb.AddPartitionsRequest{Queue: text(queue), Total: int32(min(total, math.MaxInt32))})
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.queues, queue)
	return err
}

func (c *conn) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	r, err := call(c, ctx, "describe queue", name, c.resources.GetQueue, &wirepb.GetQueueRequest{Queue: text(name)})
	return wire.FromQueue(r.GetQueue()), err
}

func (c *conn) Queues(ctx context.Context, namespace string) (out []om.QueueConfig, err error) {
	for page := ""; ; {
		r, err := call(c, ctx, "list queues", namespace, c.resources.ListQueues, &wirepb.ListQueuesRequest{Namespace: text(namespace), Page: page})
		if err != nil {
			return nil, err
		}
		for _, q := range r.GetQueues() {
			out = append(out, wire.FromQueue(q))
		}
		if page = r.GetNextPage(); page == "" {
			return out, nil
		}
	}
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	_, err := call(c, ctx, "delete group", queue, c.resources.DeleteGroup, &wirepb.DeleteGroupRequest{Queue: text(queue), Group: text(group)})
	return err
}

func (c *conn) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	r, err := call(c, ctx, "list partitions", queue, c.resources.ListPartitions, &wirepb.ListPartitionsRequest{Queue: text(queue)})
	if err != nil {
		return nil, err
	}
	return wire.FromPartitions(r.GetQueue(), r.GetPartitions()), nil
}

func (c *conn) Groups(ctx context.Context, queue string) (out []om.GroupInfo, err error) {
	for page := ""; ; {
		r, err := call(c, ctx, "list groups", queue, c.resources.ListGroups, &wirepb.ListGroupsRequest{Queue: text(queue), Page: page})
		if err != nil {
			return nil, err
		}
		for _, g := range r.GetGroups() {
			out = append(out, wire.FromGroup(r.GetQueue(), g))
		}
		if page = r.GetNextPage(); page == "" {
			return out, nil
		}
	}
}

func (c *conn) Stats(ctx context.Context, namespace string, queues []string) (out []om.QueueStats, err error) {
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = text(q)
	}
	for page := ""; ; {
		r, err := call(c, ctx, "read statistics", namespace, c.resources.GetStats, &wirepb.GetStatsRequest{Namespace: text(namespace), Queues: names, Page: page})
		if err != nil {
			return nil, err
		}
		for _, q := range r.GetQueues() {
			out = append(out, wire.FromStats(q))
		}
		if page = r.GetNextPage(); page == "" {
			return out, nil
		}
	}
}

func (c *conn) FindMessages(ctx context.Context, queue string, q om.MessageQuery) ([]spi.Received, string, error) {
	w := wire.Find(text(queue), q)
	w.DeadFor, w.Id, w.Key, w.After = text(w.DeadFor), text(w.Id), text(w.Key), text(w.After)
	r, err := call(c, ctx, "find", queue, c.resources.FindMessages, w)
	if err != nil {
		return nil, "", err
	}
	found, err := c.decode(r.GetSpans(), q.Where(queue), time.Time{})
	return found, r.GetNext(), err
}

func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	c.dropUnclaimed(ctx)
	_, err := call(c, ctx, "seek", queue, c.resources.SeekGroup, &wirepb.SeekGroupRequest{Queue: text(queue), Group: text(group), Position: p.String()})
	return err
}

func (c *conn) Resolve(ctx context.Context, queue string, partition int32, p om.Position) (int64, error) {
	r, err := call(c, ctx, "seek", queue, c.messaging.Resolve, &wirepb.ResolveRequest{Queue: text(queue), Partition: partition, Position: p.String()})
	return r.GetOffset(), err
}

func (c *conn) ReadAt(ctx context.Context, queue string, partition int32, offset int64, limit int) ([]spi.Received, error) {
	limit = min(limit, int(c.limits.GetMaxPollMessages()))
	r, err := call(c, ctx, "read", queue, c.messaging.Read, &wirepb.ReadRequest{Queue: text(queue), Partition: partition, Offset: offset, MaxMessages: int32(limit)})
	if err != nil {
		return nil, err
	}
	return c.decode(r.GetSpans(), queue, time.Time{})
}

func (c *conn) Await(ctx context.Context, queue string, partition int32, offset int64) error {
	_, err := call(c, ctx, "read", queue, c.messaging.Await, &wirepb.AwaitRequest{Queue: text(queue), Partition: partition, Offset: offset})
	return err
}

func (c *conn) ConfigureGroup(ctx context.Context, queue, group string, g om.GroupConfig) error {
	_, err := call(c, ctx, "configure group", queue, c.resources.ConfigureGroup, &wirepb.ConfigureGroupRequest{Queue: text(queue), Group: text(group), Config: wire.GroupConfig(g)})
	return err
}

func (c *conn) Group(ctx context.Context, queue, group string) (om.GroupConfig, error) {
	r, err := call(c, ctx, "describe group", queue, c.resources.GetGroup, &wirepb.GetGroupRequest{Queue: text(queue), Group: text(group)})
	return wire.FromGroupConfig(r.GetConfig()), err
}

func (c *conn) Redrive(ctx context.Context, queue, group string, r om.Redrive) ([]om.Redriven, error) {
	q := wire.Redrive(text(queue), text(group), r)
	q.Filter, q.Ids = filter(r.Filter), slices.Clone(q.Ids)
	for i, id := range q.Ids {
		q.Ids[i] = text(id)
	}
	out, err := call(c, ctx, "redrive", queue, c.resources.Redrive, q)
	if err != nil {
		return nil, err
	}
	return wire.FromRedriven(out), nil
}

func (c *conn) CancelDelayed(ctx context.Context, queue, messageID string) error {
	_, err := call(c, ctx, "cancel", queue, c.resources.CancelDelayed, &wirepb.CancelDelayedRequest{Queue: text(queue), MessageId: text(messageID)})
	return err
}

func (c *conn) SetFilter(ctx context.Context, queue string, f om.Filter) error {
	_, err := call(c, ctx, "set filter", queue, c.resources.SetFilter, &wirepb.SetFilterRequest{Queue: text(queue), Filter: filter(f)})
	return err
}

// filter makes a filter fit for protobuf.
func filter(f om.Filter) *wirepb.Filter {
	f.Type, f.Expression = text(f.Type), text(f.Expression)
	return wire.Filter(f)
}

func route(r om.RouteConfig) *wirepb.Route {
	w := wire.Route(r)
	w.Name, w.Source, w.Target, w.Filter = text(w.Name), text(w.Source), text(w.Target), filter(r.Filter)
	for _, o := range w.Operators {
		o.Type = text(o.Type)
		o.Keys = slices.Clone(o.Keys)
		for i, k := range o.Keys {
			o.Keys[i] = text(k)
		}
	}
	return w
}

func (c *conn) CreateRoute(ctx context.Context, r om.RouteConfig) error {
	_, err := call(c, ctx, "create route", r.Name, c.resources.CreateRoute, &wirepb.CreateRouteRequest{Route: route(r)})
	return err
}

func (c *conn) UpdateRoute(ctx context.Context, r om.RouteConfig) error {
	_, err := call(c, ctx, "update route", r.Name, c.resources.UpdateRoute, &wirepb.UpdateRouteRequest{Route: route(r)})
	return err
}

func (c *conn) DeleteRoute(ctx context.Context, name string) error {
	_, err := call(c, ctx, "delete route", name, c.resources.DeleteRoute, &wirepb.DeleteRouteRequest{Name: text(name)})
	return err
}

func (c *conn) Routes(ctx context.Context) (out []om.RouteConfig, err error) {
	for page := ""; ; {
		r, err := call(c, ctx, "list routes", "", c.resources.ListRoutes, &wirepb.ListRoutesRequest{Page: page})
		if err != nil {
			return nil, err
		}
		for _, w := range r.GetRoutes() {
			c, err := wire.FromRoute("list routes", w)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
		if page = r.GetNextPage(); page == "" {
			return out, nil
		}
	}
}
