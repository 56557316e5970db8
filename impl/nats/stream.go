package nats

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/openmessaging/openmessaging-go/impl/envelope"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// The sequence numbers of a stream begin with 1, offsets with 0.

// ends returns the offsets between which a partition's messages lie.
func (c *conn) ends(ctx context.Context, q *queue, partition int32) (begin, end int64, err error) {
	s, err := c.stream(ctx, q, partition)
	if err != nil {
		return 0, 0, err
	}
	state := s.CachedInfo().State
	return int64(max(state.FirstSeq, 1)) - 1, int64(state.LastSeq), nil
}

func (c *conn) Resolve(ctx context.Context, queue string, partition int32, p om.Position) (int64, error) {
	q, err := c.partition(ctx, "seek", queue, partition)
	if err != nil {
		return 0, err
	}
	begin, end, err := c.ends(ctx, q, partition)
	if err != nil {
		return 0, err
	}
	offset, _ := p.Offset()
	if t, ok := p.Time(); ok {
		t, offset = t.Truncate(time.Millisecond), end
		got, err := c.read(ctx, q, partition, 1, 0, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &t, HeadersOnly: true})
		if err != nil {
			return 0, err
		}
		for _, m := range got {
			offset = int64(m.meta.Sequence.Stream) - 1
		}
	}
	if p.IsEnd() {
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
	got, err := c.read(ctx, q, partition, limit, 0, from(offset))
	if err != nil {
		return nil, err
	}
	out := make([]spi.Received, len(got))
	for i, m := range got {
		if out[i], err = q.unpack(queue, partition, m.meta.Sequence.Stream, m.meta.Timestamp, m.Headers(), m.Data()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *conn) Await(ctx context.Context, queue string, partition int32, offset int64) error {
	q, err := c.partition(ctx, "read", queue, partition)
	for err == nil {
		cfg := from(offset)
		cfg.HeadersOnly = true
		var got []found
		if got, err = c.read(ctx, q, partition, 1, waitTime/2, cfg); len(got) > 0 {
			return nil
		}
	}
	return err
}

// found is a message that was read.
type found struct {
	jetstream.Msg
	meta *jetstream.MsgMetadata
}

// read reads up to limit messages by a consumer that ends with it: those that
// are there, or else those that come within wait.
func (c *conn) read(ctx context.Context, q *queue, partition int32, limit int, wait time.Duration, cfg jetstream.ConsumerConfig) (got []found, err error) {
	ctx, end := c.calls.bound(ctx)
	defer func() { err = end(err) }()
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = jetstream.AckNonePolicy, true, 1, 2*waitTime
	consumer, err := c.js.CreateConsumer(ctx, q.streams[partition], cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = c.js.DeleteConsumer(context.WithoutCancel(ctx), q.streams[partition], consumer.CachedInfo().Name)
	}()
	within, pending := ctx, consumer.CachedInfo().NumPending
	if pending == 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	batch, err := consumer.Fetch(int(min(uint64(limit), max(pending, 1))), jetstream.FetchContext(within))
	if err == nil {
		for m := range batch.Messages() {
			meta, _ := m.Metadata()
			got = append(got, found{m, meta})
		}
		err = batch.Error()
	}
	if len(got) > 0 || pending == 0 && within.Err() != nil && ctx.Err() == nil {
		err = nil
	}
	return got, err
}

// unpack returns a message of a queue that is named as the caller does.
func (q *queue) unpack(name string, partition int32, seq uint64, stored time.Time, h nats.Header, body []byte) (spi.Received, error) {
	stored = stored.UTC().Truncate(time.Millisecond)
	m := new(om.Message)
	m.Destination, m.MessageID = name, cmp.Or(h.Get(nats.MsgIdHdr), q.streams[partition]+":"+strconv.FormatUint(seq, 10))
	m.Ext.Partition, m.Ext.StoredAt, m.Ext.StoreHost = om.Some(partition), stored, q.host
	err := envelope.Unpack(m, h, body, stored, q.host, "Nats-")
	if err != nil {
		err = om.NewError(om.CodeStorageCorrupt, "receive", name, "partition %d, offset %d: %w", partition, seq-1, err)
	}
	return spi.Received{Message: m, Partition: partition, Offset: int64(seq) - 1}, err
}
