package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Looking for messages reads logs from where the last call has ended, at most
// receiveBytes at a time. An id tells the chunk's header whether it is worth going
// through, a key the order of the partitions, times where to begin and to end.

// FindMessages returns messages of a queue without leases, as spans, and from
// where the next call goes on: see om.MessageQuery.
func (b *Broker) FindMessages(ctx context.Context, queue string, want om.MessageQuery) (spans []Span, next string, err error) {
	const op = "find"
	q, err := b.Queue(op, queue)
	if err != nil {
		return nil, "", err
	}
	if want, err = want.Complete(op, q.name); err != nil {
		return nil, "", err
	}
	f := &finder{q: q, want: want, from: millis(want.From, 0), to: millis(want.To, math.MaxInt64)}
	if want.ID != "" {
		if f.producer, f.sequence, err = chunk.ParseID(want.ID); err != nil {
			return nil, "", nil // no message of this broker has such an id
		}
	}
	run := f.run
	switch {
	case want.Delayed:
		run = f.runDelayed
	case want.DeadFor != "":
		if err := f.open(op, want.DeadFor); err != nil || f.q == nil {
			return nil, "", err // nothing has died yet
		}
	}
	if next, err = run(ctx); err != nil {
		return nil, "", storeError(err, op, q.name)
	}
	return f.spans, next, cutSparse(f.spans)
}

// millis is a bound in milliseconds since 1970 UTC: what is stored in that
// millisecond is at or after it.
func millis(t time.Time, none int64) int64 {
	if t.IsZero() {
		return none
	}
	return t.UnixMilli()
}

// finder is one call of FindMessages.
type finder struct {
	q                  *Queue
	want               om.MessageQuery
	from, to           int64 // milliseconds since 1970 UTC
	producer, sequence uint64
	reader             recordReader
	spans              []Span
	found              int
	read               int // bytes, besides those of reader
}

// open has the finder look into the dead-letter queue of a group.
func (f *finder) open(op, group string) error {
	q := f.q
	if !q.buries() {
		return om.NewError(om.CodeBadParameter, op, q.name, "it is a dead-letter queue and has no dead letters itself; name the queue that they came from")
	}
	q.mu.Lock()
	known := q.groups[group] != nil
	q.mu.Unlock()
	if !known {
		return noGroup(op, q.name, group)
	}
	var err error
	if f.q, err = q.b.Queue(op, om.DeadLetterQueue(q.name, group)); errors.Is(err, om.CodeDestinationNotFound) {
		err = nil
	}
	return err
}

func (f *finder) full() bool {
	return f.found == f.want.Max || f.reader.bytes+f.read >= receiveBytes
}

// spot is where a call goes on: in the partition that comes i-th when the queue
// had so many, at an offset.
type spot struct {
	partitions, i int
	offset        int64 // -1 for where the partition begins
}

func (s spot) text() string { return fmt.Sprintf("%d/%d/%d", s.partitions, s.i, s.offset) }

func (f *finder) parse() (s spot, err error) {
	if f.want.After == "" {
		return spot{f.q.Partitions(), 0, -1}, nil
	}
	n, err := fmt.Sscanf(f.want.After, "%d/%d/%d", &s.partitions, &s.i, &s.offset)
	if err != nil || n != 3 || s.text() != f.want.After || s.partitions > f.q.Partitions() || s.i < 0 || s.i >= s.partitions || s.offset < -1 {
		return s, f.badAfter()
	}
	return s, nil
}

func (f *finder) badAfter() error {
	return om.NewError(om.CodeBadParameter, "find", f.q.name, "%.60q is not where a call has ended; use the Next of one for the same queue", f.want.After)
}

// run goes through the partitions.
func (f *finder) run(ctx context.Context) (next string, err error) {
	at, err := f.parse()
	if err != nil {
		return "", err
	}
	order := f.order(at.partitions)
	for ; at.i < len(order); at.i, at.offset = at.i+1, -1 {
		for {
			if from, to := f.stretch(order[at.i], at.offset); from >= to {
				break
			}
			if f.full() {
				return at.text(), nil
			}
			if err := ctx.Err(); err != nil {
				return "", err
			}
			if at.offset, err = f.step(order[at.i], at.offset); err != nil {
				return "", err
			}
			if at.offset < 0 {
				break
			}
		}
	}
	return "", nil
}

// order returns the partitions in the order in which they are looked at: those
// first where the queue puts the key, or has put it before it grew.
func (f *finder) order(partitions int) (order []int) {
	add := func(p int) {
		if !slices.Contains(order, p) {
			order = append(order, p)
		}
	}
	if f.want.Key != "" {
		add(int(chunk.Partition(f.want.Key, partitions)))
		f.q.mu.Lock()
		for _, x := range slices.Backward(f.q.record.Growth) {
			if len(x.Ends) < partitions {
				add(int(chunk.Partition(f.want.Key, len(x.Ends))))
			}
		}
		f.q.mu.Unlock()
	}
	for p := range partitions {
		add(p)
	}
	return order
}

// step looks at the chunk at an offset of a partition, -1 for the first, and
// returns the offset of the next one, -1 when there is none.
func (f *finder) step(partition int, at int64) (int64, error) {
	if at < 0 && f.from > 0 {
		var err error
		if at, err = f.q.Resolve(int32(partition), om.AtTime(f.want.From)); err != nil {
			return 0, err
		}
	}
	at, to := f.stretch(partition, at)
	if at >= to {
		return -1, nil
	}
	s, err := f.reader.span(f.q.b.store, f.q.list()[partition].log, at, to)
	if errors.Is(err, store.ErrDropped) {
		return at, nil // retention was faster; the begin has moved
	}
	if err != nil || s.StoredAt >= f.to {
		return -1, err
	}
	s.Queue, s.Partition = f.q.name, int32(partition)
	end, err := f.choose(s)
	return s.Base + int64(end), err
}

// stretch returns the offsets to look at from an offset on: what is stored, and
// of dead letters what was not redriven.
func (f *finder) stretch(partition int, at int64) (from, to int64) {
	q := f.q
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.list()[partition]
	from, to = max(at, p.begin), p.end
	g := q.groups[redriveGroup]
	if f.want.DeadFor == "" || g == nil {
		return from, to
	}
	done := g.parts[partition]
	for from = max(from, done.cursor); from < to; {
		settled, end := done.settled.at(from, to)
		if settled == 0 {
			return from, end
		}
		from = end
	}
	return from, to
}

// choose takes what matches of a span and returns how many of its messages were
// looked at.
func (f *finder) choose(s Span) (looked int, err error) {
	h := s.Header
	if f.want.ID != "" && (h.Producer != f.producer || f.sequence-h.Sequence >= uint64(h.Count)) || f.want.Key != "" && h.Flags&chunk.HasKey == 0 {
		return s.Count, nil
	}
	var v chunk.View
	w := chunk.Walk(s.Chunk, h, s.Skip)
	for ; looked < s.Count && f.found < f.want.Max && w.Next(&v); looked++ {
		if f.want.ID != "" && h.Sequence+uint64(v.Number) != f.sequence || f.want.Key != "" && v.MessageKey != f.want.Key {
			continue
		}
		f.take(s, v.Number)
	}
	return looked, w.Err()
}

// take adds a message of a span to what was found.
func (f *finder) take(s Span, number int) {
	f.found++
	if n := len(f.spans); n > 0 {
		last := &f.spans[n-1]
		if &last.Chunk[0] == &s.Chunk[0] && last.Skip+last.Count == number {
			last.Count++
			return
		}
	}
	s.Base, s.Skip, s.Count = s.Base+int64(number-s.Skip), number, 1
	f.spans = append(f.spans, s)
}
