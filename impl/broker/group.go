package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// group is a consumer group of a queue. Queue.mu guards it.
type group struct {
	queue       *Queue
	name        string
	record      groupRecord
	selector    *selector      // of record.Filter
	config      om.GroupConfig // as record says
	parts       []*progress    // by partition
	receivers   map[*Receiver]bool
	waiting     []waiter // in the order in which they began to wait
	leases      map[uint64]*lease
	ends        leaseHeap
	timer       *time.Timer // fires at the end of the first lease
	timerAt     time.Time
	lastLease   uint64
	delivered   meter
	redelivered meter
	settled     meter // by deliveries
	removed     bool
	passed      int       // growths of the queue before which everything is settled
	assigned    *assigned // nil in a shared group
}

// progress is how far a group is in one partition. Everything below cursor is
// settled, beyond it what settled says.
type progress struct {
	group     *group
	partition int

	// Durable.
	cursor  int64
	settled ranges // beyond cursor
	counts  ranges // of unsettled offsets: deliveries that ended unsettled
	lost    int64  // offsets that retention dropped unsettled
	expired int64  // offsets that were not delivered in time

	// In memory.
	suspect   int64  // below it deliveries are counted before they are made: see suspect.go
	counted   ranges // whose present delivery is among counts
	next      int64  // the first offset that no receiver has looked at in this life
	looking   bool   // a receiver reads the record at next
	recheck   int64  // what is ready before it was chosen by another filter
	ready     ranges // below next and to be delivered; N is 1
	inFlight  int64  // offsets under a lease or waiting for a delayed redelivery
	returning int    // releases that are not applied yet
	waiting   int64  // those that wait for a delayed redelivery
	beyond    int64  // offsets in settled
	oldest    aged   // the record that the cursor was in when somebody asked
	keys      keyOrder
	gated     []keyed // heads that wait for what lies before a growth of the queue
	urgency

	// generation counts the seeks: commands made before a seek mean nothing
	// after it.
	generation uint32
}

// groupRecord is the stored form of a group.
type groupRecord struct {
	Created int64        `msgpack:"created"` // milliseconds since 1970 UTC
	Filter  filterRecord `msgpack:"filter,omitempty"`

	// Both are empty for a group that was never configured.
	MaxDeliveries int     `msgpack:"max_deliveries,omitempty"`
	Backoff       []int64 `msgpack:"backoff,omitempty"` // milliseconds
}

// progressRecord is the stored form of a progress.
type progressRecord struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Cursor   int64
	Lost     int64
	Settled  []int64
	Counts   []int64
	Expired  int64
}

func groupKey(q *Queue, name string) string {
	return fmt.Sprintf("%s%016x/%s", keyGroup, q.record.ID, name)
}

func (p *progress) key() string {
	return fmt.Sprintf("%s%016x/%04x/%s", keyProgress, p.group.queue.record.ID, p.partition, p.group.name)
}

func (p *progress) encode() []byte {
	return encode(progressRecord{Cursor: p.cursor, Lost: p.lost, Settled: p.settled.flat(), Counts: p.counts.flat(), Expired: p.expired})
}

func newGroup(q *Queue, name string) *group {
	g := &group{queue: q, name: name, config: groupRecord{}.config(), receivers: make(map[*Receiver]bool), leases: make(map[uint64]*lease)}
	for i := range q.list() {
		g.parts = append(g.parts, &progress{group: g, partition: i})
	}
	q.groups[name] = g
	return g
}

func loadGroup(queues map[uint64]*Queue, key string, value []byte) error {
	var id uint64
	rest := strings.TrimPrefix(key, keyGroup)
	idText, name, ok := strings.Cut(rest, "/")
	if _, err := fmt.Sscanf(idText, "%016x", &id); err != nil || !ok || queues[id] == nil {
		return damaged(key, fmt.Errorf("a group of a queue that is not there"))
	}
	g := newGroup(queues[id], name)
	err := decode(key, value, &g.record)
	g.config = g.record.config()
	if err == nil {
		g.selector, err = g.record.Filter.selector(name)
	}
	return err
}

func loadProgress(queues map[uint64]*Queue, key string, value []byte) error {
	var id uint64
	var partition int
	parts := strings.SplitN(strings.TrimPrefix(key, keyProgress), "/", 3)
	if len(parts) != 3 {
		return damaged(key, fmt.Errorf("a malformed key"))
	}
	_, err1 := fmt.Sscanf(parts[0], "%016x", &id)
	_, err2 := fmt.Sscanf(parts[1], "%04x", &partition)
	q := queues[id]
	if err1 != nil || err2 != nil || q == nil || q.groups[parts[2]] == nil || partition >= len(q.list()) {
		return damaged(key, fmt.Errorf("progress of a group that is not there"))
	}
	var r progressRecord
	if err := msgpack.Unmarshal(value, &r); err != nil {
		return damaged(key, err)
	}
	p := q.groups[parts[2]].parts[partition]
	var ok1, ok2 bool
	p.settled, ok1 = unflat(r.Settled)
	p.counts, ok2 = unflat(r.Counts)
	if !ok1 || !ok2 || r.Cursor < 0 || r.Cursor > q.list()[partition].next {
		return damaged(key, fmt.Errorf("progress that cannot be"))
	}
	p.cursor, p.lost, p.expired, p.next, p.beyond = r.Cursor, r.Lost, r.Expired, r.Cursor, p.settled.count()
	return nil
}

// settle marks offsets as done and returns how many of them were not. It is
// called when a command is applied.
func (p *progress) settle(from, to int64) (n int64) {
	before := p.cursor
	n = max(to-max(from, p.cursor), 0) - p.settled.within(max(from, p.cursor), to).count()
	p.beyond += n
	p.settled.add(max(from, p.cursor), to)
	p.counts.remove(from, to)
	p.ready.remove(from, to)
	p.urgent.remove(from, to)
	if len(p.settled) > 0 && p.settled[0].From <= p.cursor {
		p.beyond -= p.settled[0].To - p.settled[0].From
		p.cursor = p.settled[0].To
		p.settled = p.settled[1:]
	}
	p.next = max(p.next, p.cursor)
	if p.keys.lines.count > 0 {
		p.keys.settled(from, to, func(at int64) bool { return p.isSettled(at, at+1) }, p.begin)
	}
	if p.cursor > before {
		p.group.openGates()
	}
	return n
}

// again has offsets delivered again, except those that retention has dropped
// while they were in somebody's hands.
func (p *progress) again(from, to int64) { p.ready.add(max(from, p.cursor), to) }

// isSettled reports whether all offsets of a range are settled.
func (p *progress) isSettled(from, to int64) bool {
	from = max(from, p.cursor)
	if from >= to {
		return true
	}
	n, end := p.settled.at(from, to)
	return n != 0 && end == to
}

// moveTo makes offset the cursor and forgets everything else.
func (p *progress) moveTo(offset int64) {
	p.cursor, p.next = offset, offset
	p.counted = nil
	p.settled, p.counts, p.ready, p.keys, p.gated, p.urgent = nil, nil, nil, keyOrder{}, nil, nil
	for id, l := range p.group.leases {
		if l.progress == p {
			p.group.drop(id)
		}
	}
	p.inFlight, p.waiting, p.beyond = 0, 0, 0
	p.generation++
}

// trim tells that offsets below begin are gone.
func (p *progress) trim(begin int64) (changed bool) {
	if p.cursor >= begin {
		return false
	}
	p.lost += begin - p.cursor - p.settled.within(p.cursor, begin).count()
	for _, l := range p.group.leases {
		if l.progress == p {
			p.group.settleLease(l, p.cursor, begin)
		}
	}
	p.settle(p.cursor, begin)
	return true
}

// unsettled returns the offsets of a set that are not settled.
func (p *progress) unsettled(of ranges) (out ranges) {
	for _, s := range of {
		for at := max(s.From, p.cursor); at < s.To; {
			settled, end := p.settled.at(at, s.To)
			if settled == 0 {
				out.add(at, end)
			}
			at = end
		}
	}
	return out
}

// hasNext reports whether a receiver may look at the record at next. Settled
// offsets are passed over.
func (p *progress) hasNext(end int64) bool {
	for p.next < end {
		settled, run := p.settled.at(p.next, end)
		if settled == 0 {
			return !p.looking && len(p.settled) <= maxHoles && p.inFlight+p.keys.behind+int64(len(p.gated)) < maxInFlight
		}
		p.next = run
	}
	return false
}

// offer has the offsets from next on delivered that are neither settled nor
// left out. Those with a key wait for their turn. What was delivered too often
// in an earlier life is returned.
func (p *progress) offer(to int64, s sifted) (dead ranges) {
	keys := s.keys
	for _, u := range s.urgent {
		p.urgent.set(max(u.From, p.next), u.To, u.N)
	}
	for at := p.next; at < to && len(p.counts) > 0; {
		count, end := p.counts.at(at, to)
		if p.group.exhausts(count) {
			dead.add(at, end)
		}
		at = end
	}
	for p.next < to {
		settled, run := p.settled.at(p.next, to)
		if settled == 0 {
			var out int32
			if out, run = s.out(p.next, run); out == 0 {
				out, run = dead.at(p.next, run)
			}
			if out == 0 {
				for len(keys) > 0 && keys[0].offset < p.next {
					keys = keys[1:]
				}
				from := p.next
				for ; len(keys) > 0 && keys[0].offset < run; keys = keys[1:] {
					if k := keys[0]; !p.keys.join(k) || p.gate(k) {
						p.ready.add(from, k.offset)
						from = k.offset + 1
					}
				}
				p.ready.add(from, run)
			}
		}
		p.next = run
	}
	return dead
}

// take picks ready offsets, at most limit, all with the same number of earlier
// deliveries.
func (p *progress) take(limit int64) (runs ranges, count int32) {
	if p.prefers() {
		return p.takeUrgent(limit)
	}
	for len(p.ready) > 0 && limit > 0 {
		from, to := p.ready[0].From, min(p.ready[0].To, p.ready[0].From+limit)
		n, to := p.counts.at(from, to)
		if len(runs) > 0 && n != count {
			break
		}
		count = n
		runs = append(runs, segment{from, to, 1})
		limit -= to - from
		if to == p.ready[0].To {
			p.ready = p.ready[1:]
		} else {
			p.ready[0].From = to
		}
	}
	return runs, count
}

// wakeForWork wakes a receiver when there is something for it.
func (g *group) wakeForWork() {
	if len(g.waiting) > 0 && (g.assigned != nil || anyWork(g.parts)) {
		g.wakeOne()
	}
}

// wakeOne wakes the call of Receive that waits longest, in an assigned group of
// those for which there is something. It passes the wake on when it leaves
// messages behind.
func (g *group) wakeOne() {
	i := 0
	if g.assigned != nil {
		i = slices.IndexFunc(g.waiting, func(w waiter) bool { return anyWork(w.receiver.parts()) })
	}
	if i >= 0 && i < len(g.waiting) {
		w := g.waiting[i]
		if i == 0 {
			g.waiting = g.waiting[1:]
		} else {
			g.waiting = slices.Delete(g.waiting, i, i+1)
		}
		g.lineChanged()
		w.wake <- struct{}{}
	}
}

func (g *group) lineChanged() {
	if len(g.waiting) == 0 {
		delete(g.queue.waiting, g)
	}
}

func (g *group) forgetWaiting(w waiter) {
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.lineChanged()
	}
}

// parts returns the partitions that the receiver is given messages of.
func (r *Receiver) parts() []*progress {
	switch {
	case r.joined == nil:
		return r.group.parts
	case r.member != nil:
		return r.member.serving
	}
	return nil
}

// countReady counts the offsets that are ready, up to limit.
func countReady(parts []*progress, limit int64) (n int64) {
	for _, p := range parts {
		for _, s := range p.ready {
			if n += s.To - s.From; n >= limit {
				return limit
			}
		}
	}
	return n
}

// anyWork reports whether a receiver would get something now.
func anyWork(parts []*progress) bool {
	for _, p := range parts {
		if len(p.ready) > 0 || p.hasNext(p.group.queue.list()[p.partition].end) {
			return true
		}
	}
	return false
}

// remove ends the group and deletes what is stored of it.
func (g *group) remove(tx *transaction) {
	g.removed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	for r := range g.receivers {
		r.end()
	}
	tx.batch.Delete(groupKey(g.queue, g.name))
	for _, p := range g.parts {
		tx.batch.Delete(p.key())
	}
	delete(g.queue.groups, g.name)
}

// createGroup makes a group that begins at the given offsets.
type createGroup struct {
	queue    *Queue
	name     string
	cursors  []int64
	selector *selector
}

func (c *createGroup) apply(_ *Broker, tx *transaction) error {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.deleted:
		return notFound("bind", q.name)
	case q.groups[c.name] != nil:
		return nil
	case (len(q.groups)+1)*len(q.list()) > MaxGroupPartitions:
		return om.NewError(om.CodeBadParameter, "bind", q.name,
			"the queue has %d groups and %d partitions, and the product cannot be more than %d; delete a group that is not needed", len(q.groups), len(q.list()), MaxGroupPartitions)
	}
	g := newGroup(q, c.name)
	g.selector = c.selector
	g.record = groupRecord{Created: tx.now, Filter: c.selector.record()}
	tx.batch.Put(groupKey(q, c.name), encode(g.record))
	for i, p := range g.parts {
		p.cursor = q.list()[i].clamp(c.cursors, i)
		p.next = p.cursor
		tx.touch(p)
	}
	return nil
}

// deleteGroup forgets a group.
type deleteGroup struct {
	queue *Queue
	name  string
}

func (c *deleteGroup) apply(_ *Broker, tx *transaction) error {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	g := c.queue.groups[c.name]
	if g == nil {
		return noGroup("delete group", c.queue.name, c.name)
	}
	g.remove(tx)
	return nil
}

func noGroup(op, queue, name string) error {
	return om.NewError(om.CodeGroupNotFound, op, queue, "the queue knows no group %q", name)
}

// seekGroup moves a group to the given offsets; it makes the group when it is
// not there.
type seekGroup createGroup

func (c *seekGroup) apply(b *Broker, tx *transaction) error {
	if err := (*createGroup)(c).apply(b, tx); err != nil {
		return err
	}
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[c.name]
	for i, p := range g.parts {
		p.moveTo(q.list()[i].clamp(c.cursors, i))
		tx.touch(p)
	}
	g.passed = 0
	g.wakeForWork()
	return nil
}

// trim tells that retention drops entries of logs. It is repeated while more
// is set: all groups together may be too much for one commit.
type trim struct {
	Starts map[uint64]int64
	more   bool
}

func (c *trim) apply(b *Broker, tx *transaction) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c.more = false
	for _, log := range slices.Sorted(maps.Keys(c.Starts)) {
		if owner, ok := b.logs[log]; ok && !owner.queue.trim(owner.partition, c.Starts[log], tx) {
			c.more = true
			return nil
		}
	}
	return nil
}

// trim reports false when the commit is full before all groups are done.
func (q *Queue) trim(partition int, start int64, tx *transaction) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.list()[partition]
	p.begin, p.end = max(p.begin, start), max(p.end, start)
	for _, name := range slices.Sorted(maps.Keys(q.groups)) {
		if tx.full() {
			return false
		}
		if part := q.groups[name].parts[partition]; part.trim(start) {
			tx.touch(part)
		}
	}
	return true
}
