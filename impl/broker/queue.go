package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Queue is a queue of a broker. It stays valid until the queue is deleted;
// operations then give the destination class.
type Queue struct {
	b      *Broker
	record queueRecord
	name   string // "namespace://queue"
	turn   atomic.Uint32

	mu         sync.Mutex
	partitions atomic.Pointer[[]*partition] // a slice never changes; see list
	groups     map[string]*group
	selector   *selector       // of record.Filter
	waiting    map[*group]bool // those somebody waits for
	urgent     bool            // there were messages with priorities
	delayed    int64           // messages that are not due yet
	published  meter           // messages that came to lie here
	bytes      meter           // of these
	deleted    bool
	grown      chan struct{} // closed when messages come; nil when nobody waits

	once         *once // of a queue that deduplicates; the committer's own
	onceRecalled recalled
}

// partition is one log of a queue.
type partition struct {
	log   uint64
	begin int64 // oldest stored offset
	end   int64 // behind the newest message that can be seen
	next  int64 // behind the newest applied message; the committer's own

	growing bool   // applied messages wait for their commit; the committer's own
	newest  []aged // the last records that were committed

	stored int64    // behind the newest committed message
	held   []unseen // ascending; see timer_ahead.go
	plain  int64    // when a message came last that had no delay, milliseconds since 1970 UTC

	recalled recalled
}

// list returns the partitions. The slice never changes: one that grows is
// another one.
func (q *Queue) list() []*partition { return *q.partitions.Load() }

// Name returns "namespace://queue".
func (q *Queue) Name() string { return q.name }

// Partitions returns how many partitions the queue has.
func (q *Queue) Partitions() int { return len(q.list()) }

// Config returns the configuration of the queue.
func (q *Queue) Config() om.QueueConfig {
	c := om.QueueConfig{Name: q.name, Partitions: len(q.list()), Description: q.record.Description, DeadLetterExpired: q.record.DeadLetterExpired, TransactionCheck: q.record.Check, Expires: time.Duration(q.record.Expires) * time.Millisecond}
	if d := q.record.Deduplication; d != nil {
		c.Deduplication = om.Deduplication{By: d.By, Window: time.Duration(d.Window) * time.Millisecond}
	}
	return c
}

// PartitionOf returns the partition of a message key: the same for equal keys
// (R033).
func (q *Queue) PartitionOf(key string) int32 {
	return chunk.Partition(key, len(q.list()))
}

// spread chooses the partition of a chunk, always the same one for it.
func (q *Queue) spread(producer, sequence uint64) int32 {
	// The multiplier is that of Knuth's generator MMIX; its upper bits mix well.
	return int32(((producer ^ sequence) * 6364136223846793005 >> 32) % uint64(len(q.list())))
}

// NextPartition returns the partitions in turn, for messages without a key.
func (q *Queue) NextPartition() int32 {
	return int32((q.turn.Add(1) - 1) % uint32(len(q.list())))
}

// partition returns a partition by number.
func (q *Queue) partition(op string, n int32) (*partition, error) {
	if n < 0 || int(n) >= len(q.list()) {
		return nil, om.NewError(om.CodeBadParameter, op, q.name, "partition %d is not in 0 to %d", n, len(q.list())-1)
	}
	return q.list()[n], nil
}

// PartitionInfos describes the partitions.
func (q *Queue) PartitionInfos() []om.PartitionInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]om.PartitionInfo, len(q.list()))
	for i, p := range q.list() {
		out[i] = om.PartitionInfo{Queue: q.name, Partition: int32(i), Begin: p.begin, End: p.end, Messages: p.end - p.begin}
	}
	return out
}
