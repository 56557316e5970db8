package broker

import (
	"context"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/filter"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// filterRecord is the stored form of a filter.
type filterRecord struct {
	Type       string `msgpack:"type"`
	Expression string `msgpack:"expression"`
}

// selector is a compiled filter; nil lets all messages pass.
type selector struct {
	config  om.Filter
	matcher *filter.Filter
}

// newSelector compiles a filter; a malformed one gives CodeBadParameter (G35).
func newSelector(op, resource string, f om.Filter) (*selector, error) {
	if f == (om.Filter{}) {
		return nil, nil
	}
	m, err := filter.Compile(op, resource, f)
	if err != nil {
		return nil, err
	}
	return &selector{f, m}, nil
}

func (s *selector) filter() om.Filter {
	if s == nil {
		return om.Filter{}
	}
	return s.config
}

func (s *selector) record() filterRecord {
	f := s.filter()
	return filterRecord{Type: f.Type, Expression: f.Expression}
}

// selector compiles a stored filter.
func (r filterRecord) selector(resource string) (*selector, error) {
	return newSelector("open", resource, om.Filter{Type: r.Type, Expression: r.Expression})
}

// matches reports whether all the selectors let a message pass.
func matches(v *chunk.View, selectors [2]*selector) bool {
	for _, s := range selectors {
		if s != nil && !s.matcher.Match(v) {
			return false
		}
	}
	return true
}

// sifted is what was found out about the messages of a record.
type sifted struct {
	end     int64   // behind the last message that was looked at
	left    ranges  // offsets that do not match
	expired ranges  // offsets
	keys    []keyed // those that are delivered and have a key, ascending
	urgent  ranges  // priorities of those that are delivered and have another than the usual one
}

// out returns 1 for an offset that is not delivered, and the end of the run.
func (s *sifted) out(offset, limit int64) (out int32, end int64) {
	if out, end = s.left.at(offset, limit); out == 0 {
		out, end = s.expired.at(offset, end)
	}
	return out, end
}

// expired reports whether a message may not be delivered any more.
func expired(v *chunk.View, now int64) bool { return v.ExpireAt != 0 && v.ExpireAt <= now }

// forGroup reports whether a message of a chunk that was redriven is for a group.
func forGroup(v *chunk.View, group string) bool {
	name, ok := v.Property(om.PropertyRedriveGroup)
	text, isText := name.Text()
	return ok && isText && text == group
}

// sift looks at the messages of a record from an offset on, for a group, but not
// at chunks from offset to on, nor behind a chunk with which there are so many
// with keys.
func sift(rec store.Record, from, to int64, keyed int, group string, selectors [2]*selector) (out sifted, err error) {
	data := rec.Data
	out.end = rec.Base
	for base := rec.Base; len(data) > 0 && base < to && len(out.keys) < keyed; {
		h, err := chunk.ParseHeader(data)
		if err != nil {
			return out, err
		}
		end := base + int64(h.Count)
		if end > from && (h.Flags&(chunk.HasKey|chunk.HasExpiry|chunk.HasPriority|chunk.Redriven) != 0 || selectors != [2]*selector{}) {
			if err := out.add(data, h, base, from, group, selectors); err != nil {
				return out, err
			}
		}
		base, data = end, data[h.Size:]
		out.end = end
	}
	return out, nil
}

func (s *sifted) add(data []byte, h chunk.Header, base, from int64, group string, selectors [2]*selector) error {
	var v chunk.View
	now := time.Now().UnixMilli()
	if h.Flags&chunk.HasKey != 0 {
		s.keys = slices.Grow(s.keys, h.Count)
	}
	w := chunk.Walk(data, h, int(max(from-base, 0)))
	for w.Next(&v) {
		at := base + int64(v.Number)
		if h.Flags&chunk.Redriven != 0 && !forGroup(&v, group) {
			s.left.add(at, at+1)
			continue
		}
		if expired(&v, now) {
			s.expired.add(at, at+1)
			continue
		}
		if !matches(&v, selectors) {
			s.left.add(at, at+1)
			continue
		}
		if v.MessageKey != "" {
			s.keys = append(s.keys, keyed{at, chunk.HashKey(v.MessageKey)})
		}
		if p := priorityOf(&v); p != usualPriority {
			s.urgent.set(at, at+1, p)
		}
	}
	return w.Err()
}

// pass returns the command that settles offsets that a filter left out or that
// have expired. Nobody waits for it: what is not settled when the process ends
// is left out again.
func (g *group) pass(p *progress, left, expired ranges) *settle {
	c := &settle{group: g}
	for _, s := range left {
		c.done = append(c.done, settled{progress: p, generation: p.generation, from: s.From, to: s.To})
	}
	for _, s := range expired {
		c.done = append(c.done, settled{progress: p, generation: p.generation, from: s.From, to: s.To, expired: true})
	}
	return c
}

// SetFilter lets only matching messages reach the groups of a queue; the zero
// Filter removes it. What groups have passed over before stays settled for them.
func (b *Broker) SetFilter(ctx context.Context, queue string, f om.Filter) error {
	q, err := b.Queue("set filter", queue)
	if err != nil {
		return err
	}
	s, err := newSelector("set filter", q.name, f)
	if err != nil {
		return err
	}
	return b.submit(ctx, &setFilter{q, s})
}

type setFilter struct {
	queue    *Queue
	selector *selector
}

func (c *setFilter) apply(_ *Broker, tx *transaction) error {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return notFound("set filter", q.name)
	}
	q.selector, q.record.Filter = c.selector, c.selector.record()
	tx.batch.Put(q.record.key(), encode(q.record))
	for _, g := range q.groups {
		g.checkAgain()
	}
	return nil
}

// setGroupFilter changes the filter of a group that has no receivers.
type setGroupFilter struct {
	queue    *Queue
	name     string
	selector *selector
}

func (c *setGroupFilter) apply(_ *Broker, tx *transaction) error {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[c.name]
	switch {
	case q.deleted:
		return notFound("bind", q.name)
	case g == nil:
		return noGroup("bind", q.name, c.name)
	case g.selector.filter() == c.selector.filter():
		return nil
	case len(g.receivers) > 0:
		return om.NewError(om.CodeBadParameter, "bind", q.name,
			"the group %s has the filter %q, and its consumers are there; bind with the same filter, or as another group", g.name, g.selector.filter().Expression)
	}
	g.selector, g.record.Filter = c.selector, c.selector.record()
	tx.batch.Put(groupKey(q, c.name), encode(g.record))
	g.checkAgain()
	return nil
}

// checkAgain has what was found ready under another filter checked once more
// before it is handed out.
func (g *group) checkAgain() {
	for _, p := range g.parts {
		p.recheck = p.next
	}
}

// selectors returns the filters of a group; Queue.mu is held.
func (g *group) selectors() [2]*selector { return [2]*selector{g.queue.selector, g.selector} }
