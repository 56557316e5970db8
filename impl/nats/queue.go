package nats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
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

// queue is what the driver knows of a queue. It is a stream, and its partitions
// are subjects, so that they share one sequence.
type queue struct {
	om.QueueConfig
	jetstream.Stream
	stream    string   // its name
	subject   string   // all that it listens to
	subjects  []string // of the partitions
	host      string   // that leads it
	clustered bool     // it may move between servers
	batches   bool     // many messages go there in atomic batches
}

func (q *queue) partitionOf(key string) int32 { return chunk.Partition(key, q.Partitions) }

// place returns the name of the stream of a queue or of a namespace, which stays
// empty, and the subject that it listens to.
func (c *conn) place(e catalog.Entry) (stream, subject string) {
	stream = "oms~" + c.region + "~" + spi.Token(e.Namespace)
	if e.Queue == "" {
		return stream, strings.ReplaceAll(stream, "~", ".")
	}
	stream += "~" + spi.Token(e.Queue)
	return stream, strings.ReplaceAll(stream, "~", ".") + ".*"
}

// entry reads what a stream says of its queue or namespace.
func entry(s *jetstream.StreamInfo) catalog.Entry {
	meta := s.Config.Metadata
	n, _ := strconv.Atoi(meta[metaPartitions])
	e := catalog.Entry{Namespace: meta[metaNamespace], Queue: meta[metaQueue]}
	e.QueueConfig = om.QueueConfig{Name: om.JoinQueueName(e.Namespace, e.Queue), Partitions: max(n, 1), Description: s.Config.Description}
	return e
}

// known returns a queue as it was when it was last looked up.
func (c *conn) known(ctx context.Context, name string) (*queue, error) {
	if q, ok := c.queues.Load(om.JoinQueueName(om.SplitQueueName(name, om.DefaultNamespace))); ok {
		return q.(*queue), nil
	}
	return c.lookUp(ctx, name)
}

// lookUp asks the server for a queue. Its CachedInfo tells how it is now.
func (c *conn) lookUp(ctx context.Context, name string) (*queue, error) {
	e, err := catalog.Queue("look up", name)
	if err != nil {
		return nil, err
	}
	s, err := c.find(ctx, e)
	if err != nil {
		c.queues.Delete(e.Name)
		return nil, err
	}
	info := s.CachedInfo()
	q := &queue{QueueConfig: entry(info).QueueConfig, Stream: s, host: c.nc.ConnectedServerName()}
	if info.Cluster != nil {
		q.host, q.clustered = cmp.Or(info.Cluster.Leader, q.host), info.Cluster.Name != ""
	}
	q.batches = info.Config.AllowAtomicPublish && (info.Config.Replicas > 1 || c.synced && info.Config.Storage == jetstream.FileStorage)
	q.stream, q.subject = c.place(e)
	for i := range q.Partitions {
		q.subjects = append(q.subjects, strings.TrimSuffix(q.subject, "*")+strconv.Itoa(i))
	}
	c.queues.Store(q.Name, q)
	return q, nil
}

// find asks the server for the stream of a queue or of a namespace.
func (c *conn) find(ctx context.Context, e catalog.Entry) (jetstream.Stream, error) {
	if err := c.calls.ready(); err != nil {
		return nil, err
	}
	stream, _ := c.place(e)
	ctx, end := c.calls.bound(ctx)
	s, err := c.js.Stream(ctx, stream)
	return s, end(err)
}

// Make implements catalog.Store.
func (c *conn) Make(ctx context.Context, e catalog.Entry) error {
	if e.DeadLetterExpired {
		return om.NewError(om.CodeUnsupported, "create queue", e.Name, "the driver has no dead-letter queues")
	}
	s := c.options.queue
	s.Description, s.Metadata = e.Description, map[string]string{metaNamespace: e.Namespace, metaID: rand.Text()}
	s.Subjects = make([]string, 1)
	s.Name, s.Subjects[0] = c.place(e)
	if e.Queue == "" {
		s.Storage = jetstream.FileStorage
	} else {
		s.Metadata[metaQueue], s.Metadata[metaPartitions] = e.Queue, strconv.Itoa(e.Partitions)
	}
	_, err := c.js.CreateStream(ctx, s)
	for try := 0; try < 20 && errors.Is(err, &jetstream.APIError{ErrorCode: 10049}); try++ { // a stream of that name is being removed
		_, err = c.js.CreateStream(ctx, s)
	}
	return err
}

// Remove implements catalog.Store.
func (c *conn) Remove(ctx context.Context, e catalog.Entry) error {
	stream, _ := c.place(e)
	c.queues.Delete(e.Name)
	return c.js.DeleteStream(ctx, stream)
}

// Find implements catalog.Store.
func (c *conn) Find(ctx context.Context, e catalog.Entry) (catalog.Entry, error) {
	s, err := c.find(ctx, e)
	if err != nil {
		return e, err
	}
	return entry(s.CachedInfo()), nil
}

// List implements catalog.Store.
func (c *conn) List(ctx context.Context, namespace string) (es []catalog.Entry, err error) {
	filter := "oms." + c.region + ".*"
	if namespace != "" {
		_, filter = c.place(catalog.Entry{Namespace: namespace})
		filter += ".*.*"
	}
	found := c.js.ListStreams(ctx, jetstream.WithStreamListSubject(filter))
	for s := range found.Info() {
		es = append(es, entry(s))
	}
	return es, found.Err()
}

// A group is a durable consumer of a queue's stream.

// join finds or makes a group.
func (c *conn) join(ctx context.Context, q *queue, group string, start om.Position) (jetstream.Consumer, error) {
	found, err := q.Consumer(ctx, spi.Token(group))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		var offset int64
		if offset, err = c.resolve(ctx, q, q.subject, start); err != nil {
			return nil, err
		}
		found, err = c.makeGroup(ctx, q, group, offset)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another has made it meanwhile
			found, err = q.Consumer(ctx, spi.Token(group))
		}
	}
	return found, err
}

func (c *conn) makeGroup(ctx context.Context, q *queue, group string, offset int64) (jetstream.Consumer, error) {
	cfg := from(offset) // by number: servers of a cluster may find different ones for a time
	cfg.Durable, cfg.Metadata = spi.Token(group), map[string]string{metaGroup: group}
	cfg.AckPolicy, cfg.AckWait, cfg.MaxDeliver, cfg.MaxAckPending = jetstream.AckExplicitPolicy, c.ackWait, -1, -1
	return q.CreateConsumer(ctx, cfg)
}

// SeekGroup makes the group's consumer anew. A receiver of another process that
// wants to receive meanwhile may be told that the group is not there.
func (c *conn) SeekGroup(ctx context.Context, queue, group string, p om.Position) error {
	q, err := c.lookUp(ctx, queue)
	if err := cmp.Or(err, spi.CheckName("seek group", "group", group)); err != nil {
		return err
	}
	offset, err := c.resolve(ctx, q, q.subject, p)
	if err != nil {
		return err
	}
	c.moving.Lock()
	defer c.moving.Unlock()
	if err = c.deleteGroup(ctx, q, group); err == nil || errors.Is(err, jetstream.ErrConsumerNotFound) {
		_, err = c.makeGroup(ctx, q, group, offset)
	}
	return err
}

func (c *conn) DeleteGroup(ctx context.Context, queue, group string) error {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return err
	}
	return c.deleteGroup(ctx, q, group)
}

// deleteGroup deletes a group and makes its receipts stale that this connection
// gave out.
func (c *conn) deleteGroup(ctx context.Context, q *queue, group string) error {
	if err := q.DeleteConsumer(ctx, spi.Token(group)); err != nil {
		return err
	}
	for x := range c.Owned() {
		if r, ok := x.(*receiver); ok && r.q.Name == q.Name && r.cfg.Group == group {
			r.Forget()
		}
	}
	return nil
}

// Groups tells what the server knows. It does not know how many receivers are
// open, nor how often messages were delivered again: these stay 0. It counts for
// all partitions together.
func (c *conn) Groups(ctx context.Context, queue string) (list []om.GroupInfo, err error) {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return nil, err
	}
	found := q.ListConsumers(ctx)
	for info := range found.Info() {
		name, ours := info.Config.Metadata[metaGroup]
		if !ours {
			continue
		}
		g := om.GroupInfo{Queue: q.Name, Group: name, InFlight: int64(info.NumAckPending)}
		g.Lag = int64(info.NumPending) + g.InFlight
		for i := range q.Partitions {
			g.Partitions = append(g.Partitions, om.GroupPartition{Partition: int32(i), Cursor: int64(info.AckFloor.Stream), Lag: -1, InFlight: -1})
		}
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b om.GroupInfo) int { return cmp.Compare(a.Group, b.Group) })
	return list, found.Err()
}

// Partitions implements spi.Describer.
func (c *conn) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	q, err := c.lookUp(ctx, queue)
	if err != nil {
		return nil, err
	}
	info, err := q.Info(ctx, jetstream.WithSubjectFilter(q.subject))
	if err != nil {
		return nil, err
	}
	begin, end := ends(info)
	list := make([]om.PartitionInfo, q.Partitions)
	for i := range list {
		list[i] = om.PartitionInfo{Queue: q.Name, Partition: int32(i), Begin: begin, End: end, Messages: int64(info.State.Subjects[q.subjects[i]])}
	}
	return list, nil
}
