package scan

import (
	"context"
	"errors"
	"iter"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Range is what is read of a queue.
type Range struct {
	Queue     string
	Partition int32       // -1 for all, one after the other
	From      om.Position // where each partition begins
	To        om.Position // before which each ends; the zero Position is the end
	HasTo     bool
}

// stretch is what is read of a partition.
type stretch struct {
	partition int32
	cursor    om.Cursor
	from, to  int64
}

// quiet is how long the next message of a stretch may take: offsets have gaps
// in some systems, and behind the last message nothing comes.
const quiet = 5 * time.Second

// Read iterates over the messages that lie in the range now, each partition in
// ascending order. progress is told how many offsets of how many were passed; it
// may be nil. An error comes last. The system needs the capabilities stream and
// metadata.
func Read(ctx context.Context, ap om.AccessPoint, r Range, progress func(done, total int64)) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		stretches, err := open(ctx, ap, r)
		if err != nil {
			yield(nil, err)
			return
		}
		var done, total int64
		for _, s := range stretches {
			total += s.to - s.from
		}
		for _, s := range stretches {
			for d, err := range s.read(ctx) {
				if err == nil && progress != nil {
					progress(done+d.Offset+1-s.from, total)
				}
				if !yield(d, err) || err != nil {
					return
				}
			}
			done += s.to - s.from
		}
	}
}

func open(ctx context.Context, ap om.AccessPoint, r Range) (all []stretch, err error) {
	stream, err := ap.NewStreamConsumer(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := ap.Resources().Partitions(ctx, r.Queue)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if r.Partition >= 0 && p.Partition != r.Partition {
			continue
		}
		s := stretch{partition: p.Partition, to: p.End}
		if s.cursor, s.from, err = at(ctx, stream, p, r.From); err != nil {
			return nil, err
		}
		if r.HasTo {
			_, to, err := at(ctx, stream, p, r.To)
			if err != nil {
				return nil, err
			}
			s.to = min(s.to, to)
		}
		if s.from < s.to {
			all = append(all, s)
		}
	}
	if r.Partition >= int32(len(parts)) && len(parts) > 0 {
		return nil, om.NewError(om.CodeBadParameter, "read", r.Queue, "there is no partition %d; the queue has %d, from 0", r.Partition, len(parts))
	}
	return all, nil
}

func at(ctx context.Context, stream om.StreamConsumer, p om.PartitionInfo, pos om.Position) (om.Cursor, int64, error) {
	c, err := stream.Open(ctx, p.Queue, p.Partition, pos)
	if err != nil {
		return nil, 0, err
	}
	offset, _ := c.Position().Offset()
	return c, offset, nil
}

func (s stretch) read(ctx context.Context) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		waiting, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		silence := time.AfterFunc(quiet, func() { cancel(errQuiet) })
		defer silence.Stop()
		for d, err := range s.cursor.Forward(waiting) {
			if errors.Is(context.Cause(waiting), errQuiet) {
				return
			}
			silence.Stop()
			if err != nil {
				yield(nil, err)
				return
			}
			if d.Offset >= s.to || !yield(d, nil) || d.Offset+1 >= s.to {
				return
			}
			silence.Reset(quiet)
		}
	}
}

var errQuiet = errors.New("no message for a while")
