package openmessaging

import "time"

// DefaultFind is how many messages one call of FindMessages returns at most
// when it is not told.
const DefaultFind = 100

const maxFind = 1000

// MessageQuery says which messages of a queue are looked for. All conditions
// must hold; without any it is all messages that are stored.
type MessageQuery struct {
	// Delayed looks among the messages that are not due yet instead. These have
	// the offset -1 and are due at BornAt plus Ext.Delay. They come about in the
	// order in which they are due; one that the provider moves meanwhile may come
	// twice. Needs CapDelay.
	Delayed bool
	// DeadFor looks among the dead letters of that group instead, those that were
	// not redriven. Offsets are those of the dead-letter queue. Needs CapDeadLetter.
	DeadFor string

	// ID is a message id. Copies of a message have the same one.
	ID string
	// Key is a message key. Partitions where the queue puts the key come first.
	Key string
	// From and To are when the messages were stored, or with Delayed are due:
	// From ≤ time < To, to the millisecond. Zero is without a bound.
	From, To time.Time

	// Max is how many messages are returned at most, 1 to 1000, or 0 for 1 with
	// an ID and else [DefaultFind].
	Max int
	// After is the Next of the call before, to go on behind it; empty to begin.
	// The conditions must be the same.
	After string
}

// MessagePage is what one call of FindMessages has found.
type MessagePage struct {
	// Messages are in the order of their partitions and offsets. They belong to
	// the caller and cannot be settled.
	Messages []*Delivery
	// Next is for the next call, empty when all was looked at. There may be one
	// although no message was found: a call does a bounded amount of work.
	Next string
}

// Complete returns the query with the default filled in. What contradicts itself
// or is out of range gives 1418. Drivers call it.
func (q MessageQuery) Complete(op, queue string) (MessageQuery, error) {
	bad := func(format string, args ...any) (MessageQuery, error) {
		return MessageQuery{}, NewError(CodeBadParameter, op, queue, format, args...)
	}
	if q.Max == 0 {
		q.Max = DefaultFind
		if q.ID != "" {
			q.Max = 1
		}
	}
	switch {
	case q.Max < 1 || q.Max > maxFind:
		return bad("%d messages are not in 1 to %d; go on with Next for more", q.Max, maxFind)
	case q.Delayed && q.DeadFor != "":
		return bad("delayed messages and dead letters cannot be looked for at once")
	case !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To):
		return bad("nothing lies from %v to %v; the first must be before the second", q.From, q.To)
	}
	return q, nil
}

// Where returns the queue in which the messages lie that are looked for in a
// queue: itself, or the dead-letter queue of DeadFor. Drivers call it.
func (q MessageQuery) Where(queue string) string {
	if q.DeadFor == "" {
		return queue
	}
	return DeadLetterQueue(queue, q.DeadFor)
}
