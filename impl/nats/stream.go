package nats

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/openmessaging/openmessaging-go/impl/envelope"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// The sequence numbers of a stream begin with 1, offsets with 0.

// ends returns the offsets between which a queue's messages lie.
func ends(s *jetstream.StreamInfo) (begin, end int64) {
	return int64(max(s.State.FirstSeq, 1)) - 1, int64(s.State.LastSeq)
}

func (c *conn) Resolve(ctx context.Context, queue string, partition int32, p om.Position) (int64, error) {
	q, err := c.partition(ctx, "seek", queue, partition)
	if err != nil {
		return 0, err
	}
	return c.resolve(ctx, q, q.subjects[partition], p)
}

// resolve returns the offset that a position stands for among the messages with
// a subject.
func (c *conn) resolve(ctx context.Context, q *queue, subject string, p om.Position) (int64, error) {
	q, err := c.lookUp(ctx, q.Name)
	if err != nil {
		return 0, err
	}
	begin, end := ends(q.CachedInfo())
	offset, fixed := p.Offset()
	if t, ok := p.Time(); ok {
		t = t.Truncate(time.Millisecond)
		got, err := c.read(ctx, q, subject, 1, 0, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &t})
		if len(got) > 0 {
			return got[0].Offset, nil
		} else if err != nil {
			return 0, err
		}
	}
	if !fixed && !p.IsBegin() {
		offset = end
	}
	return min(max(offset, begin), end), nil
}

// partition returns a queue that has a partition.
func (c *conn) partition(ctx context.Context, op, queue string, partition int32) (*queue, error) {
	q, err := c.known(ctx, queue)
	if err == nil {
		err = spi.CheckPartition(op, queue, partition, q.Partitions)
	}
	return q, err
}

func from(offset int64) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(max(offset, 0)) + 1}
}

func (c *conn) ReadAt(ctx context.Context, queue string, partition int32, offset int64, limit int) ([]spi.Received, error) {
	q, err := c.partition(ctx, "read", queue, partition)
	if err != nil {
		return nil, err
	}
	return c.read(ctx, q, q.subjects[partition], limit, 0, from(offset))
}

func (c *conn) Await(ctx context.Context, queue string, partition int32, offset int64) error {
	q, err := c.partition(ctx, "read", queue, partition)
	for err == nil {
		var got []spi.Received
		if got, err = c.read(ctx, q, q.subjects[partition], 1, waitTime/2, from(offset)); len(got) > 0 {
			return nil
		}
	}
	return err
}

// read reads up to limit messages with a subject by a consumer that ends with
// it: those that are there, or else those that come within wait. One that cannot
// be read is among them, and its error is returned too.
func (c *conn) read(ctx context.Context, q *queue, subject string, limit int, wait time.Duration, cfg jetstream.ConsumerConfig) (got []spi.Received, err error) {
	ctx, end := c.calls.bound(ctx)
	defer func() { err = end(err) }()
	cfg.FilterSubject, cfg.AckPolicy = subject, jetstream.AckNonePolicy
	cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = true, 1, 2*waitTime
	consumer, err := q.CreateConsumer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.DeleteConsumer(context.WithoutCancel(ctx), consumer.CachedInfo().Name) }()
	pending := consumer.CachedInfo().NumPending
	if pending > 0 {
		wait = answerTime
	} else if wait == 0 {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	batch, err := consumer.Fetch(int(min(uint64(limit), max(pending, 1))), jetstream.FetchContext(within))
	if err != nil {
		return nil, err
	}
	var bad error
	for m := range batch.Messages() {
		meta, _ := m.Metadata()
		r, err := q.unpack(q.Name, m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), m.Data())
		got, bad = append(got, r), cmp.Or(bad, err)
	}
	if err = batch.Error(); len(got) > 0 || pending == 0 && within.Err() != nil && ctx.Err() == nil {
		err = bad
	}
	return got, err
}

// unpack returns a message of a queue that is named as the caller does. One that
// another client has sent to a subject of its own is of no partition.
func (q *queue) unpack(name, subject string, seq uint64, stored time.Time, h nats.Header, body []byte) (spi.Received, error) {
	r := spi.Received{Message: new(om.Message), Partition: -1, Offset: int64(seq) - 1}
	m := r.Message
	if n, err := strconv.ParseInt(subject[strings.LastIndexByte(subject, '.')+1:], 10, 32); err == nil {
		r.Partition = int32(n)
		m.Ext.Partition = om.Some(r.Partition)
	}
	stored = stored.UTC().Truncate(time.Millisecond)
	m.Destination, m.MessageID = name, cmp.Or(h.Get(nats.MsgIdHdr), q.stream+":"+strconv.FormatUint(seq, 10))
	m.Ext.StoredAt, m.Ext.StoreHost = stored, q.host
	err := envelope.Unpack(m, h, body, stored, q.host, "Nats-")
	if err != nil {
		err = om.NewError(om.CodeStorageCorrupt, "receive", name, "partition %d, offset %d: %w", r.Partition, r.Offset, err)
	}
	return r, err
}
