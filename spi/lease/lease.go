// Package lease keeps leases for drivers of systems that have none, or others
// than the contract wants: one length for all of a group, or no way to tell an
// old delivery from a new one. A [Keeper] is all of such a driver's receiver
// but the talk with the system: Receive, Ack, Nack, Extend and Close.
package lease

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// System is the talk of a receiver with its system. T names a delivery there.
type System[T any] interface {
	// Fetch asks for up to limit messages, at least 1, and hands what comes to
	// Keeper.Arrive; more than limit may come, and may come later, which
	// Keeper.Late counts. It blocks until some have come, some time has passed,
	// or ctx ends. One call at a time.
	Fetch(ctx context.Context, limit int) error

	// Tell says what became of deliveries: openmessaging.Ack, Nack, to be
	// delivered again after delay, or Extend, by which the system's own time
	// for them begins anew. It returns one error or nil for each delivery when
	// the system has confirmed it. One that is too late for the system is Stale.
	Tell(ctx context.Context, what om.Action, ds []*Delivery[T], delay time.Duration) []error
}

// Config is what a Keeper gets.
type Config struct {
	// Queue is named in errors.
	Queue string
	// Lease is how long a message is leased that Receive returns.
	Lease time.Duration
	// Wait is after which time the system delivers a message again of which
	// it has heard nothing; 0 for never. While a lease lasts the Keeper tells it
	// in time, and a lease ends when that fails.
	Wait time.Duration
}

// ReadyTime is how long a message that came without being asked for any more is
// kept for the next Receive, before it is given back.
const ReadyTime = time.Second

// pace is the least time between two looks at the leases, and between two Fetches
// of which the first was in vain.
const pace = 5 * time.Millisecond

// Keeper implements spi.Receiver, spi.Nacker and spi.Leaser. It gives a message
// back when its lease ends, and from then on refuses its receipt. Make it with
// Init.
type Keeper[T any] struct {
	spi.Life
	// Late counts the requests that messages may still come from. Close waits
	// for them.
	Late sync.WaitGroup

	system System[T]
	cfg    Config
	turn   chan struct{} // held by the Receive that fetches

	mu      sync.Mutex
	ready   []*Delivery[T] // not received yet
	held    []*Delivery[T] // received or ready; sweep lets go what is neither any more
	gone    int            // how many of held are neither
	timer   *time.Timer
	next    time.Time // when the timer fires; zero when it does not
	keeping bool      // keep is at work, and sets the timer when it ends
	over    bool      // Close has given everything back
}

// Delivery is one delivery; its address is the spi.Receipt. The Keeper's mutex
// guards what is not exported.
type Delivery[T any] struct {
	Handle    T
	Partition int32
	Offset    int64

	k       *Keeper[T]
	message *om.Message // until it is received; nil when it cannot be read
	bad     error       // why
	until   time.Time   // the end of the lease
	sure    time.Time   // the system holds it until then; zero for ever
	state   state
}

type state uint8

const (
	held     state = iota
	settled        // acknowledged
	expired        // to be given back
	finished       // given back, or not ours any more
)

// Init makes the Keeper ready for use.
func (k *Keeper[T]) Init(system System[T], cfg Config) {
	k.system, k.cfg, k.turn = system, cfg, make(chan struct{}, 1)
	k.timer = time.AfterFunc(time.Hour, k.keep)
	k.timer.Stop()
}

// Stale is the error for a delivery that settles nothing any more.
func Stale[T any](op, queue string, d *Delivery[T]) error {
	return om.NewError(om.CodeStaleReceipt, op, queue, "the delivery of partition %d, offset %d has ended and settles nothing any more; use a longer lease or extend it", d.Partition, d.Offset)
}

func (k *Keeper[T]) sureFrom(t time.Time) time.Time {
	if k.cfg.Wait == 0 {
		return time.Time{}
	}
	return t.Add(k.cfg.Wait - k.cfg.Wait/6)
}

// ours reports whether the system still counts the message as delivered to us.
func (d *Delivery[T]) ours(now time.Time) bool { return d.sure.IsZero() || now.Before(d.sure) }

func (d *Delivery[T]) holds(now time.Time) bool {
	return d.state == held && now.Before(d.until) && d.ours(now)
}

// Arrive takes a message that has come, of which handle is the name. Of r it
// needs Message, Partition and Offset. One that cannot be read comes with an
// error: it is delivered again when its lease ends, and fails a Receive when it
// is alone. Arrive may be called from anywhere.
func (k *Keeper[T]) Arrive(handle T, r spi.Received, bad error) {
	now := time.Now()
	d := &Delivery[T]{Handle: handle, Partition: r.Partition, Offset: r.Offset, k: k, message: r.Message, bad: bad, until: now.Add(ReadyTime), sure: k.sureFrom(now)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.Begin(context.Background(), "", "") != nil {
		d.until = now
	} else {
		k.ready = append(k.ready, d)
	}
	if k.held = append(k.held, d); k.gone > 256+len(k.held)/2 {
		k.sweep()
	}
	k.lookBy(d.due(k, now))
}

// due is when the delivery needs a look.
func (d *Delivery[T]) due(k *Keeper[T], now time.Time) time.Time {
	if d.state == held && !d.sure.IsZero() {
		if soon := d.sure.Add(-k.cfg.Wait / 2); soon.Before(d.until) {
			return soon
		}
	}
	return d.until
}

// lookBy has keep called at t at the latest.
func (k *Keeper[T]) lookBy(t time.Time) {
	if k.keeping || !k.next.IsZero() && !t.Before(k.next) {
		return
	}
	k.next = t
	k.timer.Reset(max(time.Until(t), pace))
}

// sweep lets go what is not ours any more.
func (k *Keeper[T]) sweep() {
	rest := k.held[:0]
	for _, d := range k.held {
		if d.state == held || d.state == expired {
			rest = append(rest, d)
		}
	}
	clear(k.held[len(rest):])
	k.held, k.gone = rest, 0
}

// keep gives back what has expired, and has the system hold the rest.
func (k *Keeper[T]) keep() {
	now := time.Now()
	k.mu.Lock()
	k.next, k.keeping = time.Time{}, true
	var back, rest []*Delivery[T]
	for _, d := range k.held {
		if d.state == held && !d.holds(now) {
			d.state = expired
		}
		switch {
		case d.state == expired && !d.ours(now):
			d.state = finished
		case d.state == expired:
			back = append(back, d)
		case d.state == held && !now.Before(d.due(k, now)):
			rest = append(rest, d)
		}
	}
	k.mu.Unlock()
	ctx := context.Background()
	k.tell(ctx, om.Nack, back, 0)
	k.tell(ctx, om.Extend, rest, 0)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keeping = false
	if k.over {
		k.held = nil // nobody is there to try again
	}
	k.sweep()
	for _, d := range k.held {
		t := d.due(k, now)
		if d.state == expired || !now.Before(t) { // it failed; soon again
			t = time.Now().Add(max(pace, min(ReadyTime, k.cfg.Wait)/12))
		}
		k.lookBy(t)
	}
}

// tell tells the system of deliveries, and these what it has confirmed. by is
// the delay or the lease, 0 for one that stays.
func (k *Keeper[T]) tell(ctx context.Context, what om.Action, ds []*Delivery[T], by time.Duration) []error {
	if len(ds) == 0 {
		return nil
	}
	now, delay := time.Now(), by
	if what == om.Extend {
		delay = 0
	}
	errs := k.system.Tell(ctx, what, ds, delay)
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, d := range ds {
		stale := errors.Is(errs[i], om.CodeStaleReceipt)
		switch {
		case errs[i] != nil && !stale:
			continue
		case what == om.Extend && !stale:
			if d.sure = k.sureFrom(now); by > 0 {
				d.until = now.Add(by)
				k.lookBy(d.due(k, now))
			}
			continue
		case what == om.Ack && !stale:
			d.state = settled
		default:
			d.state = finished
		}
		k.gone++
	}
	return errs
}

// Receive implements spi.Receiver.
func (k *Keeper[T]) Receive(ctx context.Context, limit int) ([]spi.Received, error) {
	const op = "receive"
	within, cancel := k.Within(ctx)
	defer cancel()
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-within.Done():
	}
	for {
		if err := k.Begin(ctx, op, k.cfg.Queue); err != nil {
			return nil, err
		}
		if out, err := k.hand(limit); len(out) > 0 || err != nil {
			return out, err
		}
		asked := time.Now()
		if err := k.system.Fetch(within, limit); err != nil && !k.some() {
			return nil, cmp.Or(k.Begin(ctx, op, k.cfg.Queue), err)
		}
		if time.Since(asked) < pace && !k.some() { // a system that does not wait is not asked for ever
			select {
			case <-time.After(pace):
			case <-within.Done():
			}
		}
	}
}

func (k *Keeper[T]) some() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ready) > 0
}

// hand hands out up to limit messages that have come.
func (k *Keeper[T]) hand(limit int) (out []spi.Received, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	n := 0
	for ; n < len(k.ready) && len(out) < limit; n++ {
		d := k.ready[n]
		if !d.holds(now) {
			continue // keep gives it back
		}
		d.until = now.Add(k.cfg.Lease)
		k.lookBy(d.due(k, now))
		if d.bad != nil {
			err = d.bad
			continue
		}
		out = append(out, spi.Received{Message: d.message, Receipt: d, Partition: d.Partition, Offset: d.Offset, LeaseUntil: d.until})
		d.message = nil
	}
	clear(k.ready[:n])
	if k.ready = k.ready[n:]; len(k.ready) == 0 {
		k.ready = nil
	}
	if len(out) > 0 {
		err = nil
	}
	return out, err
}

// Ack implements spi.Receiver.
func (k *Keeper[T]) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	return k.settle(ctx, om.Ack, receipts, 0)
}

// Nack implements spi.Nacker.
func (k *Keeper[T]) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	return k.settle(ctx, om.Nack, receipts, delay)
}

// Extend implements spi.Leaser.
func (k *Keeper[T]) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	return k.settle(ctx, om.Extend, receipts, lease)
}

// settle tells the system of deliveries that are held still; by is the delay or
// the lease.
func (k *Keeper[T]) settle(ctx context.Context, what om.Action, receipts []spi.Receipt, by time.Duration) ([]error, error) {
	op := what.String()
	if err := k.Begin(ctx, op, k.cfg.Queue); err != nil {
		return nil, err
	}
	errs := make([]error, len(receipts))
	ds := make([]*Delivery[T], 0, len(receipts))
	places := make([]int, 0, len(receipts)) // of ds in errs
	now, failed := time.Now(), false
	k.mu.Lock()
	for i, v := range receipts {
		switch d, ok := v.(*Delivery[T]); {
		case !ok || d.k != k:
			k.mu.Unlock()
			return nil, om.NewError(om.CodeBadParameter, op, k.cfg.Queue, "receipt %d is not one of this receiver", i)
		case d.holds(now):
			ds, places = append(ds, d), append(places, i)
		case d.state != settled || what != om.Ack:
			errs[i], failed = Stale(op, k.cfg.Queue, d), true
		}
	}
	k.mu.Unlock()
	for n, err := range k.tell(ctx, what, ds, by) {
		errs[places[n]] = err
		failed = failed || err != nil
	}
	switch err := ctx.Err(); {
	case !failed:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return errs, nil
}

// Forget makes all receipts stale and tells the system nothing: it has ended
// the deliveries itself.
func (k *Keeper[T]) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.held {
		if d.state == held || d.state == expired {
			d.state = finished
		}
	}
	k.ready = nil
	k.sweep()
}

// Close gives back what was not acknowledged and returns when the system has
// confirmed that, it has failed, or ctx has ended.
func (k *Keeper[T]) Close(ctx context.Context) error {
	return k.End(ctx, func() error {
		select {
		case k.turn <- struct{}{}: // the last Receive has gone
			<-k.turn
		case <-ctx.Done():
		}
		_, late := spi.Bound(ctx, func() (any, error) { k.Late.Wait(); return nil, nil }, func(any) {})
		k.mu.Lock()
		var back []*Delivery[T]
		now := time.Now()
		for _, d := range k.held {
			if d.state == held {
				d.state, d.until = expired, now
			}
			if d.state == expired && d.ours(now) {
				back = append(back, d)
			}
		}
		k.ready, k.over = nil, true
		k.timer.Stop()
		k.mu.Unlock()
		k.tell(ctx, om.Nack, back, 0)
		return late
	})
}
