package broker

// What is overdue when a broker is opened comes in the order of its due times: the
// slots that had begun by then take turns, the first first. One of a minute or an
// hour that has ended is read in that order when it is small, and otherwise divided
// into finer ones, as one that has not ended. What becomes due after the start does
// not wait for that.

// sortedBytes bounds a slot that is small: each readerBytes of it take a reading of
// the whole.
const sortedBytes = 16 * readerBytes

// overdue reports whether a slot had begun when the broker was opened.
func (t *timers) overdue(s *slot) bool { return s.start <= t.opened }

// exposed reports whether what is due goes from the slot into its partitions,
// without moving before.
func (s *slot) exposed() bool { return s.level == 0 || s.sorted }

// turn returns the slot whose turn it is, nil when nothing is overdue.
func (t *timers) turn(now int64) (first *slot) {
	for _, s := range t.slots {
		if t.overdue(s) && (first == nil || s.order(first.slotID) < 0) {
			first = s
		}
	}
	if first != nil && !first.exposed() && !first.open {
		first.sorted = first.end() <= now && first.record.Bytes <= sortedBytes && !t.divided(first)
	}
	return first
}

// divided reports whether something of a slot has moved into finer ones.
func (t *timers) divided(s *slot) bool {
	for id := range t.slots {
		if id.level < s.level && s.start <= id.start && id.start < s.end() {
			return true
		}
	}
	return false
}

// waits reports whether a message that is overdue can wait for its turn in a slot:
// nothing that is due after it has left that.
func (t *timers) waits(due int64, id slotID) bool {
	s := t.slots[id]
	return s == nil || s.record.Due <= due
}
