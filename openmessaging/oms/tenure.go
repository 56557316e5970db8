package oms

import (
	"context"
	"sync"
	"time"
)

// tenure is the holding of a partition by a member of an assigned group, from
// its assignment to its giving up. It knows what was handed out.
type tenure struct {
	partition int32

	// The membership's lock guards these.
	done bool // to be given up by the next heartbeat
	told bool // the listener has been told that it is over

	mu      sync.Mutex
	over    bool // nothing more is handed out
	out     map[*inflight]struct{}
	sweepAt int
	changed chan struct{}
}

// minSweep is how much is handed out before it is looked through for what is
// over.
const minSweep = 1024

func newTenure(partition int32) *tenure {
	return &tenure{partition: partition, out: make(map[*inflight]struct{}), sweepAt: minSweep, changed: make(chan struct{})}
}

// revoked reports whether f may not be handed out any more.
func (f *inflight) revoked() bool {
	if f.tenure == nil {
		return false
	}
	f.tenure.mu.Lock()
	defer f.tenure.mu.Unlock()
	return f.tenure.over
}

// handOut notes that f is handed out; it reports false when it must not be.
func (f *inflight) handOut() bool {
	t := f.tenure
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.out[f] = struct{}{}
	if len(t.out) >= t.sweepAt {
		t.sweep(time.Now())
		t.sweepAt = max(minSweep, 2*len(t.out))
	}
	return true
}

// cameBack is told when f was settled or its handler has finished.
func (f *inflight) cameBack() {
	t := f.tenure
	if t == nil || !f.isOver(time.Now()) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.out, f)
	if len(t.out) == 0 {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// isOver reports whether nobody works on f any more, as far as can be known.
func (f *inflight) isOver(now time.Time) bool {
	switch f.phase.Load() {
	case phaseReady, phaseDone:
		return f.settled.Load() != 0 || f.leaseOver(now)
	}
	return false
}

// sweep forgets what is over and returns when the next lease ends of what nobody
// extends.
func (t *tenure) sweep(now time.Time) (next time.Time) {
	for f := range t.out {
		if f.isOver(now) {
			delete(t.out, f)
			continue
		}
		if ends := time.Unix(0, f.lease.Load()); next.IsZero() || ends.Before(next) {
			next = ends
		}
	}
	return next
}

// revoke ends the handing out; it reports false when it had ended.
func (t *tenure) revoke() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.over
	t.over = true
	return !was
}

// wait blocks until all that was handed out is over. It reports false when ctx
// ends first.
func (t *tenure) wait(ctx context.Context) bool {
	for {
		t.mu.Lock()
		next, left, changed := t.sweep(time.Now()), len(t.out), t.changed
		t.mu.Unlock()
		if left == 0 {
			return ctx.Err() == nil
		}
		// A handler's lease is extended or over; it tells when it has finished.
		timer := time.NewTimer(max(time.Until(next), time.Millisecond))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}
