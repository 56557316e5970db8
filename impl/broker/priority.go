package broker

import (
	"slices"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
)

const (
	highestPriority = 10
	usualPriority   = 5
	// lookAhead is how many ready messages a group with priorities chooses from.
	lookAhead = 4096
	// oldestEvery: of so many receives one takes the oldest messages, whatever
	// their priority, so that none waits for ever.
	oldestEvery = 8
)

// priorityOf returns the priority of a message; what is unset or out of range
// counts as the usual one (R040).
func priorityOf(v *chunk.View) int32 {
	if v.Priority < 1 || v.Priority > highestPriority {
		return usualPriority
	}
	return int32(v.Priority)
}

// urgency has a group get messages with a higher priority first, among those
// that it has looked at (R041). It costs nothing without priorities.
type urgency struct {
	urgent ranges // priorities of unsettled offsets with another than the usual one
	turn   int    // counts receives
}

// prefers reports whether the next take goes by priority.
func (p *progress) prefers() bool { return len(p.urgent) > 0 && p.turn%oldestEvery != 0 }

// takeUrgent is take for the highest priority that is ready.
func (p *progress) takeUrgent(limit int64) (runs ranges, count int32) {
	var highest int32
	var found ranges
	for _, s := range p.ready {
		for at := s.From; at < s.To; {
			n, end := p.urgent.at(at, s.To)
			if n == 0 {
				n = usualPriority
			}
			if n > highest {
				highest, found = n, found[:0]
			}
			if n == highest {
				found = append(found, segment{at, end, 1})
			}
			at = end
		}
	}
	for _, s := range found {
		n, end := p.counts.at(s.From, min(s.To, s.From+limit))
		if limit == 0 || len(runs) > 0 && n != count {
			break
		}
		count = n
		runs = append(runs, segment{s.From, end, 1})
		limit -= end - s.From
		if end < s.To {
			break // what follows was delivered more or less often
		}
	}
	for _, s := range runs {
		p.ready.remove(s.From, s.To)
	}
	return slices.Clip(runs), count
}

// prioritize notes that the queue has messages with priorities; Queue.mu is held.
func (q *Queue) prioritize(tx *transaction) {
	if !q.record.Priorities {
		q.urgent, q.record.Priorities = true, true
		tx.batch.Put(q.record.key(), encode(q.record))
	}
}
