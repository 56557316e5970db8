package openmessaging

import (
	"context"
	"iter"
)

// StreamConsumer reads partitions as streams: in order, from any position,
// forwards and backwards, without leases and without settling (R099). Nothing
// that groups get is changed by it. Delayed messages show when they are due,
// those that have expired as long as they are stored. Capability CapStream. All methods may be called concurrently.
type StreamConsumer interface {
	Lifecycle

	// Open returns a cursor that stands at a position of a partition; a
	// position out of range stands for the nearest end. Errors: the
	// destination class for a queue that is not there, 1418 for a partition
	// out of range.
	Open(ctx context.Context, queue string, partition int32, p Position) (Cursor, error)
}

// Cursor is a place in a stream, between two messages. It must be used by one
// goroutine at a time. It needs no closing.
type Cursor interface {
	// Forward iterates over the messages behind the cursor in ascending order
	// and moves it behind each one handed out. It waits for messages to come;
	// ctx ends it. An error comes once and last (G14).
	Forward(ctx context.Context) iter.Seq2[*Delivery, error]

	// Backward iterates over the messages before the cursor in descending
	// order and moves it before each one handed out. It ends at the oldest
	// message.
	Backward(ctx context.Context) iter.Seq2[*Delivery, error]

	// Position returns where the cursor stands, as the offset of the message
	// that Forward would hand out next. It has a text, so that a program can
	// store it, with what it has done with the messages before it, and open a
	// cursor there later, also after restarts of the program or the provider.
	Position() Position
}
