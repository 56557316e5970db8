package nats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/catalog"
)

// The metadata of streams and consumers.
const (
	metaNamespace  = "oms-namespace"
	metaQueue      = "oms-queue"
	metaPartitions = "oms-partitions"
	metaGroup      = "oms-group"
	metaID         = "oms-id" // random: creating what is there already fails
)

// queue is what the driver knows of a queue. Its partitions are streams, the
// first of which holds its configuration.
type queue struct {
	om.QueueConfig
	streams, subjects []string // of the partitions
	host              string   // that leads the first stream
	clustered         bool     // the streams may move between servers
	turns             atomic.Uint32
}

// streamName returns the name of a namespace's stream, which stays empty, or
// with the name of a queue what the names of its streams begin with.
func (c *conn) streamName(names ...string) string {
	s := "oms~" + c.region
	for _, n := range names {
		s += "~" + spi.Token(n)
	}
	return s
}

// subject is what a stream listens to.
func subject(stream string) string { return strings.ReplaceAll(stream, "~", ".") }

// newQueue reads the configuration in a queue's first stream.
func (c *conn) newQueue(s *jetstream.StreamInfo) *queue {
	meta := s.Config.Metadata
	n, _ := strconv.Atoi(meta[metaPartitions])
	q := &queue{host: c.nc.ConnectedServerName()}
	if s.Cluster != nil {
		q.host, q.clustered = cmp.Or(s.Cluster.Leader, q.host), s.Cluster.Name != ""
	}
	q.QueueConfig = om.QueueConfig{Name: om.JoinQueueName(meta[metaNamespace], meta[metaQueue]), Partitions: max(n, 1), Description: s.Config.Description}
	for i := range q.Partitions {
		stream := c.streamName(meta[metaNamespace], meta[metaQueue]) + "~" + strconv.Itoa(i)
		q.streams, q.subjects = append(q.streams, stream), append(q.subjects, subject(stream))
	}
	return q
}

// known returns a queue as it was when it was last looked up.
func (c *conn) known(ctx context.Context, name string) (*queue, error) {
	if q, ok := c.queues.Load(om.JoinQueueName(om.SplitQueueName(name, om.DefaultNamespace))); ok {
		return q.(*queue), nil
	}
	return c.lookUp(ctx, name)
}

// lookUp asks the server for a queue.
func (c *conn) lookUp(ctx context.Context, name string) (*queue, error) {
	if err := c.calls.ready(); err != nil {
		return nil, err
	}
	namespace, short := om.SplitQueueName(name, om.DefaultNamespace)
	ctx, end := c.calls.bound(ctx)
	s, err := c.js.Stream(ctx, c.streamName(namespace, short)+"~0")
	if err := end(err); err != nil {
		c.queues.Delete(om.JoinQueueName(namespace, short))
		return nil, err
	}
	q := c.newQueue(s.CachedInfo())
	c.queues.Store(q.Name, q)
	return q, nil
}

// stream asks the server for a partition's stream.
func (c *conn) stream(ctx context.Context, q *queue, partition int32) (jetstream.Stream, error) {
	ctx, end := c.calls.bound(ctx)
	s, err := c.js.Stream(ctx, q.streams[partition])
	err = end(err)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		c.queues.Delete(q.Name)
	}
	return s, err
}

// Make implements catalog.Store. A namespace is a stream that stays empty. The
// first stream of a queue decides who makes it. Others that are there already
// are what a queue left that was not deleted to its end.
func (c *conn) Make(ctx context.Context, e catalog.Entry) error {
	for i := range max(e.Partitions, 1) {
		s := c.options.queue
		s.Description, s.AllowDirect, s.Name = e.Description, true, c.streamName(e.Namespace)
		s.Metadata = map[string]string{metaNamespace: e.Namespace, metaID: rand.Text()}
		if e.Queue == "" {
			s.Storage = jetstream.FileStorage
		} else {
			s.Name = c.streamName(e.Namespace, e.Queue) + "~" + strconv.Itoa(i)
			s.Metadata[metaQueue], s.Metadata[metaPartitions] = e.Queue, strconv.Itoa(e.Partitions)
		}
		s.Subjects = []string{subject(s.Name)}
		_, err := c.js.CreateStream(ctx, s)
		if i > 0 && errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			if err = c.js.DeleteStream(ctx, s.Name); err == nil {
				_, err = c.js.CreateStream(ctx, s)
			}
		}
		if err != nil {
			for ; i > 0; i-- {
				_ = c.js.DeleteStream(context.WithoutCancel(ctx), c.streamName(e.Namespace, e.Queue)+"~"+strconv.Itoa(i-1))
			}
			return err
		}
	}
	return nil
}

// Remove implements catalog.Store.
func (c *conn) Remove(ctx context.Context, e catalog.Entry) error {
	if e.Queue == "" {
		return c.js.DeleteStream(ctx, c.streamName(e.Namespace))
	}
	q, err := c.lookUp(ctx, om.JoinQueueName(e.Namespace, e.Queue))
	if err != nil {
		return err
	}
	c.queues.Delete(q.Name)
	for i, s := range q.streams {
		if err := c.js.DeleteStream(ctx, s); err != nil && (i == 0 || !errors.Is(err, jetstream.ErrStreamNotFound)) {
			return err
		}
	}
	return nil
}

// Find implements catalog.Store.
func (c *conn) Find(ctx context.Context, e catalog.Entry) (catalog.Entry, error) {
	if e.Queue == "" {
		_, err := c.js.Stream(ctx, c.streamName(e.Namespace))
		return e, err
	}
	q, err := c.lookUp(ctx, om.JoinQueueName(e.Namespace, e.Queue))
	if err == nil {
		e.QueueConfig = q.QueueConfig
	}
	return e, err
}

// List implements catalog.Store.
func (c *conn) List(ctx context.Context, namespace string) (es []catalog.Entry, err error) {
	filter := subject(c.streamName()) + ".*"
	if namespace != "" {
		filter = subject(c.streamName(namespace)) + ".*.0"
	}
	found := c.js.ListStreams(ctx, jetstream.WithStreamListSubject(filter))
	for s := range found.Info() {
		meta := s.Config.Metadata
		es = append(es, catalog.Entry{Namespace: meta[metaNamespace], Queue: meta[metaQueue], QueueConfig: c.newQueue(s).QueueConfig})
	}
	return es, found.Err()
}

// A group is a durable consumer on each of a queue's streams.

// join finds or makes the consumer of a group on a partition.
func (c *conn) join(ctx context.Context, q *queue, partition int32, group string, start om.Position) (jetstream.Consumer, error) {
	found, err := c.js.Consumer(ctx, q.streams[partition], spi.Token(group))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		var cfg jetstream.ConsumerConfig
		if cfg, err = c.startAt(ctx, q, partition, start); err != nil {
			return nil, err
		}
		found, err = c.makeGroup(ctx, q, partition, group, cfg)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another has made it meanwhile
			found, err = c.js.Consumer(ctx, q.streams[partition], spi.Token(group))
		}
	}
	return found, err
}

// startAt returns where a consumer begins.
func (c *conn) startAt(ctx context.Context, q *queue, partition int32, start om.Position) (jetstream.ConsumerConfig, error) {
	if start.IsBegin() {
		return jetstream.ConsumerConfig{}, nil
	}
	offset, err := c.Resolve(ctx, q.Name, partition, start)
	return from(offset), err
}

func (c *conn) makeGroup(ctx context.Context, q *queue, partition int32, group string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cfg.Durable, cfg.Metadata = spi.Token(group), map[string]string{metaGroup: group}
	cfg.AckPolicy, cfg.AckWait, cfg.MaxDeliver, cfg.MaxAckPending = jetstream.AckExplicitPolicy, c.ackWait, -1, -1
	return c.js.CreateConsumer(ctx, q.streams[partition], cfg)
}

// SeekGroup makes the group's consumers anew. A receiver of another process
// that wants to receive meanwhile may be told that the group is not there.
func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	q, err := c.lookUp(ctx, queue)
	if err := cmp.Or(err, spi.CheckName("seek group", "group", group)); err != nil {
		return err
	}
	starts := make([]jetstream.ConsumerConfig, q.Partitions)
	for i := range starts {
		if starts[i], err = c.startAt(ctx, q, int32(i), p); err != nil {
			return err
		}
	}
	c.moving.Lock()
	defer c.moving.Unlock()
	err = c.deleteGroup(ctx, q, group, false)
	for i := 0; err == nil && i < len(starts); i++ {
		_, err = c.makeGroup(ctx, q, int32(i), group, starts[i])
	}
	return err
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return err
	}
	return c.deleteGroup(ctx, q, group, true)
}

// deleteGroup deletes a group, which may have to be there, and makes its
// receipts stale that this connection gave out.
func (c *conn) deleteGroup(ctx context.Context, q *queue, group string, there bool) error {
	for i, stream := range q.streams {
		if err := c.js.DeleteConsumer(ctx, stream, spi.Token(group)); err != nil && (i == 0 && there || !errors.Is(err, jetstream.ErrConsumerNotFound)) {
			return err
		}
	}
	for x := range c.Owned() {
		if r, ok := x.(*receiver); ok && r.q.Name == q.Name && r.cfg.Group == group {
			r.Forget()
		}
	}
	return nil
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
