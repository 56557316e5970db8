package oms

import (
	"context"
	"errors"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// keeper extends the leases of what one queue has received and not settled:
// prefetched, with a handler, or waiting for the settler.
type keeper struct {
	r    *pushRun
	ctx  context.Context
	stop context.CancelFunc
	gone chan struct{}

	mu    sync.Mutex
	slabs map[*slab]struct{}
}

func startKeeper(r *pushRun) *keeper {
	k := &keeper{r: r, slabs: make(map[*slab]struct{}), gone: make(chan struct{})}
	k.ctx, k.stop = context.WithCancel(context.Background())
	go k.run()
	return k
}

func (k *keeper) keep(b *slab) {
	b.open.Store(int64(len(b.items)))
	for i := range b.items {
		b.items[i].slab = b
	}
	k.mu.Lock()
	k.slabs[b] = struct{}{}
	k.mu.Unlock()
}

func (k *keeper) release(f *inflight) {
	if f.slab.open.Add(-1) == 0 {
		k.mu.Lock()
		delete(k.slabs, f.slab)
		k.mu.Unlock()
	}
}

func (k *keeper) end(limit context.Context) {
	k.stop()
	until(limit, k.gone)
}

// run looks at the leases every third of their length and extends those with
// less than two thirds left, so that a failure leaves time for another try.
func (k *keeper) run() {
	defer close(k.gone)
	lease := k.r.c.cfg.Lease
	every := max(lease/3, time.Nanosecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-ticker.C:
		}
		if due := k.due(time.Now().Add(lease - lease/3)); len(due) > 0 {
			k.extend(due, every)
		}
	}
}

// due returns what has a lease that ends by then and is to be kept.
func (k *keeper) due(by time.Time) []*inflight {
	k.r.mu.Lock()
	suspended := k.r.suspended
	k.r.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	var due []*inflight
	for b := range k.slabs {
		for i := range b.items {
			f := &b.items[i]
			phase := f.phase.Load()
			if phase > phaseSettle || phase == phaseReady && (suspended || f.revoked()) || f.settled.Load() != 0 {
				continue
			}
			if f.leaseOver(by) {
				due = append(due, f)
			}
		}
	}
	return due
}

func (k *keeper) extend(due []*inflight, within time.Duration) {
	ctx, cancel := context.WithTimeout(k.ctx, within)
	defer cancel()
	lease := k.r.c.cfg.Lease
	errs, whole := k.r.src.settle(ctx, settlement{action: om.Extend, delay: lease}, due)
	if whole != nil {
		if k.ctx.Err() == nil {
			k.r.c.report(whole)
		}
		return
	}
	for i, err := range errs {
		if err != nil && !om.Retryable(err) {
			k.lost(due[i], err)
		}
	}
}

// lost deals with a lease that could not be extended: a prefetched message is
// dropped, because it will be delivered again; a handler goes on with it.
func (k *keeper) lost(f *inflight, err error) {
	if f.phase.Load() == phaseReady && k.r.dropLost(f) {
		return
	}
	if f.settled.Load() != 0 || !f.phase.CompareAndSwap(phaseRunning, phaseLost) {
		return
	}
	var e *om.Error
	if errors.As(err, &e) && e.Code == om.CodeStaleReceipt {
		err = om.NewError(om.CodeStaleReceipt, "extend", k.r.src.queue,
			"the lease of message %s ended while its handler runs; it will be delivered again: %w", f.MessageID, err)
	}
	k.r.c.report(err)
}
