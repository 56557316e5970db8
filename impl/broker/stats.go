package broker

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Statistics are kept, not counted: what they cost goes with groups and
// partitions and not with messages. Only the age of a group's oldest message lies
// in the store, with the record that the cursor is in. The last records of a
// partition are remembered, and so is the one that was read last for a group, so
// that a group that keeps up, or stands still, costs no reading.

// aged is a record and when it was stored, milliseconds since 1970 UTC.
type aged struct{ from, to, stored int64 }

func (a aged) holds(offset int64) bool { return a.from <= offset && offset < a.to }

// newestRecords is how many records of a partition are remembered.
const newestRecords = 16

// note remembers a record that was committed.
func (p *partition) note(a aged) {
	if len(p.newest) == newestRecords {
		p.newest = p.newest[:copy(p.newest, p.newest[1:])]
	}
	p.newest = append(p.newest, a)
}

// lag is how many stored messages are not settled.
func (p *progress) lag(of *partition) int64 { return of.end - p.cursor - p.beyond }

// age returns when the oldest unsettled message was stored; ok is false when
// somebody must read it. The cursor is at the oldest: below it all is settled.
func (p *progress) age(of *partition) (stored int64, ok bool) {
	if p.oldest.holds(p.cursor) {
		return p.oldest.stored, true
	}
	for _, a := range slices.Backward(of.newest) {
		if a.holds(p.cursor) {
			p.oldest = a
			return a.stored, true
		}
	}
	return 0, false
}

// count counts deliveries.
func (g *group) count(spans []Span, now int64) {
	var all, again int64
	for i := range spans {
		all += int64(spans[i].Count)
		if spans[i].Delivery > 1 {
			again += int64(spans[i].Count)
		}
	}
	g.delivered.add(now, all)
	g.redelivered.add(now, again)
}

// Stats tells how the queue and its groups are doing.
func (q *Queue) Stats() (om.QueueStats, error) {
	for {
		s, lookups, err := q.look()
		if err != nil {
			return s, err
		}
		for _, l := range lookups {
			if err = l.read(q, &s); err != nil {
				break
			}
		}
		if errors.Is(err, store.ErrDropped) {
			continue // retention was faster; the cursor has moved
		}
		q.countElsewhere(&s)
		return s, storeError(err, "read statistics", q.name)
	}
}

// lookup is a group whose oldest message must be read for its age.
type lookup struct {
	progress *progress
	log      uint64
	cursor   int64
	group    int // in the statistics
	now      int64
}

func (l *lookup) read(q *Queue, s *om.QueueStats) error {
	rec, err := q.b.store.Read(l.log, l.cursor)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l.progress.oldest = aged{rec.Base, rec.End(), rec.StoredAt}
	older(&s.Groups[l.group], l.now-rec.StoredAt)
	return nil
}

func older(g *om.GroupStats, millis int64) {
	g.OldestAge = max(g.OldestAge, time.Duration(millis)*time.Millisecond)
}

// look tells what the queue knows by itself, and what is to be read.
func (q *Queue) look() (s om.QueueStats, lookups []lookup, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return s, nil, notFound("read statistics", q.name)
	}
	now := time.Now().UnixMilli()
	s = om.QueueStats{
		Queue: q.name, Partitions: len(q.list()), Delayed: q.delayed,
		Published: q.published.counter(now), PublishedBytes: q.bytes.counter(now), Groups: make([]om.GroupStats, 0, len(q.groups)),
	}
	for _, p := range q.list() {
		s.Depth += p.end - p.begin
	}
	groups := make([]*group, 0, len(q.groups))
	for _, g := range q.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return strings.Compare(a.name, b.name) })
	for i, g := range groups {
		gs := om.GroupStats{
			Group: g.name, Consumers: len(g.receivers),
			Delivered: g.delivered.counter(now), Redelivered: g.redelivered.counter(now), Acknowledged: g.settled.counter(now),
		}
		for n, p := range g.parts {
			of := q.list()[n]
			gs.InFlight += p.inFlight - p.waiting
			gs.Waiting += p.waiting
			gs.Lost += p.lost
			gs.Expired += p.expired
			lag := p.lag(of)
			if gs.Lag += lag; lag == 0 {
				continue
			}
			if stored, ok := p.age(of); ok {
				older(&gs, now-stored)
			} else {
				lookups = append(lookups, lookup{p, of.log, p.cursor, i, now})
			}
		}
		s.Groups = append(s.Groups, gs)
	}
	return s, lookups, nil
}

// countElsewhere adds what lies with others: open transactions and dead letters.
func (q *Queue) countElsewhere(s *om.QueueStats) {
	h := q.b.halves
	h.mu.Lock()
	for _, p := range q.list() {
		s.Prepared += h.targets[p.log]
	}
	h.mu.Unlock()
	if !q.buries() {
		return
	}
	for i := range s.Groups {
		name := om.DeadLetterQueue(q.name, s.Groups[i].Group)
		q.b.mu.RLock()
		dlq := q.b.queues[name]
		q.b.mu.RUnlock()
		if dlq != nil {
			s.Groups[i].Dead = dlq.dead()
		}
	}
}

// dead is how many dead letters of a dead-letter queue were not redriven.
func (q *Queue) dead() (n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[redriveGroup]
	for i, p := range q.list() {
		if g == nil {
			n += p.end - p.begin
		} else {
			n += g.parts[i].lag(p)
		}
	}
	return n
}

// Stats tells how these queues are doing, in their order, or those of the
// namespace, sorted by name, when none is named. A queue that is named and not
// there gives the destination class.
func (b *Broker) Stats(namespace string, names []string) ([]om.QueueStats, error) {
	const op = "read statistics"
	var queues []*Queue
	for _, name := range names {
		q, err := b.Queue(op, name)
		if err != nil {
			return nil, err
		}
		queues = append(queues, q)
	}
	if len(names) == 0 {
		var err error
		if queues, err = b.Queues(namespace); err != nil {
			return nil, err
		}
	}
	out := make([]om.QueueStats, 0, len(queues))
	for _, q := range queues {
		s, err := q.Stats()
		if len(names) == 0 && errors.Is(err, om.CodeDestinationNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
