package nats

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// A group is a durable consumer on each of a queue's streams.

// join finds or makes the consumer of a group on a partition, and returns after
// which time it delivers again.
func (c *conn) join(ctx context.Context, q *queue, partition int32, group string, start om.Position) (jetstream.Consumer, error) {
	found, err := c.js.Consumer(ctx, q.streams[partition], spi.Token(group))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		found, err = c.makeGroup(ctx, q, partition, group, start)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another has made it meanwhile
			found, err = c.js.Consumer(ctx, q.streams[partition], spi.Token(group))
		}
	}
	return found, err
}

func (c *conn) makeGroup(ctx context.Context, q *queue, partition int32, group string, start om.Position) (jetstream.Consumer, error) {
	var cfg jetstream.ConsumerConfig
	if !start.IsBegin() {
		offset, err := c.Resolve(ctx, q.Name, partition, start)
		if err != nil {
			return nil, err
		}
		cfg = from(offset)
	}
	cfg.Durable, cfg.Metadata = spi.Token(group), map[string]string{metaGroup: group}
	cfg.AckPolicy, cfg.AckWait, cfg.MaxDeliver, cfg.MaxAckPending = jetstream.AckExplicitPolicy, c.ackWait, -1, -1
	return c.js.CreateConsumer(ctx, q.streams[partition], cfg)
}

// SeekGroup makes the group's consumers anew. A receiver of another process
// that wants to receive meanwhile may be told that the group is not there.
func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	if err := spi.CheckName("seek group", "group", group); err != nil {
		return err
	}
	c.moving.Lock()
	defer c.moving.Unlock()
	q, err := c.deleteGroup(ctx, queue, group, false)
	for i := 0; err == nil && i < len(q.streams); i++ {
		_, err = c.makeGroup(ctx, q, int32(i), group, p)
	}
	return err
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	_, err := c.deleteGroup(ctx, queue, group, true)
	return err
}

// deleteGroup deletes a group, which may have to be there, and makes its
// receipts stale that this connection gave out.
func (c *conn) deleteGroup(ctx context.Context, queue, group string, there bool) (*queue, error) {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return nil, err
	}
	for i, stream := range q.streams {
		if err := c.js.DeleteConsumer(ctx, stream, spi.Token(group)); err != nil && (i == 0 && there || !errors.Is(err, jetstream.ErrConsumerNotFound)) {
			return nil, err
		}
	}
	for x := range c.Owned() {
		if r, ok := x.(*receiver); ok && r.q.Name == q.Name && r.cfg.Group == group {
			r.Forget()
		}
	}
	return q, nil
}

// Groups tells what the server knows. It does not know how many receivers are
// open, nor how often messages were delivered again: these stay 0.
func (c *conn) Groups(ctx context.Context, queue string) ([]om.GroupInfo, error) {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return nil, err
	}
	groups := make(map[string]om.GroupInfo)
	for i := range q.streams {
		s, err := c.stream(ctx, q, int32(i))
		if err != nil {
			return nil, err
		}
		found := s.ListConsumers(ctx)
		for info := range found.Info() {
			name, ours := info.Config.Metadata[metaGroup]
			if !ours {
				continue
			}
			g := groups[name]
			p := om.GroupPartition{Partition: int32(i), Cursor: int64(info.AckFloor.Stream), InFlight: int64(info.NumAckPending)}
			p.Lag = int64(info.NumPending) + p.InFlight
			g.Queue, g.Group, g.Partitions = q.Name, name, append(g.Partitions, p)
			g.Lag, g.InFlight = g.Lag+p.Lag, g.InFlight+p.InFlight
			groups[name] = g
		}
		if err := found.Err(); err != nil {
			return nil, err
		}
	}
	list := make([]om.GroupInfo, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, groups[name])
	}
	return list, nil
}

// Partitions implements spi.Describer.
func (c *conn) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return nil, err
	}
	list := make([]om.PartitionInfo, len(q.streams))
	for i := range list {
		list[i] = om.PartitionInfo{Queue: q.Name, Partition: int32(i)}
		if list[i].Begin, list[i].End, err = c.ends(ctx, q, int32(i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}
