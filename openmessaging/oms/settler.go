package oms

import (
	"context"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// settler acknowledges and gives back what the handlers of one queue have
// done: one call of the driver for all that wait.
type settler struct {
	r    *pushRun
	most int // deliveries that may wait before handlers do

	ctx    context.Context // of the calls of the driver; ends when cut off
	cancel context.CancelFunc
	gone   chan struct{}

	mu        sync.Mutex
	work      sync.Cond // something waits, or the end
	space     sync.Cond // less waits, or the end
	acks      []*inflight
	nacks     []*inflight
	unsettled int
	ended     bool // no more are added
	cut       bool // handlers do not wait any more
}

// The least bound of unsettled deliveries, whatever Prefetch is.
const minUnsettled = 1024

func startSettler(r *pushRun) *settler {
	s := &settler{r: r, most: max(minUnsettled, 2*r.c.cfg.Prefetch), gone: make(chan struct{})}
	s.work.L, s.space.L = &s.mu, &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

// add hands a delivery over; it blocks while too many wait.
func (s *settler) add(f *inflight, nack bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.unsettled >= s.most && !s.cut {
		s.space.Wait()
	}
	if s.ended {
		s.r.release(f)
		return
	}
	f.phase.Store(phaseSettle)
	s.unsettled++
	if nack {
		s.nacks = append(s.nacks, f)
	} else {
		s.acks = append(s.acks, f)
	}
	s.work.Signal()
}

func (s *settler) run() {
	defer close(s.gone)
	var acks, nacks []*inflight
	for {
		s.mu.Lock()
		for len(s.acks)+len(s.nacks) == 0 && !s.ended {
			s.work.Wait()
		}
		if len(s.acks)+len(s.nacks) == 0 {
			s.mu.Unlock()
			return
		}
		s.acks, acks = acks[:0], s.acks
		s.nacks, nacks = nacks[:0], s.nacks
		s.mu.Unlock()

		s.settle(settlement{action: om.Ack}, acks)
		s.settle(settlement{action: om.Nack, delay: s.r.c.cfg.NackDelay}, nacks)

		s.mu.Lock()
		s.unsettled -= len(acks) + len(nacks)
		s.space.Broadcast()
		s.mu.Unlock()
		clear(acks)
		clear(nacks)
	}
}

// settle calls the driver, again where that may help, and reports what could
// not be settled: it is delivered again when its lease ends.
func (s *settler) settle(what settlement, fs []*inflight) {
	open := fs
	pace := backoff{policy: s.r.c.cfg.Retry}
	for len(open) > 0 {
		errs, whole := s.r.src.settle(s.ctx, what, open)
		var again []*inflight
		for i, err := range errs {
			if om.Retryable(err) {
				again = append(again, open[i])
			}
		}
		if len(again) > 0 && !pace.exhausted() && pace.pause(s.ctx) {
			open = again
			continue
		}
		switch {
		case whole != nil:
			s.r.c.report(whole)
		case errs != nil:
			s.r.c.report(om.NewBatchError(errs))
		}
		break
	}
	for _, f := range fs {
		s.r.release(f)
	}
}

// end settles what waits and lets the settler go; when limit ends first, the
// rest is left.
func (s *settler) end(limit context.Context) {
	s.mu.Lock()
	s.ended = true
	s.cut = limit.Err() != nil
	s.work.Signal()
	s.space.Broadcast()
	s.mu.Unlock()
	if !until(limit, s.gone) {
		s.mu.Lock()
		s.cut = true
		s.space.Broadcast()
		s.mu.Unlock()
	}
	s.cancel()
}
