package broker

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Limits of joining.
const (
	MaxJoin      = 1000    // messages in one; CodeBadParameter
	maxOpenParts = 100_000 // that wait for others; the oldest are then copied alone
)

// joins is what a route that joins messages has read and not copied. Only the
// route's goroutine touches it.
type joins struct {
	count  int   // of messages that make one; 0 for a route that does not join
	window int64 // milliseconds
	sets   map[string]*joinSet
	order  []*joinSet // by the time of the first part; also those that are complete
	parts  int
}

// joinSet is the messages of one correlation id.
type joinSet struct {
	id     string
	parts  []place
	since  int64 // when the first was stored
	closed bool
}

func newJoins(operators []operatorRecord) *joins {
	for _, o := range operators {
		if o.Type == string(om.OperatorJoin) {
			return &joins{count: o.Count, window: o.Window, sets: make(map[string]*joinSet)}
		}
	}
	return &joins{}
}

// oldest returns the set that has waited longest, nil when none waits.
func (j *joins) oldest() *joinSet {
	for len(j.order) > 0 && j.order[0].closed {
		j.order = j.order[1:]
	}
	if len(j.order) == 0 {
		return nil
	}
	return j.order[0]
}

// ends is when a set has waited long enough.
func (j *joins) ends(s *joinSet) time.Time { return time.UnixMilli(s.since + j.window) }

// late reports whether a set has waited long enough.
func (j *joins) late() bool {
	s := j.oldest()
	return s != nil && !j.ends(s).After(time.Now())
}

// wait blocks until the source grows, a set has waited long enough, or ctx ends.
func (j *joins) wait(ctx context.Context, grown <-chan struct{}) {
	var late <-chan time.Time
	if s := j.oldest(); s != nil {
		t := time.NewTimer(time.Until(j.ends(s)))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-grown:
	case <-late:
	case <-ctx.Done():
	}
}

func (j *joins) close(s *joinSet) {
	s.closed = true
	delete(j.sets, s.id)
	j.parts -= len(s.parts)
}

// join keeps a message that is to be joined, and copies the joined one when it
// is complete. It reports false for a message that is copied as it is.
func (c *copier) join(v *chunk.View, s Span) (bool, error) {
	j := c.joins
	if j.count == 0 || v.CorrelationID == "" {
		return false, nil
	}
	set := j.sets[v.CorrelationID]
	if set == nil {
		set = &joinSet{id: v.CorrelationID, since: s.StoredAt}
		j.sets[set.id] = set
		j.order = append(j.order, set)
	}
	at := s.Base + int64(v.Number-s.Skip)
	set.parts = append(set.parts, place{c.partition, at})
	j.parts++
	c.open.add(at, at+1)
	switch {
	case len(set.parts) == j.count:
		return true, c.finish(set, true)
	case j.parts > maxOpenParts:
		return true, c.finish(j.oldest(), false)
	}
	return true, nil
}

// giveUp copies the messages of sets that have waited long enough, as they are.
func (c *copier) giveUp() error {
	for c.joins.late() {
		if err := c.finish(c.joins.oldest(), false); err != nil {
			return err
		}
	}
	return nil
}

// finish copies a set: as one message when it is whole and retention has left
// all of it, else each message as it is.
func (c *copier) finish(set *joinSet, whole bool) error {
	c.joins.close(set)
	var spans []Span
	for _, at := range set.parts {
		var reader recordReader
		s, err := reader.span(c.route.b.store, c.route.source.list()[at.partition].log, at.offset, at.offset+1)
		c.handled = append(c.handled, at)
		if errors.Is(err, store.ErrDropped) {
			whole = false
			continue
		}
		if err != nil {
			return err
		}
		spans = append(spans, s)
	}
	if whole {
		return c.joined(spans)
	}
	for _, s := range spans {
		var m [1]om.Message
		if _, err := chunk.Decode(s.Chunk, s.Header, s.Skip, m[:]); err != nil {
			return err
		}
		if err := c.copyRuns(s, []chunk.Run{{Skip: s.Skip, Count: 1}}, []int32{c.choose(&m[0])}); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) choose(m *om.Message) int32 {
	if m.Ext.MessageKey != "" {
		return c.target.PartitionOf(m.Ext.MessageKey)
	}
	return c.target.NextPartition()
}

// joined puts messages together: header of the first, properties of all, and as
// body a MessagePack array of the bodies.
func (c *copier) joined(spans []Span) error {
	ms := make([]om.Message, len(spans))
	bodies := make([][]byte, len(spans))
	for i, s := range spans {
		if _, err := chunk.Decode(s.Chunk, s.Header, s.Skip, ms[i:i+1]); err != nil {
			return err
		}
		bodies[i] = ms[i].Body
		maps.Copy(ms[0].Properties, ms[i].Properties)
	}
	first := &ms[0]
	var err error
	if first.Body, err = msgpack.Marshal(bodies); err != nil {
		return err
	}
	for _, o := range c.operators {
		o.change(first.Properties)
	}
	var b chunk.Builder
	b.Reset(spans[0].Header.Producer, spans[0].Header.Sequence+uint64(spans[0].Skip), first.BornHost, first.Version, first.BornAt)
	b.Add(first)
	c.put(c.choose(first), 1, b.Finish())
	return nil
}

func checkJoin(op, route string, o om.Operator, before []operatorRecord) error {
	bad := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, op, route, format, args...)
	}
	switch {
	case o.Count < 2 || o.Count > MaxJoin:
		return bad("joining %d messages is not in 2 to %d", o.Count, MaxJoin)
	case o.Window < time.Millisecond || o.Window > MaxWindow:
		return bad("the window %v is not in 1 ms to %v", o.Window, MaxWindow)
	}
	for _, b := range before {
		if b.Type == string(om.OperatorJoin) {
			return bad("a route joins once")
		}
	}
	return nil
}
