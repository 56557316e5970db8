package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// maxGrowths bounds how often a queue gets more partitions.
const maxGrowths = 32

// growthRecord is the stored form of one addition of partitions to a queue. It
// is a cut through the partitions that were there: the messages of a key may lie
// in one partition before it and in another one behind it.
//
// Order by key holds across it: what is new goes where the greater number of
// partitions wants it, and a group gets a message with a key that lies behind the
// cut only when it has settled all that lies before the cut in the partition that
// the key had then. What waits for that is progress.gated.
type growthRecord struct {
	FirstLog uint64  `msgpack:"first_log"` // of those that were added; the others follow it
	Ends     []int64 `msgpack:"ends"`      // of the partitions that were there
}

// end is where the cut is in a partition.
func (x *growthRecord) end(partition int) int64 {
	if partition < len(x.Ends) {
		return x.Ends[partition]
	}
	return 0
}

// log returns the log of a partition.
func (r *queueRecord) log(partition int) uint64 {
	for _, x := range slices.Backward(r.Growth) {
		if from := len(x.Ends); partition >= from {
			return x.FirstLog + uint64(partition-from)
		}
	}
	return r.FirstLog + uint64(partition)
}

// grew reports whether the growth that is recorded can be.
func (r *queueRecord) grew() bool {
	before := 0
	for _, x := range r.Growth {
		if len(x.Ends) <= before || len(x.Ends) >= r.Partitions {
			return false
		}
		before = len(x.Ends)
	}
	return true
}

// addPartition adds a partition that is empty or will be loaded. Broker.mu and
// Queue.mu are held, or not needed yet.
func (b *Broker) addPartition(q *Queue, log uint64) {
	ps := q.list()
	b.logs[log] = logOwner{q, len(ps)}
	ps = append(slices.Clip(ps), &partition{log: log})
	q.partitions.Store(&ps)
}

// clamp returns the offset of a cursor that was found out before, the nearest
// that there is. A partition that was added meanwhile has none: it begins at its
// begin.
func (p *partition) clamp(cursors []int64, i int) int64 {
	if i >= len(cursors) {
		return p.begin
	}
	return min(max(cursors[i], p.begin), p.next)
}

// Had reports whether the queue has, or had before partitions were added, so
// many; 0 stands for any number.
func (q *Queue) Had(partitions int) bool {
	if partitions == 0 || partitions == q.Partitions() {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.record.Growth, func(x growthRecord) bool { return len(x.Ends) == partitions })
}

// AddPartitions gives a queue more partitions, total together, and returns when
// that is durable. A queue that has that many already stays as it is; fewer give
// CodeBadParameter, and so do a dead-letter queue and one that has grown
// maxGrowths times.
func (b *Broker) AddPartitions(ctx context.Context, queue string, total int) error {
	q, err := b.Queue("add partitions", queue)
	if err != nil {
		return err
	}
	return b.submit(ctx, &addPartitions{q, total})
}

type addPartitions struct {
	queue *Queue
	total int
}

func (c *addPartitions) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := c.check(); err != nil || c.total == q.Partitions() {
		return err
	}
	x := growthRecord{FirstLog: b.ids.Log + 1}
	for _, p := range q.list() {
		x.Ends = append(x.Ends, p.next)
	}
	for i := len(x.Ends); i < c.total; i++ {
		b.ids.Log++
		tx.batch.CreateLog(b.ids.Log)
		b.addPartition(q, b.ids.Log)
		for _, g := range q.groups {
			g.parts = append(g.parts, &progress{group: g, partition: i})
		}
	}
	for _, g := range q.groups {
		g.grown()
	}
	b.ids.put(tx)
	q.record.Partitions, q.record.Growth = c.total, append(q.record.Growth, x)
	tx.batch.Put(q.record.key(), encode(q.record))
	for _, r := range b.routes {
		if r.source == q {
			r.progress = append(r.progress, make([]handled, c.total-len(x.Ends))...)
			r.putCursors(tx)
		}
	}
	return nil
}

func (c *addPartitions) check() error {
	q := c.queue
	refuse := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, "add partitions", q.name, format, args...)
	}
	switch n := q.Partitions(); {
	case q.deleted:
		return notFound("add partitions", q.name)
	case c.total < n:
		return refuse("the queue has %d partitions, and %d are fewer; none can be taken away", n, c.total)
	case c.total > MaxPartitions:
		return refuse("%d partitions are not in %d to %d", c.total, n, MaxPartitions)
	case !q.buries():
		return refuse("a dead-letter queue and a reply queue have one partition")
	case len(q.groups)*c.total > MaxGroupPartitions:
		return refuse("the queue has %d groups, and their number times that of the partitions cannot be more than %d; delete a group that is not needed", len(q.groups), MaxGroupPartitions)
	case len(q.record.Growth) >= maxGrowths && c.total > n:
		return refuse("it got more partitions %d times already, which is the most; make a queue with enough of them and a route to it", maxGrowths)
	}
	return nil
}

// begin makes the first message of a key ready, unless it has to wait.
func (p *progress) begin(k keyed) {
	if !p.gate(k) {
		p.ready.add(k.offset, k.offset+1)
	}
}

// gate has the first message of a key wait for what lies before a growth of the
// queue, and reports whether it has to.
func (p *progress) gate(k keyed) bool {
	waits := p.group.waits(p, k)
	if waits {
		p.gated = append(p.gated, k)
	}
	return waits
}

// waits reports whether messages of the key may be unsettled that lie in another
// partition before a growth of the queue and are older.
func (g *group) waits(p *progress, k keyed) bool {
	growth := g.queue.record.Growth
	for i := g.passed; i < len(growth); i++ {
		x := &growth[i]
		if k.offset < x.end(p.partition) {
			continue
		}
		if before := int(chunk.PartitionOfHash(k.key, len(x.Ends))); before != p.partition && g.parts[before].cursor < x.Ends[before] {
			return true
		}
	}
	return false
}

// openGates makes ready what waits no more. It is called when a cursor has moved.
func (g *group) openGates() {
	growth := g.queue.record.Growth
	if g.passed == len(growth) {
		return
	}
	for g.passed < len(growth) && g.hasPassed(&growth[g.passed]) {
		g.passed++
	}
	for _, p := range g.parts {
		p.gated = slices.DeleteFunc(p.gated, func(k keyed) bool {
			line := p.keys.heads.at(k.offset)
			open := line == nil || !g.waits(p, k) // retention may have settled it
			if open && line != nil {
				p.ready.add(k.offset, k.offset+1)
			}
			return open
		})
	}
}

func (g *group) hasPassed(x *growthRecord) bool {
	for i, end := range x.Ends {
		if g.parts[i].cursor < end {
			return false
		}
	}
	return true
}

// cutOf returns up to where the route may copy a partition: what lies behind a
// growth of the source waits for all that lies before it. The source's lock is
// held.
func (r *route) cutOf(partition int) int64 {
	for _, x := range r.source.record.Growth {
		for i, end := range x.Ends {
			if max(r.work.next[i], r.source.list()[i].begin) < end {
				return x.end(partition)
			}
		}
	}
	return r.source.list()[partition].end
}

// homes divides a chunk that lies in a partition, or was meant for it, by the
// number of partitions that the queue has now: messages go to the partition of
// their key when this one was it once. It returns nil when all of them stay.
func (q *Queue) homes(partition int, data []byte, h chunk.Header) (runs []chunk.Run, homes []int) {
	moved := false
	var v chunk.View
	w := chunk.Walk(data, h, 0)
	for w.Next(&v) {
		to := partition
		if v.MessageKey != "" && q.wasOf(v.MessageKey, partition) {
			to = int(q.PartitionOf(v.MessageKey))
		}
		moved = moved || to != partition
		if n := len(runs) - 1; n >= 0 && homes[n] == to {
			runs[n].Count++
			continue
		}
		runs, homes = append(runs, chunk.Run{Skip: v.Number, Count: 1}), append(homes, to)
	}
	if !moved || w.Err() != nil { // it was checked when it came
		return nil, nil
	}
	return runs, homes
}

// home is homes for a chunk of one message.
func (q *Queue) home(partition int, data []byte) int {
	h, err := chunk.ParseHeader(data)
	sound(err)
	if runs, homes := q.homes(partition, data, h); runs != nil {
		return homes[0]
	}
	return partition
}

// wasOf reports whether a key had a partition before the queue grew.
func (q *Queue) wasOf(key string, partition int) bool {
	return slices.ContainsFunc(q.record.Growth, func(x growthRecord) bool { return int(chunk.Partition(key, len(x.Ends))) == partition })
}

// appendHome is append for a chunk that may have been divided before the queue
// grew.
func (q *Queue) appendHome(tx *transaction, partition int, h chunk.Header, data []byte) {
	if h.Flags&chunk.HasKey != 0 && len(q.record.Growth) > 0 {
		if runs, homes := q.homes(partition, data, h); runs != nil {
			sound(cutChunk(data, h, runs, func(i int, part []byte, _ chunk.Header) {
				q.append(tx, q.list()[homes[i]], runs[i].Count, part)
			}))
			return
		}
	}
	q.append(tx, q.list()[partition], h.Count, data)
}

// sound is for chunks that were checked when they came.
func sound(err error) {
	if err != nil {
		panic(fmt.Sprintf("bug: a chunk that was checked cannot be cut: %v", err))
	}
}

// moves are parts of a chunk that go to several partitions, because the queue
// has grown since it was divided.
type moves struct {
	header chunk.Header
	runs   []chunk.Run
	homes  []int
}

// moves returns nil when the chunk stays together. Queue.mu is held.
func (c *publish) moves() *moves {
	q := c.queue
	if !c.keyed || c.parts != nil || c.divided == 0 || c.divided == q.Partitions() || len(q.record.Growth) == 0 {
		return nil
	}
	h, err := chunk.ParseHeader(c.chunk)
	sound(err)
	m := &moves{header: h}
	if m.runs, m.homes = q.homes(c.partition, c.chunk, h); m.runs == nil {
		return nil
	}
	return m
}

// storeMoved stores the parts of the chunk where they belong now, and tells of
// each message where it is.
func (c *publish) storeMoved(b *Broker, tx *transaction, m *moves) {
	sound(cutChunk(c.chunk, m.header, m.runs, func(i int, data []byte, h chunk.Header) {
		run := m.runs[i]
		part := publish{queue: c.queue, partition: m.homes[i], chunk: data, count: run.Count, producer: c.producer, sequence: c.sequence + uint64(run.Skip)}
		p := c.queue.list()[part.partition]
		part.base = p.next
		if c.ids != nil {
			part.ids = c.ids[run.Skip : run.Skip+run.Count]
			part.storeOnce(b, tx, p)
		} else {
			part.storeChunk(b, tx, p)
		}
		at, known := part.base, part.known
		for k := range run.Count {
			here := Known{Number: k, Resent: true, Producer: c.producer, Sequence: part.sequence + uint64(k), Partition: int32(part.partition), Offset: at}
			if len(known) > 0 && known[0].Number == k {
				here, known = known[0], known[1:]
			} else {
				at++
			}
			here.Number += run.Skip
			c.known = append(c.known, here)
		}
	}))
}
