package nats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The metadata of streams and consumers.
const (
	metaNamespace  = "oms-namespace"
	metaQueue      = "oms-queue"
	metaPartitions = "oms-partitions"
	metaGroup      = "oms-group"
	metaID         = "oms-id" // random: creating what is there already fails
)

const maxPartitions = 1024

// queue is what the driver knows of a queue. Its partitions are streams, the
// first of which holds its configuration.
type queue struct {
	om.QueueConfig
	streams  []string
	subjects []string
	host     string // that leads the first stream
	// clustered says that the streams may move between servers.
	clustered bool
	turns     atomic.Uint32
}

// turn returns the partition of the messages of a call without one of their own.
func (q *queue) turn(ms []*om.Message, from int) int32 {
	if len(q.streams) == 1 {
		return 0
	}
	for _, m := range ms[from:] {
		if m.Ext.MessageKey == "" && m.Ext.Partition.IsZero() {
			return int32((q.turns.Add(1) - 1) % uint32(len(q.streams)))
		}
	}
	return 0
}

// known returns a queue as it was when it was last looked up.
func (c *conn) known(ctx context.Context, op, name string) (*queue, error) {
	long := om.JoinQueueName(om.SplitQueueName(name, om.DefaultNamespace))
	c.mu.Lock()
	q := c.queues[long]
	c.mu.Unlock()
	if q != nil {
		return q, nil
	}
	return c.lookUp(ctx, op, name)
}

// lookUp asks the server for a queue.
func (c *conn) lookUp(ctx context.Context, op, name string) (*queue, error) {
	if err := c.begin(ctx, op, name); err != nil {
		return nil, err
	}
	namespace, short := om.SplitQueueName(name, om.DefaultNamespace)
	long := om.JoinQueueName(namespace, short)
	s, err := c.js.Stream(ctx, c.stream(namespace, short, 0))
	if err != nil {
		c.forget(long)
		return nil, wrap(err, op, name)
	}
	q := c.newQueue(s.CachedInfo())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queues[long] = q
	return q, nil
}

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
		stream := c.stream(meta[metaNamespace], meta[metaQueue], i)
		q.streams, q.subjects = append(q.streams, stream), append(q.subjects, subject(stream))
	}
	return q
}

func (c *conn) forget(long string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.queues, long)
}

// missing finds out why a partition does not answer: nil when it is there.
func (c *conn) missing(ctx context.Context, op string, q *queue, partition int) error {
	_, err := c.js.Stream(ctx, q.streams[partition])
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		c.forget(q.Name)
	}
	return wrap(err, op, q.Name)
}

// newStream is the configuration of all streams.
func (c *conn) newStream(name string, meta map[string]string) jetstream.StreamConfig {
	meta[metaID] = rand.Text()
	s := jetstream.StreamConfig{
		Name: name, Subjects: []string{subject(name)}, Metadata: meta, Replicas: c.replicas, AllowDirect: true,
		MaxBytes: c.retainBytes, MaxAge: c.retainAge, Duplicates: c.dedup,
	}
	if c.memory {
		s.Storage = jetstream.MemoryStorage
	}
	return s
}

func (c *conn) CreateNamespace(ctx context.Context, name string) error {
	const op = "create namespace"
	if err := cmp.Or(c.begin(ctx, op, name), checkName(op, "namespace", name)); err != nil {
		return err
	}
	err := error(jetstream.ErrStreamNameAlreadyInUse)
	if name != om.DefaultNamespace {
		s := c.newStream(c.spaceStream(name), map[string]string{metaNamespace: name})
		s.Storage = jetstream.FileStorage
		_, err = c.js.CreateStream(ctx, s)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return om.NewError(om.CodeNamespaceExists, op, name, "")
	}
	return wrap(err, op, name)
}

// space checks that a namespace is there.
func (c *conn) space(ctx context.Context, op, name string) error {
	if err := c.begin(ctx, op, name); err != nil || name == om.DefaultNamespace {
		return err
	}
	_, err := c.js.Stream(ctx, c.spaceStream(name))
	return noNamespace(err, op, name)
}

func noNamespace(err error, op, name string) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return om.NewError(om.CodeNamespaceNotFound, op, name, "")
	}
	return wrap(err, op, name)
}

func (c *conn) DeleteNamespace(ctx context.Context, name string) error {
	const op = "delete namespace"
	queues, err := c.Queues(ctx, name)
	switch {
	case err != nil:
		return err
	case name == om.DefaultNamespace:
		return om.NewError(om.CodeBadParameter, op, name, "the default namespace stays")
	case len(queues) > 0:
		return om.NewError(om.CodeBadParameter, op, name, "it has %d queues; delete them first", len(queues))
	}
	return noNamespace(c.js.DeleteStream(ctx, c.spaceStream(name)), op, name)
}

func (c *conn) Namespaces(ctx context.Context) ([]string, error) {
	if err := c.begin(ctx, "list namespaces", ""); err != nil {
		return nil, err
	}
	names := []string{om.DefaultNamespace}
	found := c.js.ListStreams(ctx, jetstream.WithStreamListSubject("oms."+c.region+".*"))
	for s := range found.Info() {
		names = append(names, s.Config.Metadata[metaNamespace])
	}
	slices.Sort(names)
	return names, wrap(found.Err(), "list namespaces", "")
}

func (c *conn) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	const op = "create queue"
	namespace, name := om.SplitQueueName(q.Name, om.DefaultNamespace)
	if err := cmp.Or(checkName(op, "namespace", namespace), checkName(op, "queue", name)); err != nil {
		return err
	}
	q.Partitions = max(q.Partitions, 1)
	if q.Partitions > maxPartitions {
		return om.NewError(om.CodeBadParameter, op, q.Name, "%d partitions; %d are the most", q.Partitions, maxPartitions)
	}
	if err := c.space(ctx, op, namespace); err != nil {
		return err
	}
	// The first stream decides who makes the queue. Others that are there
	// already are what a queue left that was not deleted to its end.
	for i := range q.Partitions {
		s := c.newStream(c.stream(namespace, name, i), map[string]string{metaNamespace: namespace, metaQueue: name, metaPartitions: strconv.Itoa(q.Partitions)})
		s.Description = q.Description
		_, err := c.js.CreateStream(ctx, s)
		if i > 0 && errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			if err = c.js.DeleteStream(ctx, s.Name); err == nil {
				_, err = c.js.CreateStream(ctx, s)
			}
		}
		if err != nil {
			for k := range i {
				_ = c.js.DeleteStream(context.WithoutCancel(ctx), c.stream(namespace, name, k))
			}
			return wrap(err, op, q.Name)
		}
	}
	return nil
}

func (c *conn) DeleteQueue(ctx context.Context, name string) error {
	const op = "delete queue"
	q, err := c.lookUp(ctx, op, name)
	if err != nil {
		return err
	}
	c.forget(q.Name)
	for i, s := range q.streams {
		if err := c.js.DeleteStream(ctx, s); err != nil && (i == 0 || !errors.Is(err, jetstream.ErrStreamNotFound)) {
			return wrap(err, op, name)
		}
	}
	return nil
}

func (c *conn) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	q, err := c.lookUp(ctx, "describe queue", name)
	if err != nil {
		return om.QueueConfig{}, err
	}
	return q.QueueConfig, nil
}

func (c *conn) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	const op = "list queues"
	if err := c.space(ctx, op, namespace); err != nil {
		return nil, err
	}
	found := c.js.ListStreams(ctx, jetstream.WithStreamListSubject(subject(c.spaceStream(namespace))+".*.0"))
	var queues []om.QueueConfig
	for s := range found.Info() {
		queues = append(queues, c.newQueue(s).QueueConfig)
	}
	slices.SortFunc(queues, func(a, b om.QueueConfig) int { return cmp.Compare(a.Name, b.Name) })
	return queues, wrap(found.Err(), op, namespace)
}
