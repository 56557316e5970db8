package oms

import (
	"context"
	"errors"
	"sync/atomic"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// streamConsumer implements openmessaging.StreamConsumer.
type streamConsumer struct {
	lifecycle
	ap       *accessPoint
	streamer spi.Streamer
	run      atomic.Pointer[streamRun]
}

type streamRun struct {
	life context.Context
	end  context.CancelFunc
}

func newStreamConsumer(ap *accessPoint, s spi.Streamer) *streamConsumer {
	c := &streamConsumer{ap: ap, streamer: s}
	c.lifecycle.open = func(context.Context) error {
		r := &streamRun{}
		r.life, r.end = context.WithCancel(context.Background())
		c.run.Store(r)
		return nil
	}
	c.lifecycle.quit = func(context.Context) error {
		c.run.Load().end()
		return nil
	}
	c.lifecycle.released = func() { ap.forget(c) }
	return c
}

// within returns ctx, ended also by a stop of the consumer.
func (c *streamConsumer) within(ctx context.Context, op, queue string) (context.Context, func(), error) {
	if err := c.ready(op, queue); err != nil {
		return nil, nil, err
	}
	if err := ended(ctx, op, queue); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.run.Load().life, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// failure is the error of a call of the driver under a context from within.
func (c *streamConsumer) failure(ctx context.Context, err error, op, queue string) error {
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		if stopped := c.ready(op, queue); stopped != nil {
			return stopped
		}
	}
	return c.ap.errs.wrap(err, op, queue)
}

func (c *streamConsumer) Open(ctx context.Context, queue string, partition int32, p om.Position) (om.Cursor, error) {
	within, release, err := c.within(ctx, "open stream", queue)
	if err != nil {
		return nil, err
	}
	defer release()
	if partition < 0 {
		return nil, badParameter("open stream", queue, "partition %d is negative", partition)
	}
	offset, err := c.streamer.Resolve(within, queue, partition, p)
	if err != nil {
		return nil, c.failure(ctx, err, "open stream", queue)
	}
	return &cursor{c: c, queue: queue, partition: partition, offset: offset, ahead: firstAhead}, nil
}

// readWaiting reads from an offset on and blocks for the first message.
func readWaiting(ctx context.Context, s spi.Streamer, queue string, partition int32, offset int64, max int) ([]spi.Received, error) {
	for {
		got, err := s.ReadAt(ctx, queue, partition, offset, max)
		if err != nil || len(got) > 0 {
			return got, err
		}
		if err := s.Await(ctx, queue, partition, offset); err != nil {
			return nil, err
		}
	}
}

// unsettled makes deliveries without receipts.
func unsettled(got []spi.Received) []om.Delivery {
	ds := make([]om.Delivery, len(got))
	for i := range got {
		ds[i] = om.NewDelivery(got[i].Message, got[i].Partition, got[i].Offset, nil)
	}
	return ds
}

// readFrom returns up to max messages from a position on; it blocks for the first.
func readFrom(ctx context.Context, s spi.Streamer, from om.ReceiveConfig, max int) ([]*om.Delivery, error) {
	if from.Partition < 0 {
		return nil, badParameter("receive", from.Queue, "partition %d is negative", from.Partition)
	}
	offset, err := s.Resolve(ctx, from.Queue, from.Partition, from.Position)
	if err != nil {
		return nil, err
	}
	got, err := readWaiting(ctx, s, from.Queue, from.Partition, offset, max)
	if err != nil {
		return nil, err
	}
	ds := unsettled(got)
	out := make([]*om.Delivery, len(ds))
	for i := range ds {
		out[i] = &ds[i]
	}
	return out, nil
}
