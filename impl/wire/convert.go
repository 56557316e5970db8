package wire

import (
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Queue returns the form of a queue's configuration that travels.
func Queue(c om.QueueConfig) *wirepb.Queue {
	q := &wirepb.Queue{Name: c.Name, Partitions: number(c.Partitions), Description: c.Description, DeadLetterExpired: c.DeadLetterExpired, Expires: signed(c.Expires)}
	if d := c.Deduplication; d != (om.Deduplication{}) {
		q.Deduplication = &wirepb.Deduplication{By: d.By, Window: Millis(d.Window)}
	}
	if t := c.TransactionCheck; t != (om.TransactionCheck{}) {
		q.TransactionCheck = TransactionCheck(t)
	}
	return q
}

// TransactionCheck returns the form of when a transaction is checked that
// travels.
func TransactionCheck(c om.TransactionCheck) *wirepb.TransactionCheck {
	return &wirepb.TransactionCheck{After: signed(c.After), Every: signed(c.Every), Max: number(c.Max)}
}

// signed is a duration as it travels; one that is out of range stays so.
func signed(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return Millis(d)
}

// FromTransactionCheck is the inverse of TransactionCheck.
func FromTransactionCheck(c *wirepb.TransactionCheck) om.TransactionCheck {
	from := func(ms int64) time.Duration { return time.Duration(min(max(ms, -1), maxMillis)) * time.Millisecond }
	return om.TransactionCheck{After: from(c.GetAfter()), Every: from(c.GetEvery()), Max: int(c.GetMax())}
}

// Verdict returns the form of a verdict that travels.
func Verdict(v om.TxVerdict) wirepb.Verdict {
	switch v {
	case om.TxCommit:
		return wirepb.Verdict_VERDICT_COMMIT
	case om.TxRollback:
		return wirepb.Verdict_VERDICT_ROLLBACK
	}
	return wirepb.Verdict_VERDICT_UNSPECIFIED
}

// FromVerdict is the inverse of Verdict.
func FromVerdict(v wirepb.Verdict) om.TxVerdict {
	switch v {
	case wirepb.Verdict_VERDICT_COMMIT:
		return om.TxCommit
	case wirepb.Verdict_VERDICT_ROLLBACK:
		return om.TxRollback
	}
	return om.TxUnknown
}

// FromQueue is the inverse of Queue.
func FromQueue(q *wirepb.Queue) om.QueueConfig {
	return om.QueueConfig{
		Name: q.GetName(), Partitions: int(q.GetPartitions()), Description: q.GetDescription(), DeadLetterExpired: q.GetDeadLetterExpired(),
		TransactionCheck: FromTransactionCheck(q.GetTransactionCheck()),
		Deduplication:    om.Deduplication{By: q.GetDeduplication().GetBy(), Window: Duration(q.GetDeduplication().GetWindow())},
		Expires:          time.Duration(min(max(q.GetExpires(), -1), maxMillis)) * time.Millisecond,
	}
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
		out[i] = om.PartitionInfo{Queue: queue, Partition: p.GetPartition(), Begin: p.GetBegin(), End: p.GetEnd(), Messages: p.GetEnd() - p.GetBegin()}
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
		out.Partitions = append(out.Partitions, &wirepb.GroupPartition{Partition: p.Partition, Cursor: p.Cursor, Lag: p.Lag, InFlight: p.InFlight, Owner: p.Owner})
	}
	out.Strategy, out.Generation = g.Strategy, g.Generation
	for _, m := range g.Members {
		out.Members = append(out.Members, &wirepb.GroupMember{
			Id: m.ID, Labels: m.Labels, Partitions: m.Partitions, LastHeartbeat: m.LastHeartbeat.UnixMilli(), User: m.User, Address: m.Address,
		})
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
		out.Partitions = append(out.Partitions, om.GroupPartition{Partition: p.GetPartition(), Cursor: p.GetCursor(), Lag: p.GetLag(), InFlight: p.GetInFlight(), Owner: p.GetOwner()})
	}
	out.Strategy, out.Generation = g.GetStrategy(), g.GetGeneration()
	for _, m := range g.GetMembers() {
		out.Members = append(out.Members, om.GroupMember{
			Member: om.Member{ID: m.GetId(), Labels: m.GetLabels()}, Partitions: m.GetPartitions(), LastHeartbeat: time.UnixMilli(m.GetLastHeartbeat()), User: m.GetUser(), Address: m.GetAddress(),
		})
	}
	return out
}

// GroupConfig returns the form of a group's settings that travels.
func GroupConfig(c om.GroupConfig) *wirepb.GroupConfig {
	out := &wirepb.GroupConfig{MaxDeliveries: number(c.MaxDeliveries)}
	for _, d := range c.Backoff {
		ms := Millis(d)
		if d < 0 {
			ms = -1 // out of range there too
		}
		out.Backoff = append(out.Backoff, ms)
	}
	return out
}

// FromGroupConfig is the inverse of GroupConfig.
func FromGroupConfig(c *wirepb.GroupConfig) om.GroupConfig {
	out := om.GroupConfig{MaxDeliveries: int(c.GetMaxDeliveries())}
	for _, ms := range c.GetBackoff() {
		out.Backoff = append(out.Backoff, time.Duration(min(max(ms, -1), maxMillis))*time.Millisecond)
	}
	return out
}

// Redrive returns the form of what is to be redriven that travels.
func Redrive(queue, group string, r om.Redrive) *wirepb.RedriveRequest {
	return &wirepb.RedriveRequest{Queue: queue, Group: group, Ids: r.IDs, Filter: Filter(r.Filter), Max: number(r.Max), DryRun: r.DryRun}
}

// FromRedrive is the inverse of Redrive.
func FromRedrive(r *wirepb.RedriveRequest) om.Redrive {
	return om.Redrive{IDs: r.GetIds(), Filter: FromFilter(r.GetFilter()), Max: int(r.GetMax()), DryRun: r.GetDryRun()}
}

// Redriven returns the form of what was redriven that travels.
func Redriven(queue string, rs []om.Redriven) *wirepb.RedriveResponse {
	out := &wirepb.RedriveResponse{Queue: queue, Results: make([]*wirepb.Redriven, len(rs))}
	for i, r := range rs {
		out.Results[i] = &wirepb.Redriven{MessageId: r.MessageID, DeadOffset: r.DeadOffset, Partition: r.Partition, Offset: r.Offset, Error: Error(r.Err)}
	}
	return out
}

// FromRedriven is the inverse of Redriven.
func FromRedriven(r *wirepb.RedriveResponse) []om.Redriven {
	out := make([]om.Redriven, len(r.GetResults()))
	for i, w := range r.GetResults() {
		out[i] = om.Redriven{
			MessageID: w.GetMessageId(), DeadOffset: w.GetDeadOffset(), Queue: r.GetQueue(),
			Partition: w.GetPartition(), Offset: w.GetOffset(), Err: FromError(w.GetError()),
		}
	}
	return out
}

// number is a number of the contract as it travels; one that is out of range
// stays so.
func number(n int) int32 { return int32(min(max(n, -1), 1<<30)) }

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
		w := &wirepb.Operator{Type: string(o.Type), Keys: o.Keys, Window: Millis(o.Window), Count: number(o.Count)}
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
