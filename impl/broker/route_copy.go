package broker

import (
	"context"
	"errors"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// routeBytes ends a step of a route that has that much.
const routeBytes = 1 << 20

// routeRetry is the pause after a step that failed.
const routeRetry = time.Second

// run copies what the source gets until ctx ends.
func (r *route) run(ctx context.Context) {
	var failed error
	for ctx.Err() == nil {
		step, grown := r.next()
		if step == nil {
			select {
			case <-grown:
			case <-ctx.Done():
			}
			continue
		}
		err := r.copy(ctx, step)
		if err == nil {
			failed = nil
			continue
		}
		if failed == nil && ctx.Err() == nil {
			r.b.log.Error("a route cannot copy; it is tried again every second", "route", r.record.Name, "error", err)
		}
		failed = err
		select {
		case <-time.After(routeRetry):
		case <-ctx.Done():
		}
	}
}

// step is what a route copies at once, and the command that does so: the copies
// and the cursor are one commit, so that each message is copied once whatever
// happens.
type step struct {
	pending
	route      *route
	generation uint32
	partition  int
	cursor     int64 // before the step
	from, to   int64
	target     *Queue
	selector   *selector
	operators  []operatorRecord
	copies     []copied
	fresh      []seenValue // what the route has seen with this step
	made       bool        // the route was not changed meanwhile
}

// copied is a chunk on its way into a partition of the target.
type copied struct {
	partition int
	count     int
	chunk     []byte
}

// next returns the next step, or what is closed when there may be one.
func (r *route) next() (*step, <-chan struct{}) {
	q := r.source
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, p := range q.partitions {
		if from := max(r.cursors[i], p.begin); from < p.end {
			return &step{
				route: r, generation: r.generation, partition: i, cursor: r.cursors[i], from: from, to: p.end,
				target: r.target, selector: r.selector, operators: r.record.Operators,
			}, nil
		}
	}
	return nil, q.grows()
}

// copy makes a step and waits until it is durable.
func (r *route) copy(ctx context.Context, s *step) error {
	if r.seen == nil || r.seenGeneration != s.generation {
		if err := r.recall(s); err != nil {
			return err
		}
	}
	if err := s.fill(); err != nil {
		if errors.Is(err, store.ErrDropped) {
			return nil // retention was faster; the next step begins behind it
		}
		return err
	}
	for i := range s.copies {
		s.bytes += len(s.copies[i].chunk)
	}
	if err := r.b.pending.Acquire(ctx, int64(s.bytes)); err != nil {
		return err
	}
	defer r.b.pending.Release(int64(s.bytes))
	s.cmd, s.done = s, make(chan error, 1)
	r.b.commits.enqueue(&s.pending)
	if err := <-s.done; err != nil || !s.made { // not ctx: the memory is in use until then
		return err
	}
	for _, v := range s.fresh {
		r.seen.add(v.of, v.stored)
	}
	return nil
}

// fill reads the source and makes the copies.
func (s *step) fill() error {
	p := s.route.source.partitions[s.partition]
	w := copier{step: s}
	var reader recordReader
	at := s.from
	for at < s.to && (at == s.from || reader.bytes < routeBytes) {
		span, err := reader.span(s.route.b.store, p.log, at, s.to)
		if err == nil {
			err = w.add(span)
		}
		if err != nil {
			return err
		}
		at = span.Base + int64(span.Count)
	}
	s.to = at
	return nil
}

// apply copies. It does nothing when the route was changed meanwhile.
func (s *step) apply(_ *Broker, tx *transaction) error {
	r := s.route
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	if r.removed || r.generation != s.generation || r.cursors[s.partition] != s.cursor {
		return nil
	}
	t := s.target
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deleted {
		return notFound("route", t.name)
	}
	for _, c := range s.copies {
		p := t.partitions[c.partition]
		tx.batch.Append(p.log, p.next, c.count, c.chunk)
		p.next += int64(c.count)
		tx.grow(t, p)
	}
	r.cursors[s.partition] = s.to
	r.putCursors(tx)
	s.made = true
	return nil
}
