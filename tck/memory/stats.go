package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// tally counts what happens and remembers when.
type tally struct {
	total  int64
	counts map[int64]int64 // by second since 1970 UTC
}

func (t *tally) add(n int64) {
	if t.counts == nil {
		t.counts = map[int64]int64{}
	}
	t.total += n
	t.counts[time.Now().Unix()] += n
}

func (t *tally) counter(now time.Time) om.Counter {
	seconds := int64(om.RateWindow / time.Second)
	var sum int64
	for second, n := range t.counts {
		if now.Unix()-seconds <= second && second < now.Unix() {
			sum += n
		}
	}
	return om.Counter{Total: t.total, Rate: float64(sum) / float64(seconds)}
}

// beginCounting has the queue and its groups count from 0.
func (q *queue) beginCounting() {
	q.came, q.bytes = tally{}, tally{}
	for _, g := range q.groups {
		g.delivered, g.redelivered, g.acked = tally{}, tally{}, tally{}
	}
}

func (c *conn) Stats(ctx context.Context, namespace string, names []string) (out []om.QueueStats, err error) {
	const op = "read statistics"
	if err := c.begin(ctx, om.CapStats, op, namespace); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	if len(names) == 0 {
		if !c.s.namespaces[namespace] {
			return nil, noNamespace(op, namespace, namespace)
		}
		for _, config := range c.s.queuesOf(namespace) {
			names = append(names, config.Name)
		}
	}
	for _, name := range names {
		q, err := c.s.queue(op, name)
		if err != nil {
			return nil, err
		}
		out = append(out, q.stats(time.Now()))
	}
	return out, nil
}

func (q *queue) stats(now time.Time) om.QueueStats {
	s := om.QueueStats{
		Queue: q.config.Name, Partitions: len(q.parts), Delayed: int64(len(q.waiting)),
		Published: q.came.counter(now), PublishedBytes: q.bytes.counter(now), Groups: []om.GroupStats{},
	}
	for _, p := range q.parts {
		s.Depth += p.end() - p.begin
	}
	for _, t := range q.s.transactions {
		if t.message.queue == q && t.ended == om.TxUnknown {
			s.Prepared++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.groups)) {
		s.Groups = append(s.Groups, q.groups[name].stats(now))
	}
	return s
}

func (g *group) stats(now time.Time) om.GroupStats {
	info := g.info(now)
	s := om.GroupStats{
		Group: g.name, Consumers: info.Consumers, Lag: info.Lag, InFlight: info.InFlight, Lost: info.Lost, Expired: info.Expired,
		Delivered: g.delivered.counter(now), Redelivered: g.redelivered.counter(now), Acknowledged: g.acked.counter(now),
	}
	for n, p := range g.parts {
		for at := p.cursor; at < g.q.parts[n].end(); at++ {
			m, st := g.q.parts[n].message(at), p.states[at]
			held := st != nil && st.lease != nil
			if !held && (m.expired(now) || st != nil && st.settled) {
				continue
			}
			s.OldestAge = max(s.OldestAge, now.Sub(m.storedAt).Truncate(time.Millisecond))
			if !held && st != nil && st.due.After(now) {
				s.Waiting++
			}
		}
	}
	if dlq := g.q.s.queues[om.DeadLetterQueue(g.q.config.Name, g.name)]; dlq != nil {
		for _, m := range dlq.parts[0].log {
			if !m.redriven {
				s.Dead++
			}
		}
	}
	return s
}
