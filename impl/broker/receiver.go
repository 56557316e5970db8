package broker

import (
	"context"
	"errors"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Receiver receives messages of one queue for one group. Its methods may be
// called concurrently.
type Receiver struct {
	group    *group
	duration time.Duration
	turn     int // the partition that is looked at first
	ended    chan struct{}
	closed   bool
}

// waiter is a call of Receive that waits; its channel has room for one wake.
type waiter chan struct{}

// Span is a run of messages of one chunk that a receiver was given.
type Span struct {
	Queue     string
	Partition int32
	Lease     uint64
	Ends      time.Time // of the lease
	Base      int64     // offset of the first message of the span
	Skip      int       // messages of the chunk before it
	Count     int       // messages in the span
	Delivery  int       // which delivery of each message this is, from 1
	StoredAt  int64     // milliseconds since 1970 UTC
	Header    chunk.Header
	Chunk     []byte // belongs to the caller; other spans may share it
}

// NewReceiver makes a receiver. The group is made, at start, when the queue does
// not know it.
func (b *Broker) NewReceiver(ctx context.Context, queue, groupName string, start om.Position, lease time.Duration) (*Receiver, error) {
	q, err := b.Queue("bind", queue)
	if err != nil {
		return nil, err
	}
	if err := checkName("bind", "group", groupName); err != nil {
		return nil, err
	}
	if lease <= 0 {
		return nil, om.NewError(om.CodeBadParameter, "bind", q.name, "the lease %v is not positive", lease)
	}
	for {
		if r, err := q.addReceiver(groupName, lease); r != nil || err != nil {
			return r, err
		}
		cursors, err := q.resolveAll(start)
		if err != nil {
			return nil, err
		}
		if err := b.submit(ctx, &createGroup{q, groupName, cursors}); err != nil {
			return nil, err
		}
	}
}

// addReceiver adds a receiver to a group, or returns nil when there is no such
// group.
func (q *Queue) addReceiver(groupName string, lease time.Duration) (*Receiver, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return nil, notFound("bind", q.name)
	}
	if q.b.isClosed() {
		return nil, errClosed
	}
	g := q.groups[groupName]
	if g == nil {
		return nil, nil
	}
	r := &Receiver{
		group: g, duration: lease, turn: len(g.receivers),
		ended: make(chan struct{}),
	}
	g.receivers[r] = true
	return r, nil
}

// Receive blocks until there are messages for the receiver and leases up to limit
// of them. Spans of a partition ascend, redeliveries excepted.
func (r *Receiver) Receive(ctx context.Context, limit int) ([]Span, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q := r.group.queue
	if limit < 1 || limit > MaxReceive {
		return nil, om.NewError(om.CodeBadParameter, "receive", q.name, "%d messages are not in 1 to %d", limit, MaxReceive)
	}
	wait := make(waiter, 1)
	for {
		leases, err := r.take(int64(limit), wait)
		if err != nil {
			return nil, err
		}
		if len(leases) > 0 {
			spans, err := r.read(leases)
			if errors.Is(err, store.ErrDropped) {
				continue // retention was faster and has settled them
			}
			return spans, err
		}
		select {
		case <-wait:
		case <-r.ended:
			r.leaveLine(wait)
			return nil, r.endError()
		case <-ctx.Done():
			r.leaveLine(wait)
			return nil, ctx.Err()
		}
	}
}

// granted is a lease as it was made.
type granted struct {
	*lease
	from, to int64
	delivery int
}

// take leases what there is, or puts the caller into the line of those that
// wait.
func (r *Receiver) take(limit int64, wait waiter) (leases []granted, err error) {
	g := r.group
	q := g.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.closed {
		return nil, r.endErrorLocked()
	}
	ends := time.Now().Add(r.duration)
	r.turn++
	for i := range g.parts {
		p := g.parts[(r.turn+i)%len(g.parts)]
		for limit > 0 {
			from, to, count, ok := p.take(q.partitions[p.partition].end, limit)
			if !ok {
				break
			}
			limit -= to - from
			if count > 0 {
				g.redelivered += to - from
			}
			leases = append(leases, granted{g.lease(p, r, from, to, ends), from, to, int(count) + 1})
		}
	}
	if len(leases) == 0 {
		g.waiting = append(g.waiting, wait)
		q.waiting[g] = true
		return nil, nil
	}
	g.wakeForWork()
	return leases, nil
}

// leaveLine ends waiting without having received; a wake that came meanwhile
// goes to the next in line.
func (r *Receiver) leaveLine(wait waiter) {
	r.group.queue.mu.Lock()
	defer r.group.queue.mu.Unlock()
	r.group.forgetWaiting(wait)
	select {
	case <-wait:
		r.group.wakeForWork()
	default:
	}
}

// read fetches the chunks of leases. What is over receiveBytes, and what cannot
// be read, goes back untouched; the error is returned only when nothing could
// be read.
func (r *Receiver) read(leases []granted) (spans []Span, err error) {
	q := r.group.queue
	bytes := 0
	for i, l := range leases {
		at := l.from
		for at < l.to && err == nil && (bytes < receiveBytes || len(spans) == 0) {
			var rec store.Record
			rec, err = q.b.store.Read(q.partitions[l.progress.partition].log, at)
			if err != nil {
				break
			}
			bytes += len(rec.Data)
			first := len(spans)
			if spans, err = appendSpans(spans, rec, at, l.to); err != nil {
				break
			}
			for j := first; j < len(spans); j++ {
				s := &spans[j]
				s.Queue, s.Partition, s.Lease, s.Ends, s.Delivery = q.name, int32(l.progress.partition), l.id, l.ends, l.delivery
				at = s.Base + int64(s.Count)
			}
		}
		if at < l.to {
			r.putBack(l, at)
		}
		if i == len(leases)-1 && err != nil && len(spans) == 0 {
			return nil, storeError(err, "receive", q.name)
		}
	}
	return spans, nil
}

// putBack returns the end of a lease as if it had never been taken.
func (r *Receiver) putBack(l granted, from int64) {
	g := r.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	if g.leases[l.id] != l.lease {
		return
	}
	g.settleLease(l.lease, from, l.to)
	l.progress.again(from, l.to)
}

// appendSpans appends the parts of a record's chunks inside [from, to).
func appendSpans(spans []Span, rec store.Record, from, to int64) ([]Span, error) {
	data := rec.Data
	for base := rec.Base; len(data) > 0 && base < to; {
		h, err := chunk.ParseHeader(data)
		if err != nil {
			return spans, err
		}
		end := base + int64(h.Count)
		if end > from {
			first, last := max(base, from), min(end, to)
			spans = append(spans, Span{
				Base: first, Skip: int(first - base), Count: int(last - first),
				StoredAt: rec.StoredAt, Header: h, Chunk: data[:h.Size:h.Size],
			})
		}
		base, data = end, data[h.Size:]
	}
	return spans, nil
}

// InFlight returns how many deliveries the receiver has that are not settled.
func (r *Receiver) InFlight() (n int64) {
	g := r.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	for _, l := range g.leases {
		if l.receiver == r {
			n += l.left.count()
		}
	}
	return n
}

// Close gives back what was received and not settled, counted as delivered,
// and ends the receiver. It returns when that is durable. Closing twice is a
// no-op.
func (r *Receiver) Close(ctx context.Context) error {
	g := r.group
	g.queue.mu.Lock()
	waits := r.end()
	g.queue.mu.Unlock()
	return await(ctx, waits)
}

// end ends the receiver; Queue.mu is held.
func (r *Receiver) end() (waits []*pending) {
	if r.closed {
		return nil
	}
	g := r.group
	r.closed = true
	close(r.ended)
	delete(g.receivers, r)
	if g.removed {
		return nil
	}
	left := make(map[*progress]ranges)
	for id, l := range g.leases {
		if l.receiver == r {
			part := left[l.progress]
			for _, s := range l.left {
				part.add(s.From, s.To)
			}
			left[l.progress] = part
			g.drop(id)
		}
	}
	for p, part := range left {
		waits = append(waits, g.giveBack(p, part, 0))
	}
	return waits
}

func (r *Receiver) endError() error {
	r.group.queue.mu.Lock()
	defer r.group.queue.mu.Unlock()
	return r.endErrorLocked()
}

func (r *Receiver) endErrorLocked() error {
	q := r.group.queue
	if q.deleted {
		return notFound("receive", q.name)
	}
	if r.group.removed {
		return noGroup("receive", q.name, r.group.name)
	}
	return om.NewError(om.CodeClosed, "receive", q.name, "the receiver is closed")
}

// closeReceivers ends all receivers of the queue.
func (q *Queue) closeReceivers() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, g := range q.groups {
		for r := range g.receivers {
			r.end()
		}
	}
	q.wakeReaders()
}

// stopTimers lets no lease end any more.
func (q *Queue) stopTimers() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, g := range q.groups {
		if g.timer != nil {
			g.timer.Stop()
		}
	}
}
