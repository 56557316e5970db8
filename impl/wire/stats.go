package wire

import (
	"time"

	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func counter(c om.Counter) *wirepb.Counter {
	if c == (om.Counter{}) {
		return nil
	}
	return &wirepb.Counter{Total: c.Total, Rate: c.Rate}
}

func fromCounter(c *wirepb.Counter) om.Counter {
	return om.Counter{Total: c.GetTotal(), Rate: c.GetRate()}
}

// Stats returns the form of statistics that travels.
func Stats(s om.QueueStats) *wirepb.QueueStats {
	out := &wirepb.QueueStats{
		Queue: s.Queue, Partitions: number(s.Partitions), Depth: s.Depth, Delayed: s.Delayed, Prepared: s.Prepared,
		Published: counter(s.Published), PublishedBytes: counter(s.PublishedBytes), Groups: make([]*wirepb.GroupStats, len(s.Groups)),
	}
	for i, g := range s.Groups {
		out.Groups[i] = &wirepb.GroupStats{
			Group: g.Group, Consumers: number(g.Consumers), Lag: g.Lag, OldestAge: Millis(g.OldestAge), InFlight: g.InFlight, Waiting: g.Waiting,
			Dead: g.Dead, Lost: g.Lost, Expired: g.Expired,
			Delivered: counter(g.Delivered), Redelivered: counter(g.Redelivered), Acknowledged: counter(g.Acknowledged),
		}
	}
	return out
}

// FromStats is the inverse of Stats.
func FromStats(s *wirepb.QueueStats) om.QueueStats {
	out := om.QueueStats{
		Queue: s.GetQueue(), Partitions: int(s.GetPartitions()), Depth: s.GetDepth(), Delayed: s.GetDelayed(), Prepared: s.GetPrepared(),
		Published: fromCounter(s.GetPublished()), PublishedBytes: fromCounter(s.GetPublishedBytes()), Groups: make([]om.GroupStats, len(s.GetGroups())),
	}
	for i, g := range s.GetGroups() {
		out.Groups[i] = om.GroupStats{
			Group: g.GetGroup(), Consumers: int(g.GetConsumers()), Lag: g.GetLag(), OldestAge: Duration(g.GetOldestAge()), InFlight: g.GetInFlight(), Waiting: g.GetWaiting(),
			Dead: g.GetDead(), Lost: g.GetLost(), Expired: g.GetExpired(),
			Delivered: fromCounter(g.GetDelivered()), Redelivered: fromCounter(g.GetRedelivered()), Acknowledged: fromCounter(g.GetAcknowledged()),
		}
	}
	return out
}

// Find returns the form of what is looked for in a queue that travels.
func Find(queue string, q om.MessageQuery) *wirepb.FindMessagesRequest {
	return &wirepb.FindMessagesRequest{
		Queue: queue, Delayed: q.Delayed, DeadFor: q.DeadFor, Id: q.ID, Key: q.Key, From: instant(q.From), To: instant(q.To), Max: number(q.Max), After: q.After,
	}
}

// FromFind is the inverse of Find, to the millisecond.
func FromFind(r *wirepb.FindMessagesRequest) om.MessageQuery {
	return om.MessageQuery{
		Delayed: r.GetDelayed(), DeadFor: r.GetDeadFor(), ID: r.GetId(), Key: r.GetKey(), From: fromInstant(r.From), To: fromInstant(r.To), Max: int(r.GetMax()), After: r.GetAfter(),
	}
}

// instant is a time as it travels, nil for the zero one.
func instant(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

func fromInstant(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}
