package memory

import (
	"context"
	"hash/fnv"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// queue is a queue with its messages and groups. The system's lock guards all
// in this file.
type queue struct {
	s       *System
	config  om.QueueConfig // with the long name
	deleted bool
	parts   []*partition
	turn    int32 // the partition for the next message that asks for none
	filter  filter
	groups  map[string]*group
	waiting map[string]delayed // messages that are not due yet, by id
	came    tally              // messages that came to lie here
	bytes   tally              // of these
	// priorities tells that there was a message with a priority of its own.
	priorities bool
	ids        map[string]known // of a queue that deduplicates
	used       time.Time        // of one that expires: when somebody last sent, or a receiver was there
	cuts       [][]int64        // ends of the partitions before more were added, one for each time
}

// partition is a log of messages. The offset of log[i] is begin + i.
type partition struct {
	begin int64
	log   []*stored
}

func (p *partition) end() int64               { return p.begin + int64(len(p.log)) }
func (p *partition) message(at int64) *stored { return p.log[at-p.begin] }

// delayed is a message that is not due yet.
type delayed struct {
	m         *om.Message
	partition int32
	due       time.Time
	at        time.Time // when it was accepted
}

// stored is a message in a partition.
type stored struct {
	m        *om.Message // is never changed; the body lies as its Compression says
	storedAt time.Time
	matches  bool // the queue's filter

	redriven bool   // the dead letter is one no more
	only     string // the group that the message was redriven for
}

func (m *stored) expired(now time.Time) bool {
	return !m.m.Ext.ExpireAt.IsZero() && !m.m.Ext.ExpireAt.After(now)
}

// shown reports whether the message may be delivered to anyone.
func (m *stored) shown(now time.Time) bool { return m.matches && !m.expired(now) }

// addQueue adds a queue whose configuration is right.
func (s *System) addQueue(c om.QueueConfig) *queue {
	q := &queue{s: s, config: c, groups: map[string]*group{}, waiting: map[string]delayed{}, ids: map[string]known{}}
	for range c.Partitions {
		q.parts = append(q.parts, &partition{})
	}
	s.queues[c.Name] = q
	q.expireAfter(time.Now())
	return q
}

func (q *queue) partition(op string, n int32) (*partition, error) {
	if err := spi.CheckPartition(op, q.config.Name, n, len(q.parts)); err != nil {
		return nil, err
	}
	return q.parts[n], nil
}

// choose returns the partition for a message: the one it asks for, the one of
// its key, or what other chooses.
func (q *queue) choose(m *om.Message, other func() int32) int32 {
	if n, ok := m.Ext.Partition.Get(); ok && int(n) < len(q.parts) {
		return n
	}
	if m.Ext.MessageKey == "" {
		return other()
	}
	return partitionOf(m.Ext.MessageKey, len(q.parts))
}

// partitionOf returns the partition of a key among so many.
func partitionOf(key string, partitions int) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int32(h.Sum32() % uint32(partitions))
}

// AddPartitions gives a queue more partitions.
func (c *conn) AddPartitions(ctx context.Context, name string, total int) error {
	const op = "add partitions"
	q, err := c.beginQueue(ctx, om.CapAddPartitions, op, name)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if total < len(q.parts) || total > MaxPartitions {
		return om.NewError(om.CodeBadParameter, op, name, "%d partitions are not in %d to %d; none can be taken away", total, len(q.parts), MaxPartitions)
	}
	if total == len(q.parts) {
		return nil
	}
	var ends []int64
	for _, p := range q.parts {
		ends = append(ends, p.end())
	}
	q.cuts, q.config.Partitions = append(q.cuts, ends), total
	for range total - len(q.parts) {
		q.parts = append(q.parts, &partition{})
		for _, g := range q.groups {
			g.parts = append(g.parts, &progress{states: map[int64]*state{}})
		}
	}
	for _, g := range q.groups {
		g.allocate()
	}
	return nil
}

func (q *queue) nextTurn() int32 {
	n := q.turn
	q.turn = (q.turn + 1) % int32(len(q.parts))
	return n
}

// publish makes a message visible in its partition, now or when its delay is over.
// It returns where the message lies, -1 for what is not known yet.
func (q *queue) publish(m *om.Message, partition int32) (int32, int64) {
	q.used = time.Now()
	if due := m.BornAt.Add(m.Ext.Delay); m.Ext.Delay > 0 && due.After(time.Now()) {
		q.waiting[m.MessageID] = delayed{m, partition, due, time.Now()}
		q.s.at(due, func() {
			if q.waiting[m.MessageID].m != nil {
				delete(q.waiting, m.MessageID)
				q.add(m, q.choose(m, func() int32 { return partition }))
			}
		})
		return q.place(partition, -1)
	}
	return q.place(partition, q.add(m, partition))
}

// CancelDelayed has a message forgotten that waits to be due.
func (c *conn) CancelDelayed(ctx context.Context, name, id string) error {
	const op = "cancel"
	q, err := c.beginQueue(ctx, om.CapCancelDelay, op, name)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if q.waiting[id].m == nil {
		return om.NewError(om.CodeMessageNotFound, op, name, "no delayed message has the id %q", id)
	}
	delete(q.waiting, id)
	return nil
}

// add appends a message to a partition and has the routes copy it.
func (q *queue) add(m *om.Message, partition int32) (offset int64) {
	offset = q.put(m, partition, "")
	for _, r := range q.s.routesFrom(q) {
		r.copy(m)
	}
	return offset
}

// put appends a message to a partition for all groups, or for only one.
func (q *queue) put(m *om.Message, partition int32, only string) (offset int64) {
	p := q.parts[partition]
	q.used = time.Now()
	offset = p.end()
	p.log = append(p.log, &stored{m: m, storedAt: time.Now().UTC().Truncate(time.Millisecond), matches: q.filter.matches(m), only: only})
	q.came.add(1)
	q.bytes.add(int64(len(m.Body)))
	q.priorities = q.priorities || priorityOf(m) != unset
	q.s.wake()
	return offset
}

// deliver returns a copy of a message, complete as the receiver gets it. The
// queue has the name that the receiver gave.
func (q *queue) deliver(m *stored, name string, partition int32, count int) *om.Message {
	d := copyOut(m.m)
	d.Destination = name
	d.Ext.Partition = om.Opt[int32]{}
	if q.s.caps.Has(om.CapPartitions) {
		d.Ext.Partition = om.Some(partition)
	}
	if q.s.caps.Has(om.CapStoreInfo) {
		d.Ext.StoredAt, d.Ext.StoreHost = m.storedAt, StoreHost
	}
	if q.s.caps.Has(om.CapDeliveryCount) {
		d.Ext.DeliveryCount = count
	}
	return d
}

// place returns where a message lies as results tell it: -1 without partitions.
func (q *queue) place(partition int32, offset int64) (int32, int64) {
	if !q.s.caps.Has(om.CapPartitions) {
		return -1, -1
	}
	return partition, offset
}
