package oms

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The phases of a push consumer's delivery, as far as leases go.
const (
	phaseReady   uint32 = iota // prefetched
	phaseRunning               // with a handler
	phaseSettle                // waits for the settler
	phaseLost                  // with a handler, but its lease was lost
	phaseDone                  // nobody keeps its lease any more
)

// pushRun is the work for one bound queue from a Bind or Start to an Unbind or
// Stop: a goroutine that fetches, goroutines that handle, a settler and a
// keeper of leases.
type pushRun struct {
	c       *pushConsumer
	src     *source
	handler pushHandler
	settler *settler
	keeper  *keeper // nil where leases are not kept

	life        context.Context // ends when the run is halted
	endLife     context.CancelFunc
	handling    context.Context // of the handlers; ends when the run is cut off
	endHandling context.CancelFunc
	workers     sync.WaitGroup
	fetched     chan struct{} // closed when the fetching goroutine has gone

	mu          sync.Mutex
	arrival     sync.Cond // of messages, or the halt
	room        sync.Cond // for messages, or the halt
	ready       []*inflight
	suspended   bool
	halted      bool
	busy        map[int32]bool  // partitions with a handler, in an assigned group
	fetching    context.Context // of the present receive; renewed after a suspension
	stopReceive context.CancelFunc
}

func startPushRun(c *pushConsumer, h pushHandler, src *source, suspended bool) *pushRun {
	r := &pushRun{c: c, src: src, handler: h, suspended: suspended, fetched: make(chan struct{}), busy: make(map[int32]bool)}
	r.arrival.L, r.room.L = &r.mu, &r.mu
	r.life, r.endLife = context.WithCancel(context.Background())
	r.handling, r.endHandling = context.WithCancel(context.WithValue(context.Background(), handlerKey{}, c))
	r.fetching, r.stopReceive = context.WithCancel(r.life)
	if src.leaser != nil && !c.cfg.NoAutoExtend {
		r.keeper = startKeeper(r)
	}
	r.settler = startSettler(r)
	go r.fetch()
	for range c.cfg.Concurrency {
		r.workers.Go(r.work)
	}
	return r
}

// fetch keeps messages ready for the handlers.
func (r *pushRun) fetch() {
	defer close(r.fetched)
	pace := backoff{policy: r.c.cfg.Retry}
	for {
		ctx, missing := r.wanted()
		if missing == 0 {
			return
		}
		got, err := r.src.receive(ctx, missing)
		switch {
		case err == nil:
			pace.tries = 0
			r.offer(got)
		case errors.Is(err, om.CodeMemberFenced):
			return
		case ctx.Err() == nil:
			r.c.report(err)
			pace.pause(r.life)
		}
	}
}

// wanted waits until so few messages are ready that a call of the driver pays,
// and returns how many are missing; 0 when the run is halted.
func (r *pushRun) wanted() (context.Context, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.halted && (r.suspended || len(r.ready) > r.c.cfg.Prefetch/2) {
		r.room.Wait()
	}
	if r.halted {
		return r.life, 0
	}
	return r.fetching, max(r.c.cfg.Prefetch-len(r.ready), 1)
}

func (r *pushRun) offer(got *slab) {
	if r.keeper != nil {
		r.keeper.keep(got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		r.releaseAll(got)
		return
	}
	for i := range got.items {
		r.ready = append(r.ready, &got.items[i])
	}
	r.arrival.Broadcast()
}

func (r *pushRun) releaseAll(got *slab) {
	for i := range got.items {
		r.release(&got.items[i])
	}
}

// take blocks until messages are ready and returns up to cap(buf) of them for
// a handler; none when the run is halted.
func (r *pushRun) take(buf []*inflight) []*inflight {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for !r.halted && (r.suspended || len(r.ready) == 0) {
			r.arrival.Wait()
		}
		if r.halted {
			return nil
		}
		if r.src.member != nil {
			buf = r.takePartition(buf)
		} else {
			buf = r.takeFirst(buf)
		}
		if len(r.ready) <= r.c.cfg.Prefetch/2 {
			r.room.Signal()
		}
		if len(buf) > 0 {
			return buf
		}
		if len(r.ready) > 0 { // all of partitions that have a handler
			r.arrival.Wait()
		}
	}
}

// takeFirst takes the messages that have been ready longest.
func (r *pushRun) takeFirst(buf []*inflight) []*inflight {
	now, n := time.Now(), 0
	for n < len(r.ready) && len(buf) < cap(buf) {
		f := r.ready[n]
		n++
		if f.leaseOver(now) {
			r.release(f)
			continue
		}
		f.phase.Store(phaseRunning)
		buf = append(buf, f)
	}
	clear(r.ready[:n])
	r.ready = r.ready[n:]
	return buf
}

// takePartition takes messages of one partition that has no handler now, and
// marks it as having one.
func (r *pushRun) takePartition(buf []*inflight) []*inflight {
	now := time.Now()
	r.ready = slices.DeleteFunc(r.ready, func(f *inflight) bool {
		switch {
		case len(buf) == cap(buf) || r.busy[f.Partition] || len(buf) > 0 && buf[0].Partition != f.Partition:
			return false
		case f.leaseOver(now) || !f.handOut():
			r.release(f)
			return true
		}
		f.phase.Store(phaseRunning)
		buf = append(buf, f)
		return true
	})
	if len(buf) > 0 {
		r.busy[buf[0].Partition] = true
	}
	return buf
}

// handled lets another handler have the partition of messages.
func (r *pushRun) handled(partition int32) {
	if r.src.member == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, partition)
	r.arrival.Broadcast()
}

// dropLost takes f out of the ready messages; it reports false when f is not
// among them any more.
func (r *pushRun) dropLost(f *inflight) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, g := range r.ready {
		if g == f {
			r.ready = append(r.ready[:i:i], r.ready[i+1:]...)
			r.release(f)
			r.room.Signal()
			return true
		}
	}
	return false
}

// release ends the keeping of a delivery's lease.
func (r *pushRun) release(f *inflight) {
	if f.phase.Swap(phaseDone) != phaseDone && r.keeper != nil {
		r.keeper.release(f)
	}
	f.cameBack()
}

func (r *pushRun) suspend(suspended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.suspended == suspended || r.halted {
		return
	}
	r.suspended = suspended
	if suspended {
		r.stopReceive()
		return
	}
	r.fetching, r.stopReceive = context.WithCancel(r.life)
	r.arrival.Broadcast()
	r.room.Broadcast()
}

// halt lets no handler be called any more and stops fetching.
func (r *pushRun) halt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		return
	}
	r.halted = true
	for _, f := range r.ready {
		r.release(f)
	}
	r.ready = nil
	r.endLife()
	r.stopReceive()
	r.arrival.Broadcast()
	r.room.Broadcast()
}

// end lets running handlers finish, settles what they have done and closes the
// source, which gives the rest back. When limit ends, what still runs is cut
// off. It is called once, after halt.
func (r *pushRun) end(limit context.Context) error {
	handled := make(chan struct{})
	go func() {
		r.workers.Wait()
		close(handled)
	}()
	if !until(limit, handled) || !until(limit, r.fetched) {
		r.endHandling()
	}
	r.settler.end(limit)
	if r.keeper != nil {
		r.keeper.end(limit)
	}
	err := r.src.close(limit)
	r.endHandling()
	return err
}
