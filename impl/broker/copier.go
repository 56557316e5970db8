package broker

import (
	"maps"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// copier makes the copies of a step. A copy is the bytes of the source wherever
// that is possible; only operators need messages.
type copier struct{ *step }

func (c *copier) put(partition int32, count int, data []byte) {
	c.copies = append(c.copies, copied{int(partition), count, data})
}

// add copies what matches of a span.
func (c *copier) add(s Span) error {
	if s.Header.Flags&chunk.Redriven != 0 {
		return nil // it was copied before it died
	}
	turn := c.target.NextPartition()
	keyed := s.Header.Flags&chunk.HasKey != 0 && c.target.Partitions() > 1
	if c.selector == nil && !keyed && len(c.operators) == 0 {
		part, err := chunk.Cut(s.Chunk, s.Header, s.Skip, s.Count)
		if err == nil {
			c.put(turn, s.Count, part)
		}
		return err
	}
	var runs []chunk.Run
	var partitions []int32
	var v chunk.View
	w := chunk.Walk(s.Chunk, s.Header, s.Skip)
	for i := 0; i < s.Count && w.Next(&v); i++ {
		if !matches(&v, [2]*selector{c.selector}) || c.isDuplicate(&v, s.StoredAt) {
			continue
		}
		if joined, err := c.join(&v, s); joined || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		to := turn
		if keyed && v.MessageKey != "" {
			to = c.target.PartitionOf(v.MessageKey)
		}
		if n := len(runs) - 1; n >= 0 && runs[n].Skip+runs[n].Count == v.Number && partitions[n] == to {
			runs[n].Count++
			continue
		}
		runs, partitions = append(runs, chunk.Run{Skip: v.Number, Count: 1}), append(partitions, to)
	}
	if err := w.Err(); err != nil {
		return err
	}
	return c.copyRuns(s, runs, partitions)
}

// copyRuns copies runs of a span, each into its partition.
func (c *copier) copyRuns(s Span, runs []chunk.Run, partitions []int32) error {
	if slices.ContainsFunc(c.operators, operatorRecord.changes) {
		return c.operate(s, runs, partitions)
	}
	i := 0
	return chunk.CutAll(s.Chunk, s.Header, runs, func(part []byte) {
		c.put(partitions[i], runs[i].Count, part)
		i++
	})
}

// isDuplicate reports whether the route has seen a message's value before, and
// notes it otherwise.
func (c *copier) isDuplicate(v *chunk.View, stored int64) bool {
	of, ok := c.seen.value(v)
	if !ok {
		return false
	}
	if c.seen.has(of, stored) {
		return true
	}
	c.seen.add(of, stored)
	return false
}

// operate encodes messages anew, as the operators change them. Their ids stay.
func (c *copier) operate(s Span, runs []chunk.Run, partitions []int32) error {
	h := s.Header
	for i, r := range runs {
		ms := make([]om.Message, r.Count)
		if _, err := chunk.Decode(s.Chunk, h, r.Skip, ms); err != nil {
			return err
		}
		var b chunk.Builder
		b.Reset(h.Producer, h.Sequence+uint64(r.Skip), ms[0].BornHost, ms[0].Version, time.UnixMilli(h.FirstBorn))
		for k := range ms {
			for _, o := range c.operators {
				o.change(ms[k].Properties)
			}
			b.Add(&ms[k])
		}
		c.put(partitions[i], r.Count, b.Finish())
	}
	return nil
}

// operatorRecord is the stored form of an operator.
type operatorRecord struct {
	Type       string   `msgpack:"type"`
	Properties []byte   `msgpack:"properties,omitempty"` // as in chunks
	Keys       []string `msgpack:"keys,omitempty"`
	Window     int64    `msgpack:"window,omitempty"` // milliseconds
	Count      int      `msgpack:"count,omitempty"`

	properties om.Properties // decoded
}

func operatorRecords(op, route string, os []om.Operator) (out []operatorRecord, err error) {
	if len(os) > MaxOperators {
		return nil, om.NewError(om.CodeBadParameter, op, route, "%d operators, %d are the most", len(os), MaxOperators)
	}
	for i, o := range os {
		r := operatorRecord{Type: string(o.Type)}
		size := 0
		switch o.Type {
		case om.OperatorSet:
			m := om.NewMessage(route, nil)
			m.Properties = o.Properties
			if err := m.Validate(op, time.Time{}); err != nil {
				return nil, err
			}
			size = o.Properties.Size()
			r.Properties, r.properties = chunk.AppendProperties(nil, o.Properties), o.Properties.Clone()
		case om.OperatorDrop:
			r.Keys = slices.Clone(o.Keys)
			for _, k := range o.Keys {
				size += len(k)
			}
		case om.OperatorDeduplicate:
			if err := checkDeduplicate(op, route, o, out); err != nil {
				return nil, err
			}
			r.Keys, r.Window, size = slices.Clone(o.Keys), o.Window.Milliseconds(), len(o.Keys[0])
		case om.OperatorJoin:
			if err := checkJoin(op, route, o, out); err != nil {
				return nil, err
			}
			r.Count, r.Window = o.Count, o.Window.Milliseconds()
		default:
			return nil, om.NewError(om.CodeUnsupported, op, route, "operator %d: there is no type %q", i, o.Type)
		}
		if size > MaxOperatorSize {
			return nil, om.NewError(om.CodeBadParameter, op, route, "operator %d has %d bytes, %d are the most", i, size, MaxOperatorSize)
		}
		out = append(out, r)
	}
	return out, nil
}

// load decodes the properties.
func (o *operatorRecord) load() (err error) {
	if o.Type != string(om.OperatorSet) {
		return nil
	}
	o.properties, err = chunk.DecodeProperties(o.Properties)
	return err
}

func (o *operatorRecord) operator() om.Operator {
	return om.Operator{
		Type: om.OperatorType(o.Type), Properties: o.properties.Clone(), Keys: slices.Clone(o.Keys),
		Window: time.Duration(o.Window) * time.Millisecond, Count: o.Count,
	}
}

// changes reports whether the operator changes properties.
func (o operatorRecord) changes() bool {
	return o.Type == string(om.OperatorSet) || o.Type == string(om.OperatorDrop)
}

func (o *operatorRecord) change(p om.Properties) {
	if !o.changes() {
		return
	}
	maps.Copy(p, o.properties)
	for _, k := range o.Keys {
		delete(p, k)
	}
}
