package nats

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// The sequence numbers of a stream begin with 1, offsets with 0.

// partition returns a queue that has a partition.
func (c *conn) partition(ctx context.Context, op, queue string, partition int32) (*queue, error) {
	if err := c.begin(ctx, op, queue); err != nil {
		return nil, err
	}
	q, err := c.known(ctx, op, queue)
	if err == nil && (partition < 0 || int(partition) >= len(q.streams)) {
		err = om.NewError(om.CodeBadParameter, op, queue, "partition %d is not in 0 to %d", partition, len(q.streams)-1)
	}
	return q, err
}

// ends returns the offsets between which a partition's messages lie.
func (c *conn) ends(ctx context.Context, q *queue, partition int32) (begin, end int64, err error) {
	s, err := c.js.Stream(ctx, q.streams[partition])
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
	offset, _ := p.Offset()
	if t, ok := p.Time(); ok && err == nil {
		t = t.Truncate(time.Millisecond)
		var got []*nats.Msg
		got, err = c.read(ctx, q, partition, 1, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &t, HeadersOnly: true})
		if offset = end; len(got) > 0 {
			var at place
			at, _, err = q.place(got[0], queue, partition)
			offset = at.offset()
		}
	}
	if p.IsEnd() {
		offset = end
	}
	return min(max(offset, begin), end), wrap(err, "seek", queue)
}

func (c *conn) ReadAt(ctx context.Context, queue string, partition int32, offset int64, limit int) ([]spi.Received, error) {
	q, err := c.partition(ctx, "read", queue, partition)
	if err != nil {
		return nil, err
	}
	got, err := c.read(ctx, q, partition, limit, from(offset))
	if err != nil {
		return nil, wrap(err, "read", queue)
	}
	out := make([]spi.Received, len(got))
	for i, n := range got {
		at, _, err := q.place(n, queue, partition)
		if err == nil {
			out[i], err = at.open(n)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func from(offset int64) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(max(offset, 0)) + 1}
}

func (c *conn) Await(ctx context.Context, queue string, partition int32, offset int64) error {
	q, err := c.partition(ctx, "read", queue, partition)
	for err == nil {
		cfg := from(offset)
		cfg.HeadersOnly = true
		var got []*nats.Msg
		if got, err = c.read(ctx, q, partition, -1, cfg); len(got) > 0 {
			return nil
		}
	}
	return wrap(err, "read", queue)
}

// read reads by a consumer that ends with it: up to limit messages that are
// there, or for a limit of -1 the first that comes within waitTime.
func (c *conn) read(ctx context.Context, q *queue, partition int32, limit int, cfg jetstream.ConsumerConfig) ([]*nats.Msg, error) {
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = jetstream.AckNonePolicy, true, 1, 2*waitTime
	consumer, err := c.js.CreateConsumer(ctx, q.streams[partition], cfg)
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			c.forget(q.Name)
		}
		return nil, err
	}
	var mu sync.Mutex
	var got []*nats.Msg
	p := puller{conn: c, q: q, consumer: consumer.CachedInfo().Name, arrive: func(_ int32, n *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, n)
	}}
	defer func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		defer cancel()
		_ = c.js.DeleteConsumer(limit, q.streams[partition], p.consumer)
	}()
	err = p.ask(ctx, []int32{partition}, max(limit, 1), limit < 0)
	mu.Lock()
	defer mu.Unlock()
	return got, err
}
