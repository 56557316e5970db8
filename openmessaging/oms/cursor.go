package oms

import (
	"context"
	"iter"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// cursor implements openmessaging.Cursor. It reads ahead: what it has read and
// not handed out stays for the next call in the same direction.
type cursor struct {
	c         *streamConsumer
	queue     string
	partition int32
	offset    int64 // of the message that Forward hands out next

	rest  []om.Delivery // ascending; the next ones, or those before when back
	back  bool
	ahead int // messages to be read at once
}

const (
	// firstAhead is how many messages a cursor reads first. Each time it may be
	// twice as many, as long as they take no more than about aheadBytes: a
	// provider may have to read much for little.
	firstAhead = 16
	maxAhead   = 8192
	aheadBytes = 4 << 20
	bodyless   = 512 // about what a message takes without its body
)

func (k *cursor) Position() om.Position { return om.AtOffset(k.offset) }

func (k *cursor) Forward(ctx context.Context) iter.Seq2[*om.Delivery, error] {
	return k.iterate(ctx, false, func(ctx context.Context, yield func(*om.Delivery, error) bool) error {
		for {
			for len(k.rest) > 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
				d := &k.rest[0]
				k.rest, k.offset = k.rest[1:], d.Offset+1
				if !yield(d, nil) {
					return nil
				}
			}
			got, err := readWaiting(ctx, k.c.streamer, k.queue, k.partition, k.offset, k.ahead)
			if err != nil {
				return err
			}
			k.rest = unsettled(got)
			k.adapt(size(k.rest))
		}
	})
}

func (k *cursor) Backward(ctx context.Context) iter.Seq2[*om.Delivery, error] {
	return k.iterate(ctx, true, func(ctx context.Context, yield func(*om.Delivery, error) bool) error {
		begin, err := k.c.streamer.Resolve(ctx, k.queue, k.partition, om.Begin())
		if err != nil {
			return err
		}
		high := k.offset
		if len(k.rest) > 0 {
			high = k.rest[0].Offset
		}
		for {
			for n := len(k.rest); n > 0; n = len(k.rest) {
				if err := ctx.Err(); err != nil {
					return err
				}
				d := &k.rest[n-1]
				k.rest, k.offset = k.rest[:n-1], d.Offset
				if !yield(d, nil) {
					return nil
				}
			}
			if high <= begin {
				return nil
			}
			if k.rest, high, err = k.window(ctx, max(begin, high-int64(k.ahead)), high); err != nil {
				return err
			}
		}
	})
}

// iterate runs an iteration in one direction and hands out the error that it
// ends with.
func (k *cursor) iterate(ctx context.Context, back bool, run func(context.Context, func(*om.Delivery, error) bool) error) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		within, release, err := k.c.within(ctx, "read stream", k.queue)
		if err != nil {
			yield(nil, err)
			return
		}
		defer release()
		if back != k.back {
			k.rest, k.back = nil, back
		}
		if err := run(within, yield); err != nil {
			yield(nil, k.c.failure(ctx, err, "read stream", k.queue))
		}
	}
}

// window returns the messages with low ≤ offset < high, ascending, and low, which
// it moves up when there would be too much. Offsets may have gaps.
func (k *cursor) window(ctx context.Context, low, high int64) (ds []om.Delivery, from int64, err error) {
	bytes := 0
	for at := low; at < high; {
		got, err := k.c.streamer.ReadAt(ctx, k.queue, k.partition, at, int(high-at))
		if err != nil {
			return nil, 0, err
		}
		at = high
		for i := range got {
			if got[i].Offset >= high {
				at = high
				break
			}
			at = got[i].Offset + 1
			ds = append(ds, om.NewDelivery(got[i].Message, got[i].Partition, got[i].Offset, nil))
		}
		if bytes = size(ds); bytes > aheadBytes && at < high {
			k.ahead = max(1, k.ahead/2)
			low = high - max(1, (high-low)/2)
			ds, at = nil, low
		}
	}
	k.adapt(bytes)
	return ds, low, nil
}

// adapt has the next read be as large as it may, after one of so many bytes.
func (k *cursor) adapt(bytes int) {
	if bytes <= aheadBytes/2 {
		k.ahead = min(2*k.ahead, maxAhead)
	}
}

// size is about what deliveries take in memory.
func size(ds []om.Delivery) (bytes int) {
	for i := range ds {
		bytes += bodyless + len(ds[i].Body)
	}
	return bytes
}
