package oms

import (
	"context"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// buffer holds the parcels that wait for the driver, in one order, and
// everything that waits for them: callers that found it full, and barriers.
type buffer struct {
	cfg om.ProducerConfig

	mu       sync.Mutex
	queue    parcels
	blocked  parcels // callers wait for space with these
	entered  uint64  // the sequence number of the newest parcel of the queue
	shipping *shipment
	barriers []barrier
	refusal  error
	ended    bool
	sleeping bool          // the dispatcher waits for the first parcel
	wake     chan struct{} // wakes the dispatcher; capacity 1
}

// shipment is the parcels that share one call of the driver, and its retries.
type shipment struct {
	parcels []*parcel
	msgs    []*om.Message
	first   uint64 // the lowest sequence number
	live    int    // parcels not finished; guarded by the buffer
	ctx     context.Context
	cancel  context.CancelFunc
}

type barrier struct {
	seq  uint64
	open chan struct{}
}

func newBuffer(cfg om.ProducerConfig) *buffer {
	return &buffer{cfg: cfg, wake: make(chan struct{}, 1)}
}

// put hands a parcel over. It blocks while the buffer is full, unless the
// producer is set to fail. nil means that the parcel has entered the queue and
// will be finished.
func (b *buffer) put(ctx context.Context, pc *parcel) error {
	b.mu.Lock()
	if b.refusal != nil {
		defer b.mu.Unlock()
		return b.refusal
	}
	if b.blocked.first == nil && b.fits(pc) {
		b.admit(pc)
		b.mu.Unlock()
		return nil
	}
	if b.cfg.FailWhenFull {
		defer b.mu.Unlock()
		return om.NewError(om.CodeBufferFull, "send", pc.destination(),
			"%d messages with %d bytes wait already; see WithBuffer", b.queue.messages, b.queue.bytes)
	}
	pc.granted = make(chan struct{})
	b.blocked.push(pc)
	b.stir()
	b.mu.Unlock()
	select {
	case <-pc.granted:
	case <-pc.done:
	case <-ctx.Done():
	}
	b.mu.Lock()
	waiting := pc.in == &b.blocked
	if waiting {
		b.blocked.remove(pc)
		b.grant()
	}
	admitted, refusal := pc.seq != 0, pc.refusal
	b.mu.Unlock()
	switch {
	case waiting:
		return ended(ctx, "send", pc.destination())
	case admitted || refusal != nil:
		return refusal
	}
	<-pc.done // given up meanwhile
	return pc.err
}

// fits reports whether the queue has room; a parcel larger than the whole
// buffer goes alone.
func (b *buffer) fits(pc *parcel) bool {
	return b.queue.first == nil ||
		b.queue.messages+len(pc.msgs) <= b.cfg.BufferMessages && b.queue.bytes+pc.bytes <= b.cfg.BufferBytes
}

func (b *buffer) admit(pc *parcel) {
	b.entered++
	pc.seq = b.entered
	if b.cfg.Linger > 0 {
		pc.arrived = time.Now()
	}
	b.queue.push(pc)
	if b.sleeping || b.batchFull() {
		b.stir()
	}
}

// grant admits blocked parcels as far as there is room.
func (b *buffer) grant() {
	for pc := b.blocked.first; pc != nil && b.fits(pc); pc = b.blocked.first {
		b.blocked.remove(pc)
		b.admit(pc)
		close(pc.granted)
	}
}

// stir wakes the dispatcher.
func (b *buffer) stir() {
	b.sleeping = false
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *buffer) batchFull() bool {
	return b.queue.messages >= b.cfg.BatchMessages || b.queue.bytes >= b.cfg.BatchBytes
}

// take blocks until there are parcels to send, and returns those of one call;
// nil when the buffer has ended. ctx is the base of the shipment's context.
func (b *buffer) take(ctx context.Context, s *shipment) *shipment {
	for {
		b.mu.Lock()
		var linger time.Duration
		switch {
		case b.queue.first == nil && b.ended:
			b.mu.Unlock()
			return nil
		case b.queue.first == nil:
			b.sleeping = true
		default:
			if linger = b.lingers(); linger <= 0 {
				b.load(ctx, s)
				b.mu.Unlock()
				return s
			}
		}
		b.mu.Unlock()
		if linger <= 0 {
			<-b.wake
			continue
		}
		timer := time.NewTimer(linger)
		select {
		case <-b.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lingers returns how long the first parcel may still wait for others.
func (b *buffer) lingers() time.Duration {
	if b.cfg.Linger <= 0 || b.batchFull() || b.refusal != nil || len(b.barriers) > 0 || b.blocked.first != nil {
		return 0
	}
	return time.Until(b.queue.first.arrived.Add(b.cfg.Linger))
}

// load moves the parcels of one call from the queue to s.
func (b *buffer) load(ctx context.Context, s *shipment) {
	clear(s.parcels)
	clear(s.msgs)
	s.parcels, s.msgs = s.parcels[:0], s.msgs[:0]
	s.first, s.live = b.queue.first.seq, 0
	bytes, bounded := 0, true
	var latest time.Time
	for pc := b.queue.first; pc != nil; pc = b.queue.first {
		if len(s.msgs) > 0 && (len(s.msgs)+len(pc.msgs) > b.cfg.BatchMessages || bytes+pc.bytes > b.cfg.BatchBytes) {
			break
		}
		b.queue.remove(pc)
		if pc.claimed.Load() {
			continue
		}
		pc.shipment = s
		s.live++
		s.parcels = append(s.parcels, pc)
		s.msgs = append(s.msgs, pc.msgs...)
		bytes += pc.bytes
		bounded = bounded && !pc.deadline.IsZero()
		if pc.deadline.After(latest) {
			latest = pc.deadline
		}
	}
	if bounded {
		s.ctx, s.cancel = context.WithDeadline(ctx, latest)
	} else {
		s.ctx, s.cancel = context.WithCancel(ctx)
	}
	b.shipping = s
	b.grant()
}

// unload ends a shipment that has been answered.
func (b *buffer) unload(s *shipment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.cancel()
	b.shipping = nil
	b.openBarriers()
}

// drop takes a claimed parcel out, wherever it is. When nobody waits for the
// shipment it is in, the call of the driver is given up.
func (b *buffer) drop(pc *parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case pc.in == &b.queue:
		b.queue.remove(pc)
		b.grant()
		b.openBarriers()
	case pc.in == &b.blocked:
		b.blocked.remove(pc)
		b.grant()
	case pc.shipment != nil && b.shipping == pc.shipment:
		if pc.shipment.live--; pc.shipment.live == 0 {
			pc.shipment.cancel()
		}
	}
}

// wait blocks until everything that entered before has been answered or
// given up; it reports false when ctx ends first.
func (b *buffer) wait(ctx context.Context) bool {
	b.mu.Lock()
	if b.answered(b.entered) {
		b.mu.Unlock()
		return true
	}
	open := make(chan struct{})
	b.barriers = append(b.barriers, barrier{b.entered, open})
	b.stir()
	b.mu.Unlock()
	select {
	case <-open:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *buffer) answered(seq uint64) bool {
	return (b.queue.first == nil || b.queue.first.seq > seq) && (b.shipping == nil || b.shipping.first > seq)
}

func (b *buffer) openBarriers() {
	n := 0
	for n < len(b.barriers) && b.answered(b.barriers[n].seq) {
		close(b.barriers[n].open)
		n++
	}
	b.barriers = b.barriers[n:]
}

// refuse lets nothing in any more; callers that wait for space get err.
func (b *buffer) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusal = err
	for pc := b.blocked.first; pc != nil; pc = b.blocked.first {
		b.blocked.remove(pc)
		pc.refusal = err
		close(pc.granted)
	}
	b.stir()
}

// end lets the dispatcher go when nothing waits any more; what still waits
// fails as c says.
func (b *buffer) end(c *cut) {
	b.mu.Lock()
	var rest []*parcel
	for pc := b.queue.first; pc != nil; pc = pc.next {
		rest = append(rest, pc)
	}
	if b.shipping != nil {
		rest = append(rest, b.shipping.parcels...)
	}
	b.ended = true
	b.stir()
	b.mu.Unlock()
	for _, pc := range rest {
		pc.abandon(b, c.failed("send", pc.destination()))
	}
}
