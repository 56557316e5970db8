package broker

import "context"

// A delivery is counted when it ends unsettled, and one that kills the process in
// which the broker is does not end. So after a life that was not closed in good
// order, the deliveries of all that was there then are counted before they are
// made: what kills each life reaches its group's MaxDeliveries.

// suspect has the messages looked upon so that are there after such a life.
func (b *Broker) suspect() {
	if !b.ids.Open {
		return
	}
	for _, q := range b.queues {
		for _, g := range q.groups {
			for i, p := range g.parts {
				p.suspect = q.list()[i].stored
			}
		}
	}
}

// countAhead counts deliveries of suspects, before they are handed out.
func (r *Receiver) countAhead(leases []granted) error {
	g := r.group
	var c countDeliveries
	g.queue.mu.Lock()
	for _, l := range leases {
		p := l.progress
		if left := l.left.within(0, p.suspect); len(left) > 0 && g.leases[l.id] == l.lease {
			c = append(c, early{p, p.generation, left})
		}
	}
	g.queue.mu.Unlock()
	if len(c) == 0 {
		return nil
	}
	return g.queue.b.submit(context.Background(), c)
}

// countDeliveries counts deliveries that have not ended.
type countDeliveries []early

type early struct {
	progress   *progress
	generation uint32
	offsets    ranges
}

func (c countDeliveries) apply(_ *Broker, tx *transaction) error {
	q := c[0].progress.group.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range c {
		p := e.progress
		if e.generation != p.generation || p.group.removed {
			continue
		}
		for _, s := range p.unsettled(e.offsets) {
			for from := s.From; from < s.To; {
				n, end := p.counted.at(from, s.To)
				if n == 0 {
					p.counts.increment(from, end)
				}
				from = end
			}
			p.counted.add(s.From, s.To)
		}
		tx.touch(p)
	}
	return nil
}

// ended counts a delivery that has ended unsettled.
func (p *progress) ended(from, to int64) {
	for from < to {
		n, end := p.counted.at(from, to)
		if n == 0 {
			p.counts.increment(from, end)
		}
		p.counted.remove(from, end)
		from = end
	}
}
