package memory

import (
	"container/heap"
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// ending says why something does not work any more.
type ending struct {
	code om.Code
	text string
}

// life is what connections, senders and receivers have: it lasts until end is
// set. The system's lock guards it.
type life struct{ end *ending }

func (l *life) check(op, resource string) error {
	if l.end == nil {
		return nil
	}
	return om.NewError(l.end.code, op, resource, "%s", l.end.text)
}

// enter begins an operation of l: it blocks until ready reports true, nil
// being always ready, and returns with the system locked. When ctx or l ends
// first it returns the error, and the system is not locked.
func (s *System) enter(ctx context.Context, l *life, op, resource string, ready func() bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		if err := l.check(op, resource); err != nil {
			s.mu.Unlock()
			return err
		}
		s.advance(time.Now())
		if ready == nil || ready() {
			return nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		var due <-chan time.Time
		if len(s.events) > 0 {
			due = time.After(time.Until(s.events[0].at))
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
		}
	}
}

// begin is enter for an operation that needs a capability, "" for none, and
// does not wait.
func (s *System) begin(ctx context.Context, l *life, needs om.Capability, op, resource string) error {
	if err := s.enter(ctx, l, op, resource, nil); err != nil {
		return err
	}
	if needs == "" || s.caps.Has(needs) {
		return nil
	}
	s.mu.Unlock()
	return s.need(needs, op, resource)
}

// wake has all blocked operations look again.
func (s *System) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// event is something that happens at an instant: it is done by the first
// operation from then on.
type event struct {
	at    time.Time
	order uint64 // among events of one instant
	do    func()
}

// at plans an event.
func (s *System) at(at time.Time, do func()) {
	s.lastEvent++
	heap.Push(&s.events, event{at, s.lastEvent, do})
	s.wake() // who waits may have to wait less
}

// advance does what was planned up to now.
func (s *System) advance(now time.Time) {
	for len(s.events) > 0 && !s.events[0].at.After(now) {
		heap.Pop(&s.events).(event).do()
		s.wake()
	}
}

// events is a heap with the earliest event first.
type events []event

func (h events) Len() int      { return len(h) }
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h events) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].order < h[j].order
	}
	return h[i].at.Before(h[j].at)
}

// Push is part of heap.Interface.
func (h *events) Push(x any) { *h = append(*h, x.(event)) }

// Pop is part of heap.Interface.
func (h *events) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = event{}
	*h = (*h)[:last]
	return e
}
