package memory

import (
	"context"
	"maps"
	"slices"
	"sort"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// resolve returns the offset that a position stands for, clamped to the
// nearest end (R099).
func (p *partition) resolve(at om.Position) int64 {
	switch {
	case at.IsBegin():
		return p.begin
	case at.IsEnd():
		return p.end()
	}
	if t, ok := at.Time(); ok {
		t = t.Truncate(time.Millisecond)
		i := sort.Search(len(p.log), func(i int) bool { return !p.log[i].storedAt.Before(t) })
		return p.begin + int64(i)
	}
	offset, _ := at.Offset()
	return min(max(offset, p.begin), p.end())
}

// first returns the offset of the first message from an offset on that may be
// delivered, and whether there is one.
func (p *partition) first(offset int64, now time.Time) (int64, bool) {
	for at := max(offset, p.begin); at < p.end(); at++ {
		if p.message(at).shown(now) {
			return at, true
		}
	}
	return 0, false
}

// streamed returns a queue and its partition; the system is locked.
func (c *conn) streamed(op, name string, n int32) (*queue, *partition, error) {
	if !c.s.caps.Has(om.CapSeek) {
		if err := c.s.need(om.CapStream, op, name); err != nil {
			return nil, nil, err
		}
	}
	q, err := c.s.queue(op, name)
	if err != nil {
		return nil, nil, err
	}
	p, err := q.partition(op, n)
	return q, p, err
}

func (c *conn) Resolve(ctx context.Context, name string, n int32, at om.Position) (int64, error) {
	if err := c.begin(ctx, "", "resolve", name); err != nil {
		return 0, err
	}
	defer c.s.mu.Unlock()
	_, p, err := c.streamed("resolve", name, n)
	if err != nil {
		return 0, err
	}
	return p.resolve(at), nil
}

func (c *conn) ReadAt(ctx context.Context, name string, n int32, offset int64, max int) (got []spi.Received, err error) {
	const op = "read"
	if err := c.begin(ctx, "", op, name); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	q, p, err := c.streamed(op, name, n)
	if err != nil {
		return nil, err
	}
	if max < 1 {
		return nil, om.NewError(om.CodeBadParameter, op, name, "%d messages cannot be read; ask for 1 at least", max)
	}
	now := time.Now()
	for at, ok := p.first(offset, now); ok && len(got) < max; at, ok = p.first(at+1, now) {
		got = append(got, spi.Received{Message: q.deliver(p.message(at), name, n, 0), Partition: n, Offset: at})
	}
	return got, nil
}

func (c *conn) Await(ctx context.Context, name string, n int32, offset int64) error {
	const op = "read"
	var failed error
	err := c.s.enter(ctx, &c.life, op, name, func() bool {
		var p *partition
		if _, p, failed = c.streamed(op, name, n); failed != nil {
			return true
		}
		_, ok := p.first(offset, time.Now())
		return ok
	})
	if err != nil {
		return err
	}
	c.s.mu.Unlock()
	return failed
}

func (c *conn) SeekGroup(ctx context.Context, name, group string, p om.Position) error {
	q, err := c.beginQueue(ctx, om.CapSeek, "seek", name)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	g, err := q.group("seek", group, p)
	if err != nil {
		return err
	}
	g.seek(p)
	return nil
}

func (c *conn) Partitions(ctx context.Context, name string) (out []om.PartitionInfo, err error) {
	q, err := c.beginQueue(ctx, om.CapMetadata, "list partitions", name)
	if err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	for i, p := range q.parts {
		out = append(out, om.PartitionInfo{Queue: q.config.Name, Partition: int32(i), Begin: p.begin, End: p.end(), Messages: p.end() - p.begin})
	}
	return out, nil
}

func (c *conn) Groups(ctx context.Context, name string) (out []om.GroupInfo, err error) {
	q, err := c.beginQueue(ctx, om.CapMetadata, "list groups", name)
	if err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	for _, group := range slices.Sorted(maps.Keys(q.groups)) {
		out = append(out, q.groups[group].info(time.Now()))
	}
	return out, nil
}
