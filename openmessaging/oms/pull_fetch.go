package oms

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// With several queues the first answer ends the receives of the other queues,
// so that nothing is taken for which nobody waits. A queue that lost that race
// often enough, its patience, gets a receive that goes on for a while whoever
// wins. Each of these that brings nothing doubles the patience, so that empty
// queues cost little.
const (
	minPatience = 4
	maxPatience = 1024
	extraTime   = 20 * time.Millisecond
)

// pullSource is a bound queue of a pull consumer. All but the source itself is
// guarded by the run's lock.
type pullSource struct {
	*source
	kept     []*inflight
	err      error // of a fetch, for the next receive
	fetching bool
	stop     context.CancelFunc // ends the fetch
	misses   int                // fetches that others ended, since the last that brought something
	patience int
	active   int // receives of the driver that run
	gone     bool
	idle     chan struct{} // set when gone; closed when no receive runs any more
}

func (s *pullSource) enter() { s.active++ }

func (s *pullSource) exit() {
	if s.active--; s.active == 0 && s.gone {
		close(s.idle)
	}
}

func (s *pullSource) leave() {
	s.gone, s.kept, s.err = true, nil, nil
	s.idle = make(chan struct{})
	if s.fetching {
		s.stop()
	}
	if s.active == 0 {
		close(s.idle)
	}
}

// end closes a source that has left, when its receives are over.
func (s *pullSource) end(limit context.Context) error {
	until(limit, s.idle)
	return s.close(limit)
}

// pop returns the next kept delivery whose lease has not ended.
func (s *pullSource) pop(now time.Time) *inflight {
	for len(s.kept) > 0 {
		f := s.kept[0]
		s.kept[0] = nil
		s.kept = s.kept[1:]
		if !f.leaseOver(now) && f.handOut() {
			return f
		}
	}
	return nil
}

// startFetches starts a receive of the driver for each queue that has none.
// The caller holds r.mu.
func (r *pullRun) startFetches() {
	for _, s := range r.sources {
		if s.fetching {
			continue
		}
		var ctx context.Context
		if s.misses < s.patience {
			ctx, s.stop = context.WithCancel(r.fetching)
		} else {
			ctx, s.stop = context.WithTimeout(r.life, extraTime)
			s.misses, s.patience = 0, min(2*s.patience, maxPatience)
		}
		s.fetching = true
		s.enter()
		go r.fetch(ctx, s, r.want)
	}
}

// fetch receives from one queue until there is a result or nobody waits.
func (r *pullRun) fetch(ctx context.Context, s *pullSource, max int) {
	pace := backoff{policy: r.c.cfg.Retry}
	got, err := s.receive(ctx, max)
	for err != nil && om.Retryable(err) && ctx.Err() == nil {
		r.c.report(err)
		if pace.pause(ctx) {
			got, err = s.receive(ctx, max)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	over := ctx.Err() != nil
	s.fetching = false
	s.stop()
	s.exit()
	switch {
	case s.gone:
		return
	case err == nil:
		for i := range got.items {
			s.kept = append(s.kept, &got.items[i])
		}
		s.misses, s.patience = 0, minPatience
		r.tell()
	case !over:
		s.err = err
		r.tell()
	default:
		s.misses++
		if r.waiting > 0 && !r.halted {
			r.startFetches()
		}
	}
}

// deliveries returns pointers to the deliveries of the slab that may be handed
// out: to all but those of partitions that have been revoked.
func (b *slab) deliveries() []*om.Delivery {
	ds := make([]*om.Delivery, 0, len(b.items))
	for i := range b.items {
		if b.items[i].handOut() {
			ds = append(ds, &b.items[i].Delivery)
		}
	}
	return ds
}
