package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Resolve returns the offset that a position of a partition stands for,
// clamped to the nearest end (R099).
func (q *Queue) Resolve(partition int32, at om.Position) (int64, error) {
	p, err := q.partition("seek", partition)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	begin, end := p.begin, p.end
	q.mu.Unlock()
	if at.IsBegin() {
		return begin, nil
	}
	offset := end
	if n, ok := at.Offset(); ok {
		offset = n
	} else if t, ok := at.Time(); ok {
		if offset, err = q.b.store.FindTime(p.log, t); err != nil {
			return 0, storeError(err, "seek", q.name)
		}
	}
	return min(max(offset, begin), end), nil
}

func (q *Queue) resolveAll(at om.Position) ([]int64, error) {
	out := make([]int64, len(q.list()))
	for i := range out {
		var err error
		if out[i], err = q.Resolve(int32(i), at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Read returns up to limit messages of a partition from an offset on, without
// leases, and does not wait: there may be none. An offset that is not stored any
// more stands for the oldest.
func (q *Queue) Read(ctx context.Context, partition int32, offset int64, limit int) ([]Span, error) {
	p, err := q.partition("read", partition)
	if err != nil {
		return nil, err
	}
	if limit < 1 || limit > MaxReceive {
		return nil, om.NewError(om.CodeBadParameter, "read", q.name, "%d messages are not in 1 to %d", limit, MaxReceive)
	}
	for {
		begin, end, _, err := q.bounds(ctx, p)
		if err != nil {
			return nil, err
		}
		offset = max(offset, begin)
		spans, err := q.readSpans(p, partition, offset, min(end, offset+int64(limit)))
		if errors.Is(err, store.ErrDropped) {
			continue // retention was faster; begin has moved
		}
		return spans, storeError(err, "read", q.name)
	}
}

// Await blocks until a partition holds a message with at least that offset.
func (q *Queue) Await(ctx context.Context, partition int32, offset int64) error {
	p, err := q.partition("read", partition)
	if err != nil {
		return err
	}
	for {
		_, end, grown, err := q.bounds(ctx, p)
		if err != nil || offset < end {
			return err
		}
		select {
		case <-grown:
		case <-q.b.closed:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *Queue) bounds(ctx context.Context, p *partition) (begin, end int64, grown <-chan struct{}, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return 0, 0, nil, notFound("read", q.name)
	}
	return p.begin, p.end, q.grows(), nil
}

// grows returns what is closed when the queue grows; Queue.mu is held.
func (q *Queue) grows() <-chan struct{} {
	if q.grown == nil {
		q.grown = make(chan struct{})
	}
	return q.grown
}

// wakeReaders wakes what waits for the queue to grow; Queue.mu is held.
func (q *Queue) wakeReaders() {
	if q.grown != nil {
		close(q.grown)
		q.grown = nil
	}
}

func (q *Queue) readSpans(p *partition, partition int32, at, to int64) (spans []Span, err error) {
	var r recordReader
	for at < to && r.bytes < receiveBytes {
		s, err := r.span(q.b.store, p.log, at, to)
		if err != nil {
			return nil, err
		}
		s.Queue, s.Partition = q.name, partition
		spans = append(spans, s)
		at = s.Base + int64(s.Count)
	}
	return spans, nil
}

// SeekGroup moves a group to a position in all partitions; it makes the group
// when the queue does not know it. Its leases become stale.
func (b *Broker) SeekGroup(ctx context.Context, queue, group string, at om.Position) error {
	q, err := b.Queue("seek", queue)
	if err != nil {
		return err
	}
	if err := cmp.Or(checkName("seek", "group", group), q.reserved("seek", group)); err != nil {
		return err
	}
	cursors, err := q.resolveAll(at)
	if err != nil {
		return err
	}
	return b.submit(ctx, &seekGroup{queue: q, name: group, cursors: cursors})
}

// DeleteGroup forgets a group; its receivers end.
func (b *Broker) DeleteGroup(ctx context.Context, queue, group string) error {
	q, err := b.Queue("delete group", queue)
	if err != nil {
		return err
	}
	if err := q.reserved("delete group", group); err != nil {
		return err
	}
	return b.submit(ctx, &deleteGroup{q, group})
}

// Groups describes the groups of the queue, sorted by name.
func (q *Queue) Groups() []om.GroupInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]om.GroupInfo, 0, len(q.groups))
	for _, g := range q.groups {
		out = append(out, g.info())
	}
	slices.SortFunc(out, func(a, b om.GroupInfo) int { return strings.Compare(a.Group, b.Group) })
	return out
}

func (g *group) info() om.GroupInfo {
	info := om.GroupInfo{Queue: g.queue.name, Group: g.name, Consumers: len(g.receivers), Redelivered: g.redelivered.total}
	for i, p := range g.parts {
		lag := p.lag(g.queue.list()[i])
		info.Partitions = append(info.Partitions, om.GroupPartition{Partition: int32(i), Cursor: p.cursor, Lag: lag, InFlight: p.inFlight - p.waiting})
		info.Lag += lag
		info.InFlight += p.inFlight - p.waiting
		info.Lost += p.lost
		info.Expired += p.expired
	}
	for _, l := range g.ends {
		if l.receiver != nil && (info.OldestLease.IsZero() || l.ends.Before(info.OldestLease)) {
			info.OldestLease = l.ends
		}
	}
	g.assigned.describe(&info)
	return info
}
