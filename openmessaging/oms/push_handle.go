package oms

import (
	"context"
	"fmt"
	"runtime/debug"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// pushHandler is what the user bound: one of the two forms.
type pushHandler struct {
	one  om.Handler
	many om.BatchHandler
}

// work calls the handler until the run is halted. A handler that ends its
// goroutine is replaced.
func (r *pushRun) work() {
	returned := false
	defer func() {
		if !returned && !r.isHalted() {
			r.workers.Go(r.work)
		}
	}()
	most := 1
	if r.handler.many != nil {
		most = r.c.cfg.HandlerBatch
	}
	buf := make([]*inflight, 0, most)
	for fs := r.take(buf); len(fs) > 0; fs = r.take(buf) {
		r.handle(fs)
		clear(fs)
	}
	returned = true
}

// handle calls the handler, also one that ends its goroutine.
func (r *pushRun) handle(fs []*inflight) {
	defer r.handled(fs[0].Partition)
	if r.handler.one != nil {
		r.handleOne(fs[0])
	} else {
		r.handleMany(fs)
	}
}

func (r *pushRun) isHalted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halted
}

func (r *pushRun) handleOne(f *inflight) {
	err := error(goexit{})
	var p passage
	defer func() {
		err = r.judge(recover(), err)
		r.conclude(f, p.end(r, &f.Delivery, err))
	}()
	var ctx context.Context
	if ctx, err = p.begin(r.handling, r.c.hooks.load(), &f.Delivery); err != nil {
		return
	}
	err = goexit{}
	err = r.handler.one(ctx, &f.Delivery)
}

func (r *pushRun) handleMany(fs []*inflight) {
	links := r.c.hooks.load()
	passages := make([]passage, len(fs))
	errs := make([]error, len(fs)) // of the Before hooks
	begun := 0
	err := error(goexit{})
	defer func() {
		err = r.judge(recover(), err)
		for i, f := range fs {
			own := errs[i]
			if own == nil {
				own = err
			}
			r.conclude(f, passages[i].end(r, &f.Delivery, own))
		}
	}()
	var ds []*om.Delivery
	for ; begun < len(fs); begun++ {
		d := &fs[begun].Delivery
		if _, errs[begun] = passages[begun].begin(r.handling, links, d); errs[begun] == nil {
			ds = append(ds, d)
		}
	}
	if len(ds) == 0 {
		err = nil
		return
	}
	err = r.handler.many(r.handling, om.NewBatch(ds, func(ctx context.Context, ds []*om.Delivery) error {
		return om.NewBatchError(ackAll(ctx, ds))
	}))
}

// goexit stands for the result of a handler that ended its goroutine.
type goexit struct{}

func (goexit) Error() string { return "the handler ended its goroutine" }

// judge turns a panic, or the end of the goroutine, into an error and reports it.
func (r *pushRun) judge(panicked any, err error) error {
	switch {
	case panicked != nil:
		err = om.NewError(om.CodeHandlerPanic, "handle", r.src.queue, "%w\n%s", panicError(panicked), debug.Stack())
	case err == error(goexit{}):
		err = om.NewError(om.CodeHandlerPanic, "handle", r.src.queue, "%w", err)
	default:
		return err
	}
	r.c.report(err)
	return err
}

func panicError(v any) error {
	if err, ok := v.(error); ok {
		return err
	}
	return fmt.Errorf("%v", v)
}

// conclude settles a delivery as the handler's result says.
func (r *pushRun) conclude(f *inflight, err error) {
	switch {
	case r.c.cfg.ManualAck || f.settled.Load() != 0:
		r.release(f)
	case err == nil:
		r.settler.add(f, false)
	case r.src.nacker != nil:
		r.settler.add(f, true)
	default:
		r.release(f)
	}
}

// passage remembers which interceptors have seen a delivery.
type passage struct {
	ctx    context.Context
	passed []*om.ReceiveInterceptor
}

// begin runs the Before hooks and returns the context for the handler.
func (p *passage) begin(ctx context.Context, links []*om.ReceiveInterceptor, d *om.Delivery) (context.Context, error) {
	p.ctx = ctx
	for i, l := range links {
		if l.Before != nil {
			next, err := l.Before(p.ctx, d)
			if err != nil {
				return p.ctx, err
			}
			if next != nil {
				p.ctx = next
			}
		}
		p.passed = links[:i+1]
	}
	return p.ctx, nil
}

// end runs the After hooks. One that panics makes the handling a failure.
func (p *passage) end(r *pushRun, d *om.Delivery, err error) (result error) {
	if len(p.passed) == 0 {
		return err
	}
	result = err
	for i := len(p.passed) - 1; i >= 0; i-- {
		if p.passed[i].After == nil {
			continue
		}
		func() {
			defer func() {
				if v := recover(); v != nil {
					result = r.judge(v, nil)
				}
			}()
			p.passed[i].After(p.ctx, d, err)
		}()
	}
	return result
}
