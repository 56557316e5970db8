package oms

import (
	"context"
	"iter"
	"sync/atomic"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// pullConsumer implements openmessaging.PullConsumer.
type pullConsumer struct {
	consumer
	bound bindings[pullBinding]
	run   atomic.Pointer[pullRun]
}

// pullBinding is a bound queue; it lasts over restarts.
type pullBinding struct {
	queue string
	src   *pullSource // of the present run
}

const maxReceive = 65536

func newPullConsumer(ap *accessPoint, cfg om.ConsumerConfig) *pullConsumer {
	c := &pullConsumer{consumer: newConsumer(ap, cfg)}
	c.lifecycle.open = c.openRun
	c.lifecycle.quit = c.quitRun
	c.lifecycle.released = func() { ap.forget(c) }
	return c
}

func (c *pullConsumer) openRun(ctx context.Context) error {
	all := c.bound.all()
	queues := make([]string, len(all))
	for i, b := range all {
		queues[i] = b.queue
	}
	sources, err := c.openSources(ctx, "start", queues)
	if err != nil {
		return err
	}
	r := newPullRun(c)
	for i, b := range all {
		b.src = r.add(sources[i])
	}
	c.ops.Store(new(calls))
	c.run.Store(r)
	return nil
}

func (c *pullConsumer) quitRun(limit context.Context) error {
	ops := c.ops.Load()
	ops.refuse()
	r := c.run.Load()
	sources := r.halt()
	ops.wait(limit)
	return together(sources, func(s *pullSource) error { return s.end(limit) })
}

func (c *pullConsumer) Queues() []string { return c.bound.queues() }

func (c *pullConsumer) Bind(ctx context.Context, queues ...string) error {
	leave, err := c.begin(ctx, "bind", first(queues))
	if err != nil {
		return err
	}
	defer leave()
	if err := c.bound.reserve("bind", queues); err != nil {
		return err
	}
	sources, err := c.openSources(ctx, "bind", queues)
	if err != nil {
		c.bound.release(queues)
		return err
	}
	r := c.run.Load()
	for i, q := range queues {
		c.bound.set(q, &pullBinding{queue: q, src: r.add(sources[i])})
	}
	return nil
}

func (c *pullConsumer) Unbind(ctx context.Context, queues ...string) error {
	if c.closed.Load() {
		return c.ready("unbind", first(queues))
	}
	leave, err := c.begin(ctx, "unbind", first(queues))
	if err != nil {
		if c.State() == om.Stopped {
			c.bound.take(queues)
			return nil
		}
		return err
	}
	taken := c.bound.take(queues)
	r := c.run.Load()
	for _, b := range taken {
		r.remove(b.src)
	}
	return detached(ctx, "unbind", func(limit context.Context) error {
		return together(taken, func(b *pullBinding) error { return b.src.end(limit) })
	}, leave)
}

func (c *pullConsumer) Receive(ctx context.Context, opts ...om.ReceiveOption) (*om.Delivery, error) {
	ds, err := c.receive(ctx, 1, opts)
	if err != nil {
		return nil, err
	}
	return ds[0], nil
}

func (c *pullConsumer) ReceiveBatch(ctx context.Context, max int, opts ...om.ReceiveOption) ([]*om.Delivery, error) {
	return c.receive(ctx, max, opts)
}

func (c *pullConsumer) receive(ctx context.Context, max int, opts []om.ReceiveOption) ([]*om.Delivery, error) {
	leave, err := c.begin(ctx, "receive", "")
	if err != nil {
		return nil, err
	}
	defer leave()
	if max < 1 || max > maxReceive {
		return nil, badParameter("receive", "", "max is %d; it must be 1 to %d", max, maxReceive)
	}
	var from om.ReceiveConfig
	for _, set := range opts {
		set(&from)
	}
	r := c.run.Load()
	if from.Queue != "" {
		return r.receiveFrom(ctx, from, max)
	}
	ds, err := r.receive(ctx, max)
	if err != nil {
		return nil, err
	}
	return c.handOut(ctx, ds)
}

// handOut runs the Before hooks. What one refuses is given back; when nothing
// is left the refusal is the result.
func (c *pullConsumer) handOut(ctx context.Context, ds []*om.Delivery) ([]*om.Delivery, error) {
	links := c.hooks.load()
	if len(links) == 0 {
		return ds, nil
	}
	var refusal error
	passed := ds[:0]
	for _, d := range ds {
		var p passage
		if _, err := p.begin(ctx, links, d); err != nil {
			if refusal != nil {
				c.report(refusal)
			}
			refusal = om.WrapError(err, "receive", d.Destination)
			if c.ap.caps.Has(om.CapNack) {
				if err := d.Nack(ctx, c.cfg.NackDelay); err != nil {
					c.report(err)
				}
			}
			continue
		}
		passed = append(passed, d)
	}
	if len(passed) == 0 {
		return nil, refusal
	}
	if refusal != nil {
		c.report(refusal)
	}
	return passed, nil
}

func (c *pullConsumer) All(ctx context.Context) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		for {
			d, err := c.Receive(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (c *pullConsumer) Ack(ctx context.Context, ds ...*om.Delivery) error {
	if c.closed.Load() {
		return c.ready("ack", "")
	}
	if err := ended(ctx, "ack", ""); err != nil {
		return err
	}
	if len(ds) == 0 {
		return nil
	}
	return om.NewBatchError(ackAll(ctx, ds))
}
