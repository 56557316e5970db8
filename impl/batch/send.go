// Package batch is what the drivers of the reference broker share: it makes
// chunks of messages that are sent, and deliveries of chunks that are received.
package batch

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/compression"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Queue is what dividing messages needs to know of a queue. Two values for one
// queue are equal.
type Queue interface {
	// Partitions returns how many partitions the queue has.
	Partitions() int
	// PartitionOf returns the partition of a message key.
	PartitionOf(key string) int32
	// NextPartition returns the partition for messages without a key.
	NextPartition() int32
}

// Limits are the broker's.
type Limits struct {
	spi.Limits
	ChunkMessages int // messages in a chunk

	Delay                         time.Duration
	DelayedMessages, DelayedBytes int // in a chunk with delays
}

// maxPriority is the highest priority.
const maxPriority = 10

// chunkBytes is the size from which messages go into another chunk.
const chunkBytes = 4 << 20

// Encoder makes chunks for one producer. Its methods may be called
// concurrently.
type Encoder struct {
	producer     uint64 // random; makes message ids unique together with sequence
	sequence     atomic.Uint64
	limits       Limits
	capabilities om.Capabilities
	builders     sync.Pool
}

// NewEncoder returns an encoder with a producer number of its own, for a broker
// with these limits and capabilities.
func NewEncoder(limits Limits, capabilities om.Capabilities) *Encoder {
	var random [8]byte
	_, _ = rand.Read(random[:])
	e := &Encoder{producer: binary.BigEndian.Uint64(random[:]), limits: limits, capabilities: capabilities}
	e.builders.New = func() any { return new(chunk.Builder) }
	return e
}

// Part is the messages of a call for one partition that fit into one chunk.
type Part struct {
	Queue     Queue
	Partition int32
	Indexes   []int // of the messages

	inTurn   bool // the partition is the queue's choice
	delayed  bool
	bytes    int
	sequence uint64
	builder  *chunk.Builder
}

// Divide checks the messages and distributes them to partitions: the one they
// ask for, the one of their key, or for the others of the call the queue's next.
// What is refused gets its outcome. lookup finds the queue of a destination.
func (e *Encoder) Divide(ms []*om.Message, outcomes []spi.Outcome, lookup func(destination string) (Queue, error)) (parts []Part) {
	var queue Queue
	var name string
	last := -1 // the part of the last message, which is the one of most
	for i, m := range ms {
		if queue == nil || m.Destination != name {
			var err error
			if queue, err = lookup(m.Destination); err != nil {
				outcomes[i].Err = err
				queue = nil
				continue
			}
			name = m.Destination
		}
		bytes, err := e.check(m, queue)
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		partition, asked := m.Ext.Partition.Get()
		if !asked && m.Ext.MessageKey != "" {
			partition, asked = queue.PartitionOf(m.Ext.MessageKey), true
		}
		fits := func(p *Part) bool {
			return p.Queue == queue && p.delayed == (m.Ext.Delay > 0) && (p.Partition == partition && asked || p.inTurn && !asked)
		}
		if last < 0 || !fits(&parts[last]) {
			last = len(parts) - 1
			for last >= 0 && !fits(&parts[last]) {
				last--
			}
		}
		if !asked {
			if last >= 0 {
				partition = parts[last].Partition
			} else {
				partition = queue.NextPartition()
			}
		}
		if last < 0 || e.full(&parts[last], bytes) {
			parts = append(parts, Part{Queue: queue, Partition: partition, inTurn: !asked, delayed: m.Ext.Delay > 0, Indexes: make([]int, 0, len(ms)-i)})
			last = len(parts) - 1
		}
		p := &parts[last]
		p.Indexes = append(p.Indexes, i)
		p.bytes += bytes
	}
	return parts
}

// full reports whether a message of that size goes into another chunk.
func (e *Encoder) full(p *Part, bytes int) bool {
	if p.delayed {
		return p.bytes+bytes > e.limits.DelayedBytes/2 || len(p.Indexes) == e.limits.DelayedMessages
	}
	return p.bytes+bytes > chunkBytes || len(p.Indexes) == e.limits.ChunkMessages
}

// check refuses what the broker does not do or hold, and returns the size of
// the message.
func (e *Encoder) check(m *om.Message, q Queue) (int, error) {
	if err := e.limits.Admit("send", m, e.capabilities, q.Partitions()); err != nil {
		return 0, err
	}
	header := len(m.Destination) + len(m.Compression) + len(m.Ext.CorrelationID) + len(m.Ext.MessageKey) + len(m.Ext.TraceID)
	refuse := func(code om.Code, format string, args ...any) (int, error) {
		return 0, om.NewError(code, "send", m.Destination, format, args...)
	}
	switch {
	case m.Compression != "" && !compression.Known(m.Compression):
		return refuse(om.CodeUnsupported, "there is no compression %q; use %q or %q", m.Compression, compression.Gzip, compression.Zstd)
	case m.Ext.Delay > e.limits.Delay:
		return refuse(om.CodeBadParameter, "the delay %v is longer than %v", m.Ext.Delay, e.limits.Delay)
	}
	return len(m.Body) + m.Properties.Size() + header, nil
}

// Encode makes the chunk of a part. The bytes are valid until Release. Chunks
// get ascending sequence numbers in the order of calls.
func (e *Encoder) Encode(p *Part, ms []*om.Message) []byte {
	p.builder = e.builders.Get().(*chunk.Builder)
	p.sequence = e.sequence.Add(uint64(len(p.Indexes))) - uint64(len(p.Indexes))
	first := int64(math.MaxInt64)
	for _, i := range p.Indexes {
		first = min(first, ms[i].BornAt.UnixMilli())
	}
	m := ms[p.Indexes[0]]
	p.builder.Reset(e.producer, p.sequence, m.BornHost, m.Version, time.UnixMilli(first))
	for _, i := range p.Indexes {
		p.builder.Add(stored(ms[i]))
	}
	return p.builder.Finish()
}

// EncodePrepared makes the chunk of a part of one message that is prepared, and
// returns its id, which is also that of its transaction.
func (e *Encoder) EncodePrepared(p *Part, ms []*om.Message) (data []byte, id string) {
	p.builder = e.builders.Get().(*chunk.Builder)
	p.sequence = e.sequence.Add(1) - 1
	half := *stored(ms[p.Indexes[0]])
	id = string(chunk.AppendID(nil, e.producer, p.sequence))
	half.Ext.TransactionID = id
	p.builder.Reset(e.producer, p.sequence, half.BornHost, half.Version, half.BornAt)
	p.builder.Add(&half)
	return p.builder.Finish(), id
}

// stored returns a message as it is stored.
func stored(m *om.Message) *om.Message {
	if m.Compression == "" && m.Ext.Priority <= maxPriority {
		return m
	}
	changed := *m
	if m.Compression != "" {
		changed.Body = compression.Compress(m.Compression, m.Body)
	}
	if m.Ext.Priority > maxPriority {
		changed.Ext.Priority = 0 // R040
	}
	return &changed
}

// Release ends the use of a part's chunk. It is not called while anybody may
// still read the chunk.
func (e *Encoder) Release(p *Part) { e.builders.Put(p.builder) }

// Known is a message that was not stored, because one with its id was.
type Known struct {
	Number             int    // of the message in its chunk
	Resent             bool   // it is the same one
	Producer, Sequence uint64 // of the one that is stored
	Partition          int32
	Offset             int64
}

// Stored fills the outcomes of a part. What of its chunk is not known lies at
// base; the offset of delayed messages is not known yet, and -1. known ascends.
func (e *Encoder) Stored(p *Part, partition int32, base int64, known []Known, outcomes []spi.Outcome) {
	at := base
	chunk.IDs(e.producer, p.sequence, len(p.Indexes), func(k int, id string) {
		r := &outcomes[p.Indexes[k]].SendResult
		if len(known) > 0 && known[0].Number == k {
			d := &known[0]
			*r = om.SendResult{MessageID: string(chunk.AppendID(nil, d.Producer, d.Sequence)), Partition: d.Partition, Offset: d.Offset, Duplicate: !d.Resent}
			known = known[1:]
			return
		}
		*r = om.SendResult{MessageID: id, Partition: partition, Offset: at}
		if at >= 0 {
			at++
		}
	})
}

// Refused fills the outcomes of a part whose chunk was refused.
func (p *Part) Refused(err error, outcomes []spi.Outcome) {
	for _, i := range p.Indexes {
		outcomes[i].Err = err
	}
}

// Refusal returns the error of the first message that was refused, nil when
// none was.
func Refusal(outcomes []spi.Outcome) error {
	for i := range outcomes {
		if outcomes[i].Err != nil {
			return outcomes[i].Err
		}
	}
	return nil
}

// Results returns the results of messages that are all stored.
func Results(outcomes []spi.Outcome) []om.SendResult {
	results := make([]om.SendResult, len(outcomes))
	for i := range outcomes {
		results[i] = outcomes[i].SendResult
	}
	return results
}
