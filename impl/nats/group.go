package nats

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// A group is a durable consumer on each of a queue's streams.

// join finds or makes the consumer of a group on a partition.
func (c *conn) join(ctx context.Context, q *queue, partition int, group string, start om.Position) (*jetstream.ConsumerInfo, error) {
	stream := q.streams[partition]
	found, err := c.js.Consumer(ctx, stream, token(group))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		var offset int64
		if offset, err = c.startOf(ctx, q, partition, start); err != nil {
			return nil, err
		}
		found, err = c.makeGroup(ctx, q, partition, group, offset)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another has made it meanwhile
			found, err = c.js.Consumer(ctx, stream, token(group))
		}
	}
	if err != nil {
		return nil, err
	}
	return found.CachedInfo(), nil
}

// startOf returns the offset that a group starts at.
func (c *conn) startOf(ctx context.Context, q *queue, partition int, start om.Position) (int64, error) {
	if start.IsBegin() {
		return 0, nil
	}
	return c.Resolve(ctx, q.Name, int32(partition), start)
}

func (c *conn) makeGroup(ctx context.Context, q *queue, partition int, group string, offset int64) (jetstream.Consumer, error) {
	cfg := from(offset)
	if offset == 0 {
		cfg = jetstream.ConsumerConfig{}
	}
	cfg.Durable, cfg.Metadata = token(group), map[string]string{metaGroup: group}
	cfg.AckPolicy, cfg.AckWait, cfg.MaxDeliver, cfg.MaxAckPending = jetstream.AckExplicitPolicy, c.ackWait, -1, -1
	return c.js.CreateConsumer(ctx, q.streams[partition], cfg)
}

// SeekGroup makes the group's consumers anew. A receiver of another process
// that wants to receive meanwhile may be told that the group is not there.
func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	const op = "seek group"
	q, err := c.lookUp(ctx, op, queue)
	if err != nil {
		return err
	}
	if err := checkName(op, "group", group); err != nil {
		return err
	}
	offsets := make([]int64, len(q.streams))
	for i := range offsets {
		if offsets[i], err = c.startOf(ctx, q, i, p); err != nil {
			return err
		}
	}
	c.moving.Lock()
	defer c.moving.Unlock()
	for i, stream := range q.streams {
		err := c.js.DeleteConsumer(ctx, stream, token(group))
		if err == nil || errors.Is(err, jetstream.ErrConsumerNotFound) {
			_, err = c.makeGroup(ctx, q, i, group, offsets[i])
		}
		if err != nil {
			return wrap(err, op, queue)
		}
	}
	c.expire(q.Name, group)
	return nil
}

// expire makes the receipts of a group stale that this connection gave out.
func (c *conn) expire(long, group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.receivers {
		if r.q.Name == long && r.group == group {
			r.forget()
		}
	}
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	const op = "delete group"
	q, err := c.lookUp(ctx, op, queue)
	if err != nil {
		return err
	}
	for i, stream := range q.streams {
		if err := c.js.DeleteConsumer(ctx, stream, token(group)); err != nil && (i == 0 || !errors.Is(err, jetstream.ErrConsumerNotFound)) {
			return wrap(err, op, group)
		}
	}
	c.expire(q.Name, group)
	return nil
}

// Groups tells what the server knows. It does not know how many receivers are
// open, nor how often messages were delivered again: these stay 0.
func (c *conn) Groups(ctx context.Context, queue string) ([]om.GroupInfo, error) {
	const op = "list groups"
	q, err := c.lookUp(ctx, op, queue)
	if err != nil {
		return nil, err
	}
	groups := make(map[string]*om.GroupInfo)
	for i, stream := range q.streams {
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			return nil, wrap(err, op, queue)
		}
		found := s.ListConsumers(ctx)
		for info := range found.Info() {
			name, ours := info.Config.Metadata[metaGroup]
			if !ours {
				continue
			}
			g := groups[name]
			if g == nil {
				g = &om.GroupInfo{Queue: q.Name, Group: name}
				groups[name] = g
			}
			inFlight := int64(info.NumAckPending)
			p := om.GroupPartition{Partition: int32(i), Cursor: int64(info.AckFloor.Stream), InFlight: inFlight, Lag: int64(info.NumPending) + inFlight}
			g.Partitions = append(g.Partitions, p)
			g.Lag, g.InFlight = g.Lag+p.Lag, g.InFlight+p.InFlight
		}
		if err := found.Err(); err != nil {
			return nil, wrap(err, op, queue)
		}
	}
	list := make([]om.GroupInfo, 0, len(groups))
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b om.GroupInfo) int { return strings.Compare(a.Group, b.Group) })
	return list, nil
}

// Partitions implements spi.Describer.
func (c *conn) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	const op = "list partitions"
	q, err := c.lookUp(ctx, op, queue)
	if err != nil {
		return nil, err
	}
	list := make([]om.PartitionInfo, len(q.streams))
	for i := range q.streams {
		begin, end, err := c.ends(ctx, q, int32(i))
		if err != nil {
			return nil, wrap(err, op, queue)
		}
		list[i] = om.PartitionInfo{Queue: q.Name, Partition: int32(i), Begin: begin, End: end}
	}
	return list, nil
}
