package broker

import (
	"container/heap"
	"time"
)

// lease holds offsets back from other receivers until it ends. A lease without
// a receiver is a delayed redelivery.
type lease struct {
	id       uint64
	progress *progress
	receiver *Receiver
	left     ranges // what is not settled yet
	ends     time.Time
	index    int // in the heap
}

// leaseBits is how many bits of a lease's number count the leases of one life
// of the broker.
const leaseBits = 44

// lease makes a lease over offsets. Its number has the broker's epoch in front,
// so that numbers of an earlier life mean nothing.
func (g *group) lease(p *progress, r *Receiver, offsets ranges, ends time.Time) *lease {
	g.lastLease++
	l := &lease{
		id:       uint64(g.queue.b.epoch)<<leaseBits | g.lastLease,
		progress: p, receiver: r, ends: ends,
		left: offsets,
	}
	l.count(offsets.count())
	g.hold(l)
	return l
}

// count counts offsets that come under the lease, or with less than 0 leave it.
func (l *lease) count(n int64) {
	l.progress.inFlight += n
	if l.receiver == nil {
		l.progress.waiting += n
	}
}

// hold keeps a lease until its time comes.
func (g *group) hold(l *lease) {
	g.leases[l.id] = l
	heap.Push(&g.ends, l)
	g.schedule()
}

// settleLease takes offsets out of a lease; it ends when nothing is left.
func (g *group) settleLease(l *lease, from, to int64) {
	before := l.left.count()
	l.left.remove(from, to)
	l.count(l.left.count() - before)
	if len(l.left) == 0 {
		g.drop(l.id)
	}
}

// drop forgets a lease and what is left of it.
func (g *group) drop(id uint64) {
	l := g.leases[id]
	l.count(-l.left.count())
	delete(g.leases, id)
	heap.Remove(&g.ends, l.index)
}

// extend lets a lease end later or earlier.
func (g *group) extend(l *lease, ends time.Time) {
	l.ends = ends
	heap.Fix(&g.ends, l.index)
	g.schedule()
}

// schedule sets the timer to the end of the first lease.
func (g *group) schedule() {
	if len(g.ends) == 0 || g.removed || g.queue.b.isClosed() {
		return
	}
	first := g.ends[0].ends
	switch {
	case g.timer == nil:
		g.timer = time.AfterFunc(time.Until(first), g.expire)
	case g.timerAt.IsZero() || first.Before(g.timerAt):
		g.timer.Reset(time.Until(first))
	default:
		return // it fires early enough, and then is set anew
	}
	g.timerAt = first
}

// expire ends the leases whose time has come: it runs when the timer fires.
func (g *group) expire() {
	q := g.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	g.timerAt = time.Time{}
	now := time.Now()
	for len(g.ends) > 0 && !g.ends[0].ends.After(now) {
		l := g.ends[0]
		left := l.left
		g.drop(l.id)
		if l.receiver == nil {
			for _, s := range left {
				g.again(l.progress, s.From, s.To)
			}
			g.wakeOne()
		} else {
			g.giveBack(l.progress, left, byBackoff)
		}
	}
	g.schedule()
}

// What giveBack may be told instead of a delay.
const (
	atOnce    time.Duration = 0
	byBackoff time.Duration = -1 // as the group is configured
)

// giveBack has offsets counted as delivered once more and then delivered again,
// after a delay. They are in nobody's hands until the command is applied.
func (g *group) giveBack(p *progress, left ranges, delay time.Duration) *pending {
	p.returning++
	return g.queue.b.commits.submit(&release{progress: p, left: left, at: time.Now(), delay: delay, generation: p.generation})
}

// release ends deliveries without settling them.
type release struct {
	progress   *progress
	left       ranges
	at         time.Time // when they were given back
	delay      time.Duration
	generation uint32
}

func (c *release) apply(_ *Broker, tx *transaction) error {
	p := c.progress
	g := p.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	p.returning--
	defer g.assign(p)
	if g.removed || c.generation != p.generation {
		return nil
	}
	for _, s := range c.left {
		// Others may have been settled meanwhile, by retention for example.
		from, to := max(s.From, p.cursor), min(s.To, p.next)
		for from < to {
			settled, end := p.settled.at(from, to)
			if settled == 0 {
				p.ended(from, end)
				c.again(from, end)
			}
			from = end
		}
	}
	tx.touch(p)
	g.wakeOne()
	return nil
}

// again has offsets delivered again, at once or when their time has come.
func (c *release) again(from, to int64) {
	p, g := c.progress, c.progress.group
	for from < to {
		count, end := p.counts.at(from, to)
		delay := c.delay
		if delay == byBackoff {
			delay = g.config.Backoff.After(int(count))
		}
		if delay > 0 && !g.exhausts(count) {
			g.lease(p, nil, ranges{{from, end, 1}}, c.at.Add(delay))
		} else {
			g.again(p, from, end)
		}
		from = end
	}
}

// again has offsets delivered again now, or buried where that was too often.
func (g *group) again(p *progress, from, to int64) {
	for from < to {
		count, end := p.counts.at(from, to)
		if g.exhausts(count) {
			g.buryLater(p, ranges{{from, end, 1}})
		} else {
			p.again(from, end)
		}
		from = end
	}
}

// leaseHeap orders leases by their end.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].ends.Before(h[j].ends) }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is part of heap.Interface.
func (h *leaseHeap) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop is part of heap.Interface.
func (h *leaseHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
