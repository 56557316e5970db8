package tck

import (
	"fmt"
	"iter"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var streamCases = table{"R099": streaming, "R161": storedPosition}

// take returns the bodies of the next n messages of an iterator.
func (t *trial) take(seq iter.Seq2[*om.Delivery, error], n int) []string {
	var got []string
	for d, err := range seq {
		t.NoError(err, "the iterator")
		if got = append(got, string(d.Body)); len(got) == n {
			break
		}
	}
	return got
}

func streaming(t *trial) {
	q := t.Queue()
	rs := t.SendAll(t.Producer(), q, numbered(6)...)
	c, err := t.AP().NewStreamConsumer(t.ctx)
	t.NoError(err, "new stream consumer")
	partition, first := max(rs[0].Partition, 0), rs[0].Offset
	ctx, cancel := t.within(t.Arrive)
	defer cancel()
	for _, at := range []struct {
		p               om.Position
		forward, before []string
	}{
		{om.Begin(), []string{"0", "1", "2", "3", "4", "5"}, nil},
		{om.AtOffset(first + 4), []string{"4", "5"}, []string{"3", "2", "1", "0"}},
		{om.AtOffset(0), []string{"0", "1"}, nil},
		{om.AtOffset(first + 1000), nil, []string{"5", "4", "3", "2", "1", "0"}},
		{om.End(), nil, []string{"5", "4", "3", "2", "1", "0"}},
	} {
		cursor, err := c.Open(ctx, q, partition, at.p)
		t.NoError(err, "open a cursor at %v", at.p)
		if len(at.forward) > 0 {
			equalLists(t, fmt.Sprintf("forward from %v", at.p), t.take(cursor.Forward(ctx), len(at.forward)), at.forward)
			cursor, err = c.Open(ctx, q, partition, at.p)
			t.NoError(err, "open a cursor at %v", at.p)
		}
		equalLists(t, fmt.Sprintf("backward from %v", at.p), t.take(cursor.Backward(ctx), 100), at.before)
	}
	end, err := c.Open(ctx, q, partition, om.End())
	t.NoError(err, "open a cursor at the end")
	t.Send(t.Producer(), message(q, "later"))
	equalLists(t, "forward from what was the end", t.take(end.Forward(ctx), 1), []string{"later"})
	_, err = c.Open(ctx, t.Missing(), partition, om.Begin())
	t.Is(err, "a cursor in a queue that does not exist", om.ErrDestination)
}

func storedPosition(t *trial) {
	q := t.Queue()
	rs := t.SendAll(t.Producer(), q, numbered(6)...)
	ctx, cancel := t.within(2 * t.Arrive)
	defer cancel()
	open := func(ap om.AccessPoint, p om.Position) om.Cursor {
		c, err := ap.NewStreamConsumer(ctx)
		t.NoError(err, "new stream consumer")
		cursor, err := c.Open(ctx, q, max(rs[0].Partition, 0), p)
		t.NoError(err, "open a cursor at %v", p)
		return cursor
	}
	cursor := open(t.AP(), om.Begin())
	equalLists(t, "forward from the beginning", t.take(cursor.Forward(ctx), 2), []string{"0", "1"})
	kept, err := cursor.Position().MarshalText()
	t.NoError(err, "the text of a cursor's position")
	resume := func(where string, ap om.AccessPoint) {
		var p om.Position
		t.NoError(p.UnmarshalText(kept), "read the position %q", kept)
		equalLists(t, "forward "+where, t.take(open(ap, p).Forward(ctx), 4), []string{"2", "3", "4", "5"})
		equalLists(t, "backward "+where, t.take(open(ap, p).Backward(ctx), 100), []string{"1", "0"})
	}
	resume("on another connection", t.OpenAgain())
	if restart := t.target.Faults.Restart; restart != nil && t.Has(om.CapPersistent) {
		t.fault("Restart", restart)
		resume("after a restart", t.AP())
	}
}
