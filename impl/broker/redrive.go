package broker

import (
	"context"
	"errors"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// redriveGroup is the group of a dead-letter queue for which dead letters are
// settled when they are redriven. Nobody else may use it.
const redriveGroup = "$redrive"

// redriveBytes bounds the dead letters that are on their way at once.
const redriveBytes = 4 << 20

// reserved refuses what would change which dead letters count as redriven.
func (q *Queue) reserved(op, group string) error {
	if group == redriveGroup && !q.buries() {
		return om.NewError(om.CodeBadParameter, op, q.name, "the group %s of a dead-letter queue tells what was redriven; use another name", group)
	}
	return nil
}

// Redrive moves dead letters of a group back to the queue: see om.Redrive.
func (b *Broker) Redrive(ctx context.Context, queue, group string, want om.Redrive) ([]om.Redriven, error) {
	const op = "redrive"
	q, err := b.Queue(op, queue)
	if err != nil {
		return nil, err
	}
	if !q.buries() {
		return nil, om.NewError(om.CodeBadParameter, op, q.name, "it is a dead-letter queue and has no dead letters itself; name the queue that they came from")
	}
	if want, err = want.Complete(op, q.name); err != nil {
		return nil, err
	}
	s, err := newSelector(op, q.name, want.Filter)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	g := q.groups[group]
	q.mu.Unlock()
	if g == nil {
		return nil, noGroup(op, q.name, group)
	}
	r := &redriver{b: b, target: g, want: want, selector: s, missing: make(map[string]bool)}
	for _, id := range want.IDs {
		r.missing[id] = true
	}
	dlq, err := b.Queue(op, om.JoinQueueName(q.record.Namespace, om.DeadLetterQueue(q.record.Name, group)))
	if errors.Is(err, om.CodeDestinationNotFound) {
		return r.finish(), nil // nothing has died yet
	}
	if err == nil {
		err = r.open(ctx, dlq)
	}
	if err == nil {
		err = r.run(ctx)
	}
	if err != nil {
		return nil, storeError(err, op, q.name)
	}
	return r.finish(), nil
}

// redriver is one call of Redrive.
type redriver struct {
	b        *Broker
	target   *group // that gets the messages
	want     om.Redrive
	selector *selector
	missing  map[string]bool // ids that were not found so far
	dead     *group          // of the dead-letter queue; nil before the first redrive of all
	dlq      *Queue
	end      int64 // of the dead-letter queue when this began: what dies again is not for this call
	out      []om.Redriven
	moves    []*redrive // those on their way, the last of out
	bytes    int
}

// open finds the group that tells what was redriven; unless nothing is to be
// moved it is made when it is not there.
func (r *redriver) open(ctx context.Context, dlq *Queue) error {
	r.dlq = dlq
	for {
		dlq.mu.Lock()
		r.dead, r.end = dlq.groups[redriveGroup], dlq.list()[0].end
		dlq.mu.Unlock()
		if r.dead != nil || r.want.DryRun {
			return nil
		}
		if err := r.b.submit(ctx, &createGroup{queue: dlq, name: redriveGroup, cursors: make([]int64, dlq.Partitions())}); err != nil {
			return err
		}
	}
}

// run goes through the dead letters.
func (r *redriver) run(ctx context.Context) error {
	var reader recordReader
	for at := int64(0); !r.enough(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to, ok := r.next(at)
		if !ok {
			break
		}
		s, err := reader.span(r.b.store, r.dlq.list()[0].log, from, to)
		if errors.Is(err, store.ErrDropped) {
			continue // retention was faster; the begin has moved
		}
		if err == nil {
			err = r.choose(ctx, s)
		}
		if err != nil {
			return err
		}
		at = s.Base + int64(s.Count)
	}
	return r.flush(ctx)
}

// enough reports whether all that was asked for is found.
func (r *redriver) enough() bool {
	return len(r.out) == r.want.Max || len(r.want.IDs) > 0 && len(r.missing) == 0
}

// next returns the next run of dead letters that were not redriven.
func (r *redriver) next(at int64) (from, to int64, ok bool) {
	r.dlq.mu.Lock()
	defer r.dlq.mu.Unlock()
	at = max(at, r.dlq.list()[0].begin)
	if r.dead == nil {
		return at, r.end, at < r.end
	}
	done := r.dead.parts[0]
	for at = max(at, done.cursor); at < r.end; {
		settled, end := done.settled.at(at, r.end)
		if settled == 0 {
			return at, end, true
		}
		at = end
	}
	return 0, 0, false
}

// choose redrives what is wanted of a span.
func (r *redriver) choose(ctx context.Context, s Span) error {
	var v chunk.View
	w := chunk.Walk(s.Chunk, s.Header, s.Skip)
	for i := 0; i < s.Count && !r.enough() && w.Next(&v); i++ {
		id := v.MessageID()
		if len(r.want.IDs) > 0 && !r.missing[id] || !matches(&v, [2]*selector{r.selector}) {
			continue
		}
		delete(r.missing, id)
		if err := r.add(ctx, s, v.Number, id); err != nil {
			return err
		}
	}
	return w.Err()
}

// add makes the copy of a dead letter and has it moved.
func (r *redriver) add(ctx context.Context, s Span, number int, id string) error {
	var m [1]om.Message
	if _, err := chunk.Decode(s.Chunk, s.Header, number, m[:]); err != nil {
		return err
	}
	q := r.target.queue
	partition := q.origin(&m[0])
	r.out = append(r.out, om.Redriven{MessageID: id, DeadOffset: s.Base + int64(number-s.Skip), Queue: q.name, Partition: partition, Offset: -1})
	if r.want.DryRun {
		return nil
	}
	unmark(&m[0], r.target.name)
	var b chunk.Builder
	b.Reset(s.Header.Producer, s.Header.Sequence+uint64(number), m[0].BornHost, m[0].Version, m[0].BornAt)
	b.Add(&m[0])
	b.Redriven()
	c := &redrive{
		target: r.target, dead: r.dead, at: r.out[len(r.out)-1].DeadOffset, id: id,
		partition: partition, chunk: b.Finish(), priority: m[0].Ext.Priority != 0,
	}
	r.moves = append(r.moves, c)
	if r.bytes += len(c.chunk); r.bytes < redriveBytes {
		return nil
	}
	return r.flush(ctx)
}

// origin returns the partition where a dead letter lay: its messages of the same
// key are there. One that somebody has sent to the dead-letter queue goes where
// its key belongs.
func (q *Queue) origin(m *om.Message) int32 {
	if n := m.Properties.GetInt64(om.PropertyDeadPartition, -1); n >= 0 && n < int64(len(q.list())) {
		return int32(n)
	}
	return q.PartitionOf(m.Ext.MessageKey)
}

// unmark makes a message of a dead letter again.
func unmark(m *om.Message, group string) {
	for _, name := range []string{
		om.PropertyDeadReason, om.PropertyDeadDeliveries, om.PropertyDeadQueue, om.PropertyDeadGroup, om.PropertyDeadPartition, om.PropertyDeadOffset,
	} {
		delete(m.Properties, name)
	}
	m.Properties[om.PropertyRedriveGroup] = om.String(group)
	m.Ext.ExpireAt = time.Time{}
}

// flush waits for the moves that are on their way.
func (r *redriver) flush(ctx context.Context) error {
	waits := make([]*pending, len(r.moves))
	for i, c := range r.moves {
		waits[i] = &pending{cmd: c, bytes: len(c.chunk), done: make(chan error, 1)}
		r.b.commits.enqueue(waits[i])
	}
	results := r.out[len(r.out)-len(r.moves):]
	for i, w := range waits {
		select {
		case err := <-w.done:
			if results[i].Err = err; err == nil {
				results[i].Offset = r.moves[i].base
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.moves, r.bytes = r.moves[:0], 0
	return nil
}

// finish returns the results, with those of ids that were not found.
func (r *redriver) finish() []om.Redriven {
	q := r.target.queue
	for _, id := range r.want.IDs {
		if r.missing[id] {
			delete(r.missing, id)
			r.out = append(r.out, om.Redriven{MessageID: id, DeadOffset: -1, Queue: q.name, Partition: -1, Offset: -1, Err: notDead(q.name, id)})
		}
	}
	return r.out
}

func notDead(queue, id string) error {
	return om.NewError(om.CodeMessageNotFound, "redrive", queue, "no dead letter of the group has the id %q; perhaps it was redriven already", id)
}

// redrive is the command: the copy and the settling of the dead letter are one
// commit, so that each goes back once.
type redrive struct {
	target, dead *group
	at           int64 // of the dead letter
	id           string
	partition    int32
	chunk        []byte
	priority     bool

	base int64 // the answer
}

func (c *redrive) apply(_ *Broker, tx *transaction) error {
	q, dlq := c.target.queue, c.dead.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	dlq.mu.Lock()
	defer dlq.mu.Unlock()
	done := c.dead.parts[0]
	switch {
	case q.deleted:
		return notFound("redrive", q.name)
	case c.target.removed:
		return noGroup("redrive", q.name, c.target.name)
	case c.dead.removed || done.isSettled(c.at, c.at+1):
		return notDead(q.name, c.id)
	case len(done.settled) >= maxHoles && !done.isSettled(c.at-1, c.at):
		return om.NewError(om.CodeBadRequest, "redrive", q.name,
			"between those that were redriven too many dead letters are left; redrive the oldest first, without a filter")
	}
	if c.priority {
		q.prioritize(tx)
	}
	c.partition = int32(q.home(int(c.partition), c.chunk))
	c.base = q.append(tx, q.list()[c.partition], 1, c.chunk)
	done.settle(c.at, c.at+1)
	tx.touch(done)
	return nil
}
