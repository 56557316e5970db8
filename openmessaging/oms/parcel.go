package oms

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// parcel is what one call hands to the buffer: one message, or a part of a
// batch that fits into one call of the driver. It is finished exactly once, by
// whoever claims it: the dispatcher with outcomes, or a context, a timer or a
// caller that gives it up.
type parcel struct {
	msgs   []*om.Message // the producer's own copies
	trails []trail       // one for each message; nil without interceptors
	bytes  int

	// finished takes the result before done is closed; nil when the caller
	// waits for done itself.
	finished func(*parcel)
	done     chan struct{}
	outs     []spi.Outcome // one for each message, unless err is set
	err      error         // the failure of all messages

	claimed  atomic.Bool
	deadline time.Time // zero without one; fixed before the parcel is handed over

	mu      sync.Mutex
	timer   *time.Timer
	unwatch func() bool

	// Guarded by the buffer.
	in         *parcels // the list it is in
	prev, next *parcel
	seq        uint64
	arrived    time.Time
	granted    chan struct{} // closed when a blocked parcel is admitted or refused
	refusal    error
	shipment   *shipment

	single  om.Message
	pointer [1]*om.Message
}

// newParcel returns a parcel for a copy of one message.
func newParcel(m *om.Message, hooked bool) *parcel {
	pc := &parcel{done: make(chan struct{})}
	copyTo(&pc.single, m, nil, hooked)
	pc.pointer[0] = &pc.single
	pc.msgs = pc.pointer[:]
	return pc
}

// arm bounds the parcel by timeout from now, where that is positive, and by
// ctx, where watched.
func (pc *parcel) arm(ctx context.Context, b *buffer, timeout time.Duration, watched bool) {
	pc.mu.Lock()
	defer pc.mu.Unlock()
	at, bounded := ctx.Deadline()
	if bounded && watched {
		pc.deadline = at
	}
	if timeout > 0 {
		if end := time.Now().Add(timeout); !bounded || !watched || end.Before(at) {
			pc.deadline = end
			pc.timer = time.AfterFunc(timeout, func() {
				pc.abandon(b, sendTimeoutCut(timeout).failed("send", pc.destination()))
			})
		}
	}
	if watched && ctx.Done() != nil {
		pc.unwatch = context.AfterFunc(ctx, func() { pc.abandon(b, ended(ctx, "send", pc.destination())) })
	}
}

// destination names the resource of errors that concern the whole parcel.
func (pc *parcel) destination() string { return pc.msgs[0].Destination }

func (pc *parcel) claim() bool { return pc.claimed.CompareAndSwap(false, true) }

// abandon finishes the parcel with err unless it is finished already. While it
// waits in the buffer it is taken out and never sent.
func (pc *parcel) abandon(b *buffer, err error) {
	if !pc.claim() {
		return
	}
	b.drop(pc)
	pc.finish(nil, err)
}

// finish is called by who claimed the parcel.
func (pc *parcel) finish(outs []spi.Outcome, err error) {
	pc.mu.Lock()
	timer, unwatch := pc.timer, pc.unwatch
	pc.mu.Unlock()
	if timer != nil {
		timer.Stop()
	}
	if unwatch != nil {
		unwatch()
	}
	pc.outs, pc.err = outs, err
	if err == nil {
		for i := range outs {
			if outs[i].Err == nil {
				pc.msgs[i].MessageID = outs[i].MessageID
			}
		}
	}
	if pc.trails != nil {
		for i := range pc.msgs {
			r, err := pc.result(i)
			pc.trails[i].end(pc.msgs[i], r, err)
		}
	}
	if pc.finished != nil {
		pc.finished(pc)
	}
	close(pc.done)
}

// result returns the outcome of message i of a finished parcel.
func (pc *parcel) result(i int) (om.SendResult, error) {
	if pc.err != nil {
		return om.SendResult{}, pc.err
	}
	if err := pc.outs[i].Err; err != nil {
		return om.SendResult{}, err
	}
	return pc.outs[i].SendResult, nil
}

// parcels is a list of parcels in the order in which they came.
type parcels struct {
	first, last     *parcel
	messages, bytes int
}

func (l *parcels) push(pc *parcel) {
	pc.in, pc.prev = l, l.last
	if l.last != nil {
		l.last.next = pc
	} else {
		l.first = pc
	}
	l.last = pc
	l.messages += len(pc.msgs)
	l.bytes += pc.bytes
}

func (l *parcels) remove(pc *parcel) {
	if pc.prev != nil {
		pc.prev.next = pc.next
	} else {
		l.first = pc.next
	}
	if pc.next != nil {
		pc.next.prev = pc.prev
	} else {
		l.last = pc.prev
	}
	pc.in, pc.prev, pc.next = nil, nil, nil
	l.messages -= len(pc.msgs)
	l.bytes -= pc.bytes
}
