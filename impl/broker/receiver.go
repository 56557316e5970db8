package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
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

	joined *Member // of an assigned group; nil shares it
	member *member // while it is one
	fenced bool    // another member came with its id
}

// waiter is a call of Receive that waits; its channel has room for one wake.
type waiter struct {
	receiver *Receiver
	wake     chan struct{}
}

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

// ReceiverConfig is what NewReceiver gets.
type ReceiverConfig struct {
	Queue string
	Group string
	Start om.Position // of a group that the queue does not know yet
	// Filter is that of the group: the same as its other receivers have. The
	// first one may change it.
	Filter om.Filter
	Lease  time.Duration
	// Member makes the receiver a member of an assigned group, which then gets
	// messages as its heartbeats say; nil shares the group.
	Member *Member
}

// NewReceiver makes a receiver. The group is made when the queue does not know
// it.
func (b *Broker) NewReceiver(ctx context.Context, c ReceiverConfig) (*Receiver, error) {
	const op = "bind"
	q, err := b.Queue(op, c.Queue)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkName(op, "group", c.Group), q.reserved(op, c.Group)); err != nil {
		return nil, err
	}
	if c.Lease <= 0 {
		return nil, om.NewError(om.CodeBadParameter, op, q.name, "the lease %v is not positive", c.Lease)
	}
	if c.Member != nil {
		if err := c.Member.check(op, q.name); err != nil {
			return nil, err
		}
	}
	s, err := newSelector(op, q.name, c.Filter)
	if err != nil {
		return nil, err
	}
	if q.record.Expires > 0 {
		if err := b.submit(ctx, &useQueues{[]*Queue{q}}); err != nil {
			return nil, err
		}
	}
	for {
		r, cmd, err := q.addReceiver(c, s)
		if r != nil || err != nil {
			return r, err
		}
		if cmd == nil {
			cursors, err := q.resolveAll(c.Start)
			if err != nil {
				return nil, err
			}
			cmd = &createGroup{q, c.Group, cursors, s}
		}
		if err := b.submit(ctx, cmd); err != nil {
			return nil, err
		}
	}
}

// addReceiver adds a receiver to a group, or returns nil when there is no such
// group, or its filter has to be changed first by a command.
func (q *Queue) addReceiver(c ReceiverConfig, s *selector) (*Receiver, command, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return nil, nil, notFound("bind", q.name)
	}
	if q.b.isClosed() {
		return nil, nil, errClosed
	}
	g := q.groups[c.Group]
	if g == nil {
		return nil, nil, nil
	}
	if err := g.admits(c.Member); err != nil {
		return nil, nil, err
	}
	if g.selector.filter() != c.Filter {
		return nil, &setGroupFilter{q, c.Group, s}, nil
	}
	r := &Receiver{
		group: g, duration: c.Lease, turn: len(g.receivers),
		ended: make(chan struct{}), joined: c.Member,
	}
	g.receivers[r] = true
	if r.joined == nil {
		g.assigned = nil
	} else {
		g.join(r)
	}
	return r, nil, nil
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
	wait := waiter{r, make(chan struct{}, 1)}
	var seen recordReader
	for {
		leases, next, err := r.take(int64(limit), seen.bytes < receiveBytes, wait)
		switch {
		case err != nil:
			return nil, err
		case next != nil:
			if err := cmp.Or(r.look(next, &seen, limit), ctx.Err()); err != nil {
				r.leaveToOthers()
				return nil, err
			}
			continue
		case len(leases) > 0:
			spans, err := r.read(leases, &seen)
			if errors.Is(err, store.ErrDropped) || err == nil && len(spans) == 0 {
				continue // retention was faster and has settled them, or a new filter leaves them out
			}
			return spans, err
		}
		select {
		case <-wait.wake:
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
	runs     ranges
	delivery int
	recheck  bool
	once     ranges // to be settled before they are handed out
}

// take leases what is ready. When that is less than limit and more is allowed
// it returns a partition instead whose next record the caller must look at;
// when there is nothing at all it puts the caller into the line of those that
// wait.
func (r *Receiver) take(limit int64, more bool, wait waiter) (leases []granted, next *progress, err error) {
	g := r.group
	q := g.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.closed {
		g.wakeForWork() // it may have looked at something
		return nil, nil, r.endErrorLocked()
	}
	wanted := limit
	if q.urgent {
		wanted = max(limit, lookAhead)
	}
	parts := r.parts()
	ready := countReady(parts, wanted)
	if ready == 0 || more && ready < wanted {
		for i := range parts {
			p := parts[(r.turn+i)%len(parts)]
			if p.hasNext(q.list()[p.partition].end) {
				p.looking = true
				return nil, p, nil
			}
		}
	}
	if ready == 0 {
		g.wakeForWork() // what it has looked at may have become somebody else's
		g.waiting = append(g.waiting, wait)
		q.waiting[g] = true
		return nil, nil, nil
	}
	ends := time.Now().Add(r.duration)
	r.turn++
	for i := range parts {
		p := parts[(r.turn+i)%len(parts)]
		p.turn++
		for limit > 0 && len(p.ready) > 0 {
			again := p.ready[0].From < p.recheck
			runs, count := p.take(limit)
			n := runs.count()
			limit -= n
			leases = append(leases, granted{g.lease(p, r, slices.Clone(runs), ends), runs, int(count) + 1, again, nil})
		}
	}
	g.wakeForWork()
	return leases, nil, nil
}

// leaveToOthers wakes who is next in line when there is something that the caller
// has looked at and does not take.
func (r *Receiver) leaveToOthers() {
	r.group.queue.mu.Lock()
	defer r.group.queue.mu.Unlock()
	r.group.wakeForWork()
}

// leaveLine ends waiting without having received; a wake that came meanwhile
// goes to the next in line.
func (r *Receiver) leaveLine(wait waiter) {
	r.group.queue.mu.Lock()
	defer r.group.queue.mu.Unlock()
	r.group.forgetWaiting(wait)
	select {
	case <-wait.wake:
		r.group.wakeForWork()
	default:
	}
}

// read fetches the chunks of leases. What is over receiveBytes, and what cannot
// be read, goes back untouched; the error is returned only when nothing could
// be read.
func (r *Receiver) read(leases []granted, seen *recordReader) (spans []Span, err error) {
	q := r.group.queue
	seen.bytes = 0
	for k := range leases {
		l := &leases[k]
		log := q.list()[l.progress.partition].log
		for i, run := range l.runs {
			at := run.From
			for at < run.To && err == nil && (seen.bytes < receiveBytes || len(spans) == 0) {
				var s Span
				if s, err = seen.span(q.b.store, log, at, run.To); err != nil {
					break
				}
				at = s.Base + int64(s.Count)
				s.Queue, s.Partition, s.Lease, s.Ends, s.Delivery = q.name, int32(l.progress.partition), l.id, l.ends, l.delivery
				if !l.recheck && s.Header.Flags&(chunk.HasExpiry|chunk.HasQoS) == 0 {
					spans = append(spans, s)
				} else if spans, err = r.check(spans, s, l); err != nil {
					break
				}
			}
			if at < run.To {
				l.runs[i].From = at
				r.putBack(l, l.runs[i:])
				break
			}
		}
	}
	if err := r.spend(leases, spans); err != nil {
		return nil, err
	}
	if err := r.countAhead(leases); err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		return nil, storeError(err, "receive", q.name)
	}
	return spans, cutSparse(spans)
}

// spend settles what is delivered at most once, before it is handed out, and
// counts what is.
func (r *Receiver) spend(leases []granted, spans []Span) error {
	c := &settle{group: r.group}
	r.group.queue.mu.Lock()
	r.group.count(spans, time.Now().UnixMilli())
	for _, l := range leases {
		for _, s := range l.once {
			c.done = append(c.done, settled{progress: l.progress, generation: l.progress.generation, from: s.From, to: s.To, delivered: true})
			r.group.settleLease(l.lease, s.From, s.To)
		}
	}
	r.group.queue.mu.Unlock()
	if len(c.done) == 0 {
		return nil
	}
	return r.group.queue.b.submit(context.Background(), c)
}

// check appends the parts of a span that match the filters of now and have not
// expired, and settles the others. It notes what is to be delivered at most
// once.
func (r *Receiver) check(spans []Span, s Span, l *granted) ([]Span, error) {
	g := r.group
	g.queue.mu.Lock()
	selectors := g.selectors()
	g.queue.mu.Unlock()
	var left, gone ranges
	begin := -1 // of the part that matches
	part := func(end int) {
		if begin >= 0 {
			m := s
			m.Base, m.Skip, m.Count = s.Base+int64(begin), s.Skip+begin, end-begin
			spans = append(spans, m)
			begin = -1
		}
	}
	var v chunk.View
	now := time.Now().UnixMilli()
	w := chunk.Walk(s.Chunk, s.Header, s.Skip)
	for i := 0; i < s.Count && w.Next(&v); i++ {
		at := s.Base + int64(i)
		if expired(&v, now) {
			gone.add(at, at+1)
		} else if !matches(&v, selectors) {
			left.add(at, at+1)
		} else {
			if v.QoS == om.AtMostOnce {
				l.once.add(at, at+1)
			}
			if begin < 0 {
				begin = i
			}
			continue
		}
		part(i)
	}
	if err := w.Err(); err != nil {
		return spans, err
	}
	part(s.Count)
	if len(left)+len(gone) > 0 {
		r.passOver(l, left, gone)
	}
	return spans, nil
}

// passOver settles offsets of a lease that are left out or have expired.
func (r *Receiver) passOver(l *granted, left, expired ranges) {
	g := r.group
	g.queue.mu.Lock()
	if g.leases[l.id] != l.lease {
		g.queue.mu.Unlock()
		return
	}
	for _, o := range slices.Concat(left, expired) {
		g.settleLease(l.lease, o.From, o.To)
	}
	var late dead
	if g.queue.buriesExpired() {
		late, expired = newDead(l.progress, expired), nil
	}
	g.queue.b.commits.enqueue(&pending{cmd: g.pass(l.progress, left, expired)})
	g.queue.mu.Unlock()
	if len(late.offsets) > 0 {
		g.buryNow(late)
	}
}

// putBack returns the end of a lease as if it had never been taken.
func (r *Receiver) putBack(l *granted, runs ranges) {
	g := r.group
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	if g.leases[l.id] != l.lease {
		return
	}
	for _, s := range runs {
		g.settleLease(l.lease, s.From, s.To)
		l.progress.again(s.From, s.To)
	}
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
	if r.member != nil {
		return r.putOut()
	}
	return r.giveBackAll()
}

// giveBackAll gives back what the receiver has; Queue.mu is held.
func (r *Receiver) giveBackAll() (waits []*pending) {
	g := r.group
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
		waits = append(waits, g.giveBack(p, part, atOnce))
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
	if r.fenced {
		return om.NewError(om.CodeMemberFenced, "receive", q.name, "another member with the id %q has come; stop this one, or give it another id", r.joined.ID)
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
