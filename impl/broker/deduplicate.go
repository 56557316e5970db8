package broker

import (
	"crypto/sha256"
	"errors"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/filter"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// maxSeen bounds the values that a route remembers; the oldest are forgotten.
const maxSeen = 1 << 20

// seen is what a route that deduplicates has copied lately. Nothing is written
// for it: when the route begins it is made again from the source. Only the
// route's goroutine touches it.
type seen struct {
	name   string // of the property or attribute; empty for a route that does not deduplicate
	window int64  // milliseconds
	at     map[digest]int64
	order  []seenValue
}

type digest [16]byte

type seenValue struct {
	of     digest
	stored int64
}

// newSeen returns what the operators ask for.
func newSeen(operators []operatorRecord) *seen {
	for _, o := range operators {
		if o.Type == string(om.OperatorDeduplicate) {
			return &seen{name: o.Keys[0], window: o.Window, at: make(map[digest]int64)}
		}
	}
	return &seen{}
}

// value returns what a message is known by; ok is false for one that has none.
func (s *seen) value(v *chunk.View) (d digest, ok bool) {
	if s.name == "" {
		return d, false
	}
	text, ok := filter.Text(v, s.name)
	if ok {
		sum := sha256.Sum256([]byte(text))
		copy(d[:], sum[:])
	}
	return d, ok
}

// has reports whether the value was copied within the window before.
func (s *seen) has(of digest, stored int64) bool {
	at, ok := s.at[of]
	return ok && stored-at < s.window
}

// add remembers a value, and forgets what is too old or too much.
func (s *seen) add(of digest, stored int64) {
	s.at[of] = stored
	s.order = append(s.order, seenValue{of, stored})
	for len(s.order) > 0 && (len(s.order) > maxSeen || stored-s.order[0].stored >= s.window) {
		first := s.order[0]
		s.order = s.order[1:]
		if s.at[first.of] == first.stored {
			delete(s.at, first.of)
		}
	}
}

// recall makes what a route has seen before from the source.
func (r *route) recall(to *work) error {
	if to.seen.name == "" {
		return nil
	}
	since := om.AtTime(time.Now().Add(-time.Duration(to.seen.window) * time.Millisecond))
	for i := range to.next {
		if err := r.recallPartition(to, i, since); err != nil && !errors.Is(err, store.ErrDropped) {
			return err
		}
	}
	return nil
}

func (r *route) recallPartition(to *work, partition int, since om.Position) error {
	at, err := r.source.Resolve(int32(partition), since)
	if err != nil {
		return err
	}
	end := to.next[partition]
	var reader recordReader
	for at < end {
		span, err := reader.span(r.b.store, r.source.list()[partition].log, at, end)
		if err != nil {
			return err
		}
		var v chunk.View
		w := chunk.Walk(span.Chunk, span.Header, span.Skip)
		for i := 0; i < span.Count && w.Next(&v); i++ {
			if of, ok := to.seen.value(&v); ok && span.Header.Flags&chunk.Redriven == 0 && matches(&v, [2]*selector{to.selector}) && !to.seen.has(of, span.StoredAt) {
				to.seen.add(of, span.StoredAt)
			}
		}
		if err := w.Err(); err != nil {
			return err
		}
		at = span.Base + int64(span.Count)
	}
	return nil
}

// MaxWindow is the longest window of a route that deduplicates.
const MaxWindow = 24 * time.Hour

func checkDeduplicate(op, route string, o om.Operator, before []operatorRecord) error {
	bad := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, op, route, format, args...)
	}
	switch {
	case len(o.Keys) != 1 || o.Keys[0] == "":
		return bad("deduplicating needs the name of one property")
	case o.Window < time.Millisecond || o.Window > MaxWindow:
		return bad("the window %v is not in 1 ms to %v", o.Window, MaxWindow)
	}
	for _, b := range before {
		if b.Type == string(om.OperatorDeduplicate) {
			return bad("a route deduplicates once")
		}
	}
	return nil
}
