package broker

import (
	"sync"
	"time"
)

// What is due next is committed a little ahead of its instant and shown at it, so
// that it is not late by the time of a commit. What comes into the partition
// behind it waits with it, a few milliseconds at most, and a partition that gets
// messages without delay as well has nothing committed ahead.

const (
	// lead is how long before its due time a message is committed, and leadMost
	// what is committed along, in milliseconds.
	lead     = 4
	leadMost = 6
	// mixedTime is how long a message without delay keeps its partition from
	// being committed ahead, in milliseconds.
	mixedTime = 1000
)

// unseen is offsets that nobody sees before an instant.
type unseen struct {
	from int64
	due  int64 // milliseconds since 1970 UTC
}

// hold notes when what is appended may be seen; Queue.mu is held.
func (p *partition) hold(tx *transaction, base int64) {
	switch n := len(p.held); {
	case tx.due == 0:
		p.plain = tx.now
	case tx.due > tx.now && (n == 0 || p.held[n-1].due < tx.due):
		p.held = append(p.held, unseen{base, tx.due})
	}
}

// show lets receivers see what was committed and is due. It returns when there
// is more, 0 for never. Queue.mu is held.
func (q *Queue) show(p *partition) (next int64) {
	end := p.stored
	if len(p.held) > 0 {
		for now := time.Now().UnixMilli(); len(p.held) > 0 && p.held[0].due <= now; {
			p.held = p.held[1:]
		}
		if len(p.held) > 0 {
			end, next = min(end, p.held[0].from), p.held[0].due
		} else {
			p.held = nil
		}
	}
	if end > p.end {
		p.end = end
		for g := range q.waiting {
			g.wakeOne()
		}
		q.wakeReaders()
	}
	return next
}

// mixed reports whether a partition has messages without delay as well.
func (b *Broker) mixed(log uint64, now int64) bool {
	b.mu.RLock()
	owner, ok := b.logs[log]
	b.mu.RUnlock()
	if !ok {
		return false
	}
	owner.queue.mu.Lock()
	defer owner.queue.mu.Unlock()
	return now-owner.queue.list()[owner.partition].plain < mixedTime
}

// ahead is the partitions with messages that were committed ahead.
type ahead struct {
	mu    sync.Mutex
	first map[*partition]firstHeld
}

type firstHeld struct {
	queue *Queue
	due   int64
}

// add notes when there is more to see in a partition; 0 is never.
func (a *ahead) add(q *Queue, p *partition, due int64) {
	if due == 0 {
		return
	}
	a.mu.Lock()
	a.first[p] = firstHeld{q, due}
	a.mu.Unlock()
	signal(q.b.timers.changed)
}

// show shows what is due, and returns how long there is nothing more.
func (a *ahead) show() (wait time.Duration) {
	now := time.Now().UnixMilli()
	next := now + time.Hour.Milliseconds()
	ready := make(map[*partition]*Queue)
	a.mu.Lock()
	for p, f := range a.first {
		if f.due <= now {
			ready[p] = f.queue
			delete(a.first, p)
		} else {
			next = min(next, f.due)
		}
	}
	a.mu.Unlock()
	for p, q := range ready {
		q.mu.Lock()
		due := q.show(p)
		q.mu.Unlock()
		a.add(q, p, due)
	}
	return until(next)
}

// until is how long it is until a time in milliseconds since 1970 UTC.
func until(at int64) time.Duration { return time.Until(time.UnixMilli(at)) }

// awaitAhead waits for what was committed ahead before the broker was opened.
func (b *Broker) awaitAhead() {
	time.Sleep(min(until(b.timers.exposed), leadMost*time.Millisecond))
}
