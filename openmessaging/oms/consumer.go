package oms

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// consumer is what push and pull consumers share.
type consumer struct {
	lifecycle
	ap    *accessPoint
	cfg   om.ConsumerConfig
	hooks *chain[om.ReceiveInterceptor]
	told  *listener
	ops   atomic.Pointer[calls] // binds, unbinds and receives; renewed by each Start
}

func newConsumer(ap *accessPoint, cfg om.ConsumerConfig) consumer {
	return consumer{ap: ap, cfg: cfg, hooks: newChain(cfg.Interceptors), told: &listener{RebalanceListener: cfg.Rebalance, report: cfg.OnError}}
}

func (c *consumer) AddInterceptor(i om.ReceiveInterceptor) (remove func()) { return c.hooks.add(i) }

func (c *consumer) report(err error) { c.cfg.OnError(err) }

// begin notes an operation, so that a stop waits for it.
func (c *consumer) begin(ctx context.Context, op, queue string) (leave func(), err error) {
	if err := c.ready(op, queue); err != nil {
		return nil, err
	}
	if err := ended(ctx, op, queue); err != nil {
		return nil, err
	}
	ops := c.ops.Load()
	t := ops.enter()
	if t == nil {
		return nil, om.NewError(om.CodeNotRunning, op, queue, "the consumer is stopping")
	}
	return func() { ops.leave(t) }, nil
}

// openSource opens the driver's receiver of a queue.
func (c *consumer) openSource(ctx context.Context, op, queue string) (*source, error) {
	if c.cfg.Filter != (om.Filter{}) && !c.ap.caps.Has(om.CapFilter) {
		return nil, unsupported(op, queue, om.CapFilter)
	}
	cfg := spi.ReceiverConfig{Queue: queue, Group: c.cfg.Group, Start: c.cfg.Start, Filter: c.cfg.Filter, Lease: c.cfg.Lease}
	if c.cfg.Allocation != nil {
		if !c.ap.caps.Has(om.CapAssigned) {
			return nil, unsupported(op, queue, om.CapAssigned)
		}
		cfg.Member = &spi.MemberConfig{Member: c.cfg.Member, Strategy: c.cfg.Allocation, Session: c.cfg.Session}
	}
	receiver, err := c.ap.conn.NewReceiver(ctx, cfg)
	if err != nil {
		return nil, c.ap.errs.wrap(err, op, queue)
	}
	s := newSource(c, queue, receiver)
	if cfg.Member != nil {
		assignee, ok := spi.As[spi.Assignee](receiver)
		if !ok {
			return nil, errors.Join(notHonest(op, queue, om.CapAssigned, "Assignee"), s.close(ctx))
		}
		s.member = startMembership(s, assignee, c.told)
	}
	return s, nil
}

// openSources opens the receivers of all the queues or, after an error, none.
func (c *consumer) openSources(ctx context.Context, op string, queues []string) ([]*source, error) {
	var sources []*source
	for _, q := range queues {
		s, err := c.openSource(ctx, op, q)
		if err != nil {
			closeAll(ctx, sources)
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func closeAll(ctx context.Context, sources []*source) {
	for _, s := range sources {
		_ = s.close(ctx) // the error that led here is the one to tell
	}
}

// together runs work for all items at once and joins the errors.
func together[T any](items []T, work func(T) error) error {
	errs := make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		all.Go(func() { errs[i] = work(item) })
	}
	all.Wait()
	return errors.Join(errs...)
}
