package wire

import (
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Queue returns the form of a queue's configuration that travels.
func Queue(c om.QueueConfig) *wirepb.Queue {
	return &wirepb.Queue{Name: c.Name, Partitions: int32(min(max(c.Partitions, -1), 1<<30)), Description: c.Description}
}

// FromQueue is the inverse of Queue.
func FromQueue(q *wirepb.Queue) om.QueueConfig {
	return om.QueueConfig{Name: q.GetName(), Partitions: int(q.GetPartitions()), Description: q.GetDescription()}
}

// Partitions returns the form of partitions that travels.
func Partitions(infos []om.PartitionInfo) []*wirepb.Partition {
	out := make([]*wirepb.Partition, len(infos))
	for i, p := range infos {
		out[i] = &wirepb.Partition{Partition: p.Partition, Begin: p.Begin, End: p.End}
	}
	return out
}

// FromPartitions is the inverse of Partitions.
func FromPartitions(queue string, ps []*wirepb.Partition) []om.PartitionInfo {
	out := make([]om.PartitionInfo, len(ps))
	for i, p := range ps {
		out[i] = om.PartitionInfo{Queue: queue, Partition: p.GetPartition(), Begin: p.GetBegin(), End: p.GetEnd()}
	}
	return out
}

// Group returns the form of a group that travels.
func Group(g om.GroupInfo) *wirepb.Group {
	out := &wirepb.Group{
		Group: g.Group, Consumers: int32(g.Consumers), Lag: g.Lag, InFlight: g.InFlight, Lost: g.Lost, Expired: g.Expired, Redelivered: g.Redelivered,
	}
	if !g.OldestLease.IsZero() {
		out.OldestLease = g.OldestLease.UnixMilli()
	}
	for _, p := range g.Partitions {
		out.Partitions = append(out.Partitions, &wirepb.GroupPartition{Partition: p.Partition, Cursor: p.Cursor, Lag: p.Lag, InFlight: p.InFlight})
	}
	return out
}

// FromGroup is the inverse of Group, to the millisecond.
func FromGroup(queue string, g *wirepb.Group) om.GroupInfo {
	out := om.GroupInfo{
		Queue: queue, Group: g.GetGroup(), Consumers: int(g.GetConsumers()),
		Lag: g.GetLag(), InFlight: g.GetInFlight(), Lost: g.GetLost(), Expired: g.GetExpired(), Redelivered: g.GetRedelivered(),
	}
	if g.GetOldestLease() != 0 {
		out.OldestLease = time.UnixMilli(g.GetOldestLease())
	}
	for _, p := range g.GetPartitions() {
		out.Partitions = append(out.Partitions, om.GroupPartition{Partition: p.GetPartition(), Cursor: p.GetCursor(), Lag: p.GetLag(), InFlight: p.GetInFlight()})
	}
	return out
}

// Filter returns the form of a filter that travels, nil for none.
func Filter(f om.Filter) *wirepb.Filter {
	if f == (om.Filter{}) {
		return nil
	}
	return &wirepb.Filter{Type: f.Type, Expression: f.Expression}
}

// FromFilter is the inverse of Filter.
func FromFilter(f *wirepb.Filter) om.Filter {
	return om.Filter{Type: f.GetType(), Expression: f.GetExpression()}
}

// Route returns the form of a route that travels.
func Route(r om.RouteConfig) *wirepb.Route {
	out := &wirepb.Route{Name: r.Name, Source: r.Source, Target: r.Target, Filter: Filter(r.Filter), Start: r.Start.String()}
	for _, o := range r.Operators {
		w := &wirepb.Operator{Type: string(o.Type), Keys: o.Keys, Window: Millis(o.Window), Count: int32(min(max(o.Count, -1), 1<<30))}
		if len(o.Properties) > 0 {
			w.Properties = chunk.AppendProperties(nil, o.Properties)
		}
		out.Operators = append(out.Operators, w)
	}
	return out
}

// FromRoute is the inverse of Route. Errors are of the parameter and the
// message-format class.
func FromRoute(op string, r *wirepb.Route) (c om.RouteConfig, err error) {
	c = om.RouteConfig{Name: r.GetName(), Source: r.GetSource(), Target: r.GetTarget(), Filter: FromFilter(r.GetFilter())}
	if r.GetStart() != "" {
		if c.Start, err = om.ParsePosition(r.GetStart()); err != nil {
			return c, err
		}
	}
	for _, w := range r.GetOperators() {
		o := om.Operator{Type: om.OperatorType(w.GetType()), Keys: w.GetKeys(), Window: Duration(w.GetWindow()), Count: int(w.GetCount())}
		if len(w.GetProperties()) > 0 {
			if o.Properties, err = chunk.DecodeProperties(w.GetProperties()); err != nil {
				return c, om.NewError(om.CodeMalformedMessage, op, c.Name, "%w", err)
			}
		}
		c.Operators = append(c.Operators, o)
	}
	return c, nil
}

// Millis returns a duration in milliseconds, rounded up.
func Millis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
}

// maxMillis is the longest duration that travels: a hundred years.
const maxMillis = 100 * 366 * 24 * 60 * 60 * 1000

// Duration is the inverse of Millis. What is longer than a hundred years is a
// hundred years, what is negative 0.
func Duration(millis int64) time.Duration {
	return time.Duration(min(max(millis, 0), maxMillis)) * time.Millisecond
}
