package memory

import (
	"fmt"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// group is a consumer group of a queue. The system's lock guards all in this
// file.
type group struct {
	q         *queue
	name      string
	parts     []*progress // by partition
	receivers map[*receiver]bool
	turn      int // the partition that is looked at first
	config    om.Filter
	filter    filter // of config
	settings  om.GroupConfig
	coordination
	delivered   tally
	redelivered tally
	acked       tally
}

// progress is how far a group is in a partition.
type progress struct {
	cursor int64            // everything below is settled
	states map[int64]*state // of messages from cursor on that were delivered
}

// state is what a group knows of a message.
type state struct {
	deliveries int
	settled    bool
	lease      *receipt  // of the delivery that is out; nil when there is none
	due        time.Time // the next delivery is not earlier
}

// receipt names one delivery. It is valid while it is its state's lease.
type receipt struct {
	r         *receiver
	state     *state
	partition int32
	offset    int64
	message   *stored
	until     time.Time // the lease's end
	ended     om.Action // how the receiver ended the lease, 0 while it did not
}

// group returns a group of the queue, made at a position when it is new.
func (q *queue) group(op, name string, start om.Position) (*group, error) {
	if g := q.groups[name]; g != nil {
		return g, nil
	}
	if err := checkName(op, "group", name); err != nil {
		return nil, err
	}
	settings := om.GroupConfig{MaxDeliveries: q.s.maxDeliveries, Backoff: om.NoBackoff}
	g := &group{q: q, name: name, settings: settings, receivers: map[*receiver]bool{}}
	for _, p := range q.parts {
		g.parts = append(g.parts, &progress{cursor: p.resolve(start), states: map[int64]*state{}})
	}
	q.groups[name] = g
	return g, nil
}

// setFilter changes the filter when it is another one.
func (g *group) setFilter(op string, f om.Filter) error {
	if f == g.config {
		return nil
	}
	parsed, err := newFilter(op, g.q.config.Name, f)
	if err != nil {
		return err
	}
	if len(g.receivers) > 0 {
		return om.NewError(om.CodeBadParameter, op, g.q.config.Name, "other consumers of the group %s have the filter %q; use the same one, or another group", g.name, g.config.Expression)
	}
	g.config, g.filter = f, parsed
	return nil
}

// seek moves the group to a position and forgets what it knew.
func (g *group) seek(to om.Position) {
	g.endLeases()
	for i, p := range g.parts {
		p.cursor, p.states = g.q.parts[i].resolve(to), map[int64]*state{}
	}
	g.q.s.wake()
}

// endLeases makes all receipts stale.
func (g *group) endLeases() {
	for _, p := range g.parts {
		for _, st := range p.states {
			st.lease = nil
		}
	}
}

// ready is a message that can be delivered now.
type ready struct {
	partition int32
	offset    int64
	message   *stored
	priority  int8
}

// ready returns up to max messages of some partitions that can be delivered now: higher priorities
// first, equal ones of a partition ascending, but now and then the oldest (R162).
// A message is not preferred to an earlier one of its key.
func (g *group) ready(now time.Time, max int, serves func(int) bool) (out []ready) {
	g.turn++
	for i := range g.parts {
		n := (g.turn + i) % len(g.parts)
		if !serves(n) {
			continue
		}
		log, p := g.q.parts[n], g.parts[n]
		g.trim(n, now)
		keys := map[string]int8{} // the lowest priority so far
		for at := p.cursor; at < log.end(); at++ {
			if len(out) == max && !g.q.priorities {
				return out
			}
			m := log.message(at)
			if p.states[at] == nil && (!g.filter.matches(m.m) || m.only != "" && m.only != g.name) {
				p.states[at] = &state{settled: true}
			}
			if st := p.states[at]; m.expired(now) && g.q.config.DeadLetterExpired && (st == nil || !st.settled && st.lease == nil) {
				g.late(n, at, st)
				p.states[at] = &state{settled: true}
			}
			if g.waits(int32(n), at, m.m.Ext.MessageKey, now) {
				continue
			}
			if st := p.states[at]; !m.shown(now) || st != nil && (st.settled || st.lease != nil || st.due.After(now)) {
				continue
			}
			priority := priorityOf(m.m)
			if key := m.m.Ext.MessageKey; key != "" {
				if before, ok := keys[key]; ok {
					priority = min(priority, before)
				}
				keys[key] = priority
			}
			out = append(out, ready{int32(n), at, m, priority})
		}
	}
	if g.turn%8 == 0 {
		return out[:min(len(out), max)]
	}
	slices.SortStableFunc(out, func(a, b ready) int { return int(b.priority) - int(a.priority) })
	return out[:min(len(out), max)]
}

// waits reports whether messages of the key may be unsettled that lie in another
// partition and are from before partitions were added.
func (g *group) waits(partition int32, at int64, key string, now time.Time) bool {
	if key == "" {
		return false
	}
	for _, ends := range g.q.cuts {
		before := partitionOf(key, len(ends))
		if before == partition || int(partition) < len(ends) && at < ends[partition] {
			continue
		}
		g.trim(int(before), now)
		if g.parts[before].cursor < ends[before] {
			return true
		}
	}
	return false
}

// unset is the priority that messages without one count with (R040).
const unset = 5

func priorityOf(m *om.Message) int8 {
	if m.Ext.Priority == 0 {
		return unset
	}
	return m.Ext.Priority
}

// hand gives a ready message to a receiver under a lease. At most once means
// that it is settled by that.
func (g *group) hand(m ready, r *receiver, now time.Time) (rc *receipt, delivery int) {
	p := g.parts[m.partition]
	st := p.states[m.offset]
	if st == nil {
		st = &state{}
		p.states[m.offset] = st
	}
	st.deliveries++
	g.delivered.add(1)
	if st.deliveries > 1 {
		g.redelivered.add(1)
	}
	rc = &receipt{r: r, state: st, partition: m.partition, offset: m.offset, message: m.message}
	if m.message.m.QoS == om.AtMostOnce {
		st.settled = true
		g.acked.add(1)
		return rc, st.deliveries
	}
	st.lease = rc
	g.lease(rc, now.Add(r.lease))
	return rc, st.deliveries
}

// lease lets a receipt's lease end at an instant.
func (g *group) lease(rc *receipt, until time.Time) {
	rc.until = until
	g.q.s.at(until, func() {
		if rc.state.lease == rc && rc.until.Equal(until) {
			g.giveBack(rc, g.settings.Backoff.After(rc.state.deliveries))
		}
	})
}

// ack ends a delivery for good because a consumer has said so.
func (g *group) ack(rc *receipt) {
	g.acked.add(1)
	g.settle(rc)
}

// settle ends a delivery for good.
func (g *group) settle(rc *receipt) {
	rc.state.lease, rc.state.settled = nil, true
	g.trim(int(rc.partition), time.Now())
}

// trim moves the cursor over what is settled and what has expired.
func (g *group) trim(n int, now time.Time) {
	log, p := g.q.parts[n], g.parts[n]
	for ; p.cursor < log.end(); p.cursor++ {
		st, expired := p.states[p.cursor], log.message(p.cursor).expired(now)
		if st == nil && !expired || st != nil && !st.settled && (!expired || st.lease != nil) {
			return
		}
		if st == nil || !st.settled {
			g.late(n, p.cursor, st)
		}
		delete(p.states, p.cursor)
	}
}

// giveBack ends a delivery to have the message delivered again, after delay at
// the earliest. When it was the last one the message is dead.
func (g *group) giveBack(rc *receipt, delay time.Duration) {
	s, now := g.q.s, time.Now()
	rc.state.lease = nil
	last := s.caps.Has(om.CapDeadLetter) && g.settings.MaxDeliveries > 0 && rc.state.deliveries >= g.settings.MaxDeliveries
	if last && !rc.message.expired(now) {
		g.bury(rc, fmt.Sprintf("delivered %d times and not acknowledged", rc.state.deliveries))
		return
	}
	if delay > 0 {
		rc.state.due = now.Add(delay)
		s.at(rc.state.due, func() {})
	}
	s.wake()
}

// shut ends a group that is deleted, and its receivers.
func (g *group) shut(why *ending) {
	g.endLeases()
	for r := range g.receivers {
		r.shut(why)
	}
}

// info describes the group.
func (g *group) info(now time.Time) om.GroupInfo {
	info := om.GroupInfo{Queue: g.q.config.Name, Group: g.name, Consumers: len(g.receivers), Redelivered: g.redelivered.total}
	for n, p := range g.parts {
		g.trim(n, now)
		part := om.GroupPartition{Partition: int32(n), Cursor: p.cursor}
		for at := p.cursor; at < g.q.parts[n].end(); at++ {
			st, expired := p.states[at], g.q.parts[n].message(at).expired(now)
			switch {
			case st != nil && st.lease != nil:
				part.Lag++
				part.InFlight++
				if info.OldestLease.IsZero() || st.lease.until.Before(info.OldestLease) {
					info.OldestLease = st.lease.until
				}
			case !expired && (st == nil || !st.settled):
				part.Lag++
			}
		}
		info.Lag += part.Lag
		info.InFlight += part.InFlight
		info.Partitions = append(info.Partitions, part)
	}
	g.describe(&info)
	return info
}
