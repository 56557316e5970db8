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

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
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
	streams, subjects []string // of the partitions
	host              string   // that leads the first stream
	clustered         bool     // the streams may move between servers
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

// split returns the namespace and the name of a queue.
func split(name string) []string {
	namespace, short := om.SplitQueueName(name, om.DefaultNamespace)
	return []string{namespace, short}
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
	names := split(name)
	ctx, end := c.calls.bound(ctx)
	s, err := c.js.Stream(ctx, c.streamName(names...)+"~0")
	if err := end(err); err != nil {
		c.queues.Delete(om.JoinQueueName(names[0], names[1]))
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

func (c *conn) CreateNamespace(ctx context.Context, name string) error {
	const op = "create namespace"
	err := spi.CheckName(op, "namespace", name)
	if err == nil && name != om.DefaultNamespace {
		s := c.streamName(name)
		_, err = c.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: s, Subjects: []string{subject(s)}, Replicas: c.queue.Replicas, Metadata: map[string]string{metaNamespace: name, metaID: rand.Text()},
		})
	}
	if name == om.DefaultNamespace || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return om.NewError(om.CodeNamespaceExists, op, name, "")
	}
	return err
}

// space checks that a namespace is there.
func (c *conn) space(ctx context.Context, op, name string) error {
	if name == om.DefaultNamespace {
		return nil
	}
	_, err := c.js.Stream(ctx, c.streamName(name))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return om.NewError(om.CodeNamespaceNotFound, op, name, "")
	}
	return err
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
	return c.js.DeleteStream(ctx, c.streamName(name))
}

func (c *conn) Namespaces(ctx context.Context) ([]string, error) {
	names := []string{om.DefaultNamespace}
	found := c.js.ListStreams(ctx, jetstream.WithStreamListSubject(subject(c.streamName())+".*"))
	for s := range found.Info() {
		names = append(names, s.Config.Metadata[metaNamespace])
	}
	slices.Sort(names)
	return names, found.Err()
}

func (c *conn) CreateQueue(ctx context.Context, q om.QueueConfig) error {
	const op = "create queue"
	names := split(q.Name)
	if err := cmp.Or(spi.CheckName(op, "namespace", names[0]), spi.CheckName(op, "queue", names[1])); err != nil {
		return err
	}
	q.Partitions = max(q.Partitions, 1)
	if q.Partitions > maxPartitions {
		return om.NewError(om.CodeBadParameter, op, q.Name, "%d partitions; %d are the most", q.Partitions, maxPartitions)
	}
	if err := c.space(ctx, op, names[0]); err != nil {
		return err
	}
	// The first stream decides who makes the queue. Others that are there
	// already are what a queue left that was not deleted to its end.
	for i := range q.Partitions {
		s := c.options.queue
		s.Name, s.Description, s.AllowDirect = c.streamName(names...)+"~"+strconv.Itoa(i), q.Description, true
		s.Subjects = []string{subject(s.Name)}
		s.Metadata = map[string]string{metaNamespace: names[0], metaQueue: names[1], metaPartitions: strconv.Itoa(q.Partitions), metaID: rand.Text()}
		_, err := c.js.CreateStream(ctx, s)
		if i > 0 && errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			if err = c.js.DeleteStream(ctx, s.Name); err == nil {
				_, err = c.js.CreateStream(ctx, s)
			}
		}
		if err != nil {
			for k := range i {
				_ = c.js.DeleteStream(context.WithoutCancel(ctx), c.streamName(names...)+"~"+strconv.Itoa(k))
			}
			return err
		}
	}
	return nil
}

func (c *conn) DeleteQueue(ctx context.Context, name string) error {
	q, err := c.lookUp(ctx, name)
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

func (c *conn) Queue(ctx context.Context, name string) (om.QueueConfig, error) {
	q, err := c.lookUp(ctx, name)
	if err != nil {
		return om.QueueConfig{}, err
	}
	return q.QueueConfig, nil
}

func (c *conn) Queues(ctx context.Context, namespace string) ([]om.QueueConfig, error) {
	if err := c.space(ctx, "list queues", namespace); err != nil {
		return nil, err
	}
	var queues []om.QueueConfig
	found := c.js.ListStreams(ctx, jetstream.WithStreamListSubject(subject(c.streamName(namespace))+".*.0"))
	for s := range found.Info() {
		queues = append(queues, c.newQueue(s).QueueConfig)
	}
	slices.SortFunc(queues, func(a, b om.QueueConfig) int { return cmp.Compare(a.Name, b.Name) })
	return queues, found.Err()
}
