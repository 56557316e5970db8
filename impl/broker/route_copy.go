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

// work is what the goroutine of a route knows. All of it is made again from the
// source when the route begins or has been changed.
type work struct {
	generation uint32
	target     *Queue
	selector   *selector
	operators  []operatorRecord
	next       []int64 // by partition of the source: what has not been looked at
	seen       *seen
	joins      *joins
}

// run copies what the source gets until ctx ends.
func (r *route) run(ctx context.Context) {
	var failed error
	for ctx.Err() == nil {
		worked, grown, err := r.step(ctx)
		switch {
		case err == nil && worked:
			failed = nil
			continue
		case err == nil:
			r.work.joins.wait(ctx, grown)
			continue
		case failed == nil && ctx.Err() == nil:
			r.b.log.Error("a route cannot copy; it is tried again every second", "route", r.record.Name, "error", err)
		}
		failed = err
		r.work = work{} // what is not committed is done again
		select {
		case <-time.After(routeRetry):
		case <-ctx.Done():
		}
	}
}

// step makes one step, or returns what is closed when there may be one.
func (r *route) step(ctx context.Context) (worked bool, grown <-chan struct{}, err error) {
	if err := r.begin(); err != nil {
		return false, nil, err
	}
	s, grown := r.next()
	if s == nil {
		return false, grown, nil
	}
	err = s.fill()
	if errors.Is(err, store.ErrDropped) {
		r.work = work{}
		return true, nil, nil // retention was faster; the next step begins behind it
	}
	if err == nil {
		err = r.commit(ctx, s)
	}
	return err == nil, nil, err
}

// begin takes up the route when it is new or has been changed.
func (r *route) begin() error {
	r.source.mu.Lock()
	if r.work.next != nil && r.work.generation == r.generation {
		r.source.mu.Unlock()
		return nil
	}
	w := work{generation: r.generation, target: r.target, selector: r.selector, operators: r.record.Operators}
	for _, h := range r.progress {
		w.next = append(w.next, h.cursor)
	}
	r.source.mu.Unlock()
	w.seen, w.joins = newSeen(w.operators), newJoins(w.operators)
	if err := r.recall(&w); err != nil {
		return err
	}
	r.work = w
	return nil
}

// step is what a route copies at once, and the command that does so: the copies
// and the progress are one commit, so that each message is copied once whatever
// happens.
type step struct {
	pending
	*work
	route     *route
	partition int // -1 for a step that only gives up joining
	from, to  int64
	skip      ranges // done before
	copies    []copied
	handled   []place // offsets that are done with this step
	open      ranges  // of [from, to), what waits to be joined
	divided   int     // partitions of the target when the copies were made
	made      bool    // the route was not changed meanwhile
}

// copied is a chunk on its way into a partition of the target.
type copied struct {
	partition int
	count     int
	chunk     []byte
}

// place is where a message lies in the source.
type place struct {
	partition int
	offset    int64
}

// next returns the next step, or what is closed when there may be one.
func (r *route) next() (*step, <-chan struct{}) {
	q := r.source
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.work.joins.late() {
		return &step{work: &r.work, route: r, partition: -1}, nil
	}
	for len(r.work.next) < len(r.progress) {
		r.work.next = append(r.work.next, 0) // of a partition that was added
	}
	for i, p := range q.list() {
		end := min(p.end, r.cutOf(i))
		if from := max(r.work.next[i], p.begin); from < end {
			return &step{
				work: &r.work, route: r, partition: i, from: r.work.next[i], to: end,
				skip: r.progress[i].done.within(from, end),
			}, nil
		}
	}
	return nil, q.grows()
}

// commit hands a step over and waits until it is durable.
func (r *route) commit(ctx context.Context, s *step) error {
	for i := range s.copies {
		s.bytes += len(s.copies[i].chunk)
	}
	if err := r.b.pending.Acquire(ctx, int64(s.bytes)); err != nil {
		return err
	}
	defer r.b.pending.Release(int64(s.bytes))
	s.cmd, s.done = s, make(chan error, 1)
	r.b.commits.enqueue(&s.pending)
	if err := <-s.done; err != nil { // not ctx: the memory is in use until then
		return err
	}
	if !s.made {
		r.work = work{}
	} else if s.partition >= 0 {
		r.work.next[s.partition] = s.to
	}
	return nil
}

// fill reads the source and makes the copies.
func (s *step) fill() error {
	c := copier{step: s}
	s.divided = s.target.Partitions()
	if s.partition < 0 {
		return c.giveUp()
	}
	p := s.route.source.list()[s.partition]
	s.route.source.mu.Lock()
	at := max(s.from, p.begin)
	s.route.source.mu.Unlock()
	var reader recordReader
	for first := true; at < s.to && (first || reader.bytes < routeBytes); first = false {
		if done, end := s.skip.at(at, s.to); done != 0 {
			at = end
			continue
		}
		_, end := s.skip.at(at, s.to)
		span, err := reader.span(s.route.b.store, p.log, at, end)
		if err == nil {
			err = c.add(span)
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
	if r.removed || r.generation != s.generation {
		return nil
	}
	t := s.target
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deleted {
		return notFound("route", t.name)
	}
	if s.divided != t.Partitions() {
		return nil // the copies are made anew
	}
	for _, c := range s.copies {
		t.append(tx, t.list()[c.partition], c.count, c.chunk)
	}
	if s.partition >= 0 {
		s.handle(&r.progress[s.partition])
	}
	for _, at := range s.handled {
		r.progress[at.partition].add(at.offset, at.offset+1)
	}
	r.putCursors(tx)
	s.made = true
	return nil
}

// handle notes that [from, to) is done, except what waits to be joined.
func (s *step) handle(h *handled) {
	at := s.from
	for _, o := range s.open {
		h.add(at, o.From)
		at = o.To
	}
	h.add(at, s.to)
}
