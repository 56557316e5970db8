package oms

import (
	"context"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// pushConsumer implements openmessaging.PushConsumer.
type pushConsumer struct {
	consumer
	bound bindings[pushBinding]

	suspension sync.Mutex
	suspended  bool
	resume     *time.Timer // of a suspension for a time
	changes    int         // how often the suspension has changed
}

// pushBinding is a queue with its handler; it lasts over restarts.
type pushBinding struct {
	queue   string
	handler pushHandler
	run     *pushRun // set under the consumer's suspension lock
}

// handlerKey finds, in the context of a handler, the consumer that called it.
type handlerKey struct{}

func newPushConsumer(ap *accessPoint, cfg om.ConsumerConfig) *pushConsumer {
	c := &pushConsumer{consumer: newConsumer(ap, cfg)}
	c.lifecycle.open = c.openRuns
	c.lifecycle.halt = c.haltRuns
	c.lifecycle.quit = c.quitRuns
	c.lifecycle.within = c.within
	c.lifecycle.released = func() { ap.forget(c) }
	return c
}

// within reports whether ctx is that of one of this consumer's handlers.
func (c *pushConsumer) within(ctx context.Context) bool { return ctx.Value(handlerKey{}) == c }

func (c *pushConsumer) openRuns(ctx context.Context) error {
	all := c.bound.all()
	queues := make([]string, len(all))
	for i, b := range all {
		queues[i] = b.queue
	}
	sources, err := c.openSources(ctx, "start", queues)
	if err != nil {
		return err
	}
	c.ops.Store(new(calls))
	c.suspension.Lock()
	defer c.suspension.Unlock()
	c.setSuspended(false)
	for i, b := range all {
		b.run = startPushRun(c, b.handler, sources[i], false)
	}
	return nil
}

// haltRuns lets no handler be called any more.
func (c *pushConsumer) haltRuns() {
	c.suspension.Lock()
	defer c.suspension.Unlock()
	c.setSuspended(false)
	for _, b := range c.bound.all() {
		b.run.halt()
	}
}

func (c *pushConsumer) quitRuns(limit context.Context) error {
	ops := c.ops.Load()
	ops.refuse()
	ops.wait(limit)
	c.haltRuns() // of binds that ran meanwhile
	all := c.bound.all()
	return together(all, func(b *pushBinding) error { return b.run.end(limit) })
}

func (c *pushConsumer) Queues() []string { return c.bound.queues() }

func (c *pushConsumer) Bind(ctx context.Context, h om.Handler, queues ...string) error {
	if h == nil {
		return badParameter("bind", "", "the handler is nil")
	}
	return c.bind(ctx, pushHandler{one: h}, queues)
}

func (c *pushConsumer) BindBatch(ctx context.Context, h om.BatchHandler, queues ...string) error {
	if h == nil {
		return badParameter("bind", "", "the handler is nil")
	}
	return c.bind(ctx, pushHandler{many: h}, queues)
}

func (c *pushConsumer) bind(ctx context.Context, h pushHandler, queues []string) error {
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
	c.suspension.Lock()
	defer c.suspension.Unlock()
	for i, q := range queues {
		c.bound.set(q, &pushBinding{queue: q, handler: h, run: startPushRun(c, h, sources[i], c.suspended)})
	}
	return nil
}

func (c *pushConsumer) Unbind(ctx context.Context, queues ...string) error {
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
	for _, b := range taken {
		b.run.halt()
	}
	work := func(limit context.Context) error {
		return together(taken, func(b *pushBinding) error { return b.run.end(limit) })
	}
	if c.within(ctx) {
		go func() {
			defer leave()
			if err := work(context.Background()); err != nil {
				c.report(err)
			}
		}()
		return nil
	}
	return detached(ctx, "unbind", work, leave)
}

func (c *pushConsumer) Suspend(ctx context.Context, d time.Duration) error {
	if err := c.ready("suspend", ""); err != nil {
		return err
	}
	if err := ended(ctx, "suspend", ""); err != nil {
		return err
	}
	if d < 0 {
		return badParameter("suspend", "", "the time %v is negative; 0 suspends until Resume", d)
	}
	c.suspension.Lock()
	defer c.suspension.Unlock()
	c.setSuspended(true)
	if d > 0 {
		change := c.changes
		c.resume = time.AfterFunc(d, func() {
			c.suspension.Lock()
			defer c.suspension.Unlock()
			if c.changes == change {
				c.setSuspended(false)
			}
		})
	}
	return nil
}

func (c *pushConsumer) Resume(ctx context.Context) error {
	if c.closed.Load() {
		return c.ready("resume", "")
	}
	if err := ended(ctx, "resume", ""); err != nil {
		return err
	}
	c.suspension.Lock()
	defer c.suspension.Unlock()
	if !c.suspended {
		return om.NewError(om.CodeNotSuspended, "resume", "", "")
	}
	c.setSuspended(false)
	return nil
}

// setSuspended is called with the suspension lock held.
func (c *pushConsumer) setSuspended(suspended bool) {
	c.changes++
	if c.resume != nil {
		c.resume.Stop()
		c.resume = nil
	}
	c.suspended = suspended
	for _, b := range c.bound.all() {
		if b.run != nil {
			b.run.suspend(suspended)
		}
	}
}

func (c *pushConsumer) Suspended() bool {
	c.suspension.Lock()
	defer c.suspension.Unlock()
	return c.suspended
}

func first(queues []string) string {
	if len(queues) == 0 {
		return ""
	}
	return queues[0]
}
