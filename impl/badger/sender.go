package badger

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sender implements spi.Sender. It encodes the messages of a call into one
// chunk for each partition.
type sender struct {
	conn     *conn
	producer uint64 // random; makes message ids unique together with sequence
	sequence atomic.Uint64
	builders sync.Pool
	closed   atomic.Bool
}

func newSender(c *conn) *sender {
	var random [8]byte
	_, _ = rand.Read(random[:])
	s := &sender{conn: c, producer: binary.BigEndian.Uint64(random[:])}
	s.builders.New = func() any { return new(chunk.Builder) }
	return s
}

func (s *sender) Close(context.Context) error {
	s.closed.Store(true)
	return nil
}

// part is the messages of a call for one partition that fit into one chunk.
type part struct {
	queue     *broker.Queue
	partition int32
	indexes   []int // of the messages
	bytes     int
	sequence  uint64
}

// chunkBytes is the size from which messages go into another chunk.
const chunkBytes = 4 << 20

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.conn.begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, om.NewError(om.CodeClosed, "send", "", "the sender is closed")
	}
	outcomes := make([]spi.Outcome, len(ms))
	parts := s.divide(ms, outcomes)
	appends := make([]broker.Append, len(parts))
	builders := make([]*chunk.Builder, len(parts))
	for i, p := range parts {
		builders[i] = s.builders.Get().(*chunk.Builder)
		p.sequence = s.sequence.Add(uint64(len(p.indexes))) - uint64(len(p.indexes))
		appends[i] = broker.Append{Queue: p.queue, Partition: p.partition, Chunk: s.encode(builders[i], p, ms)}
	}
	if err := s.conn.broker.Publish(ctx, appends); err != nil {
		return nil, err // the builders' memory is still being read
	}
	for i, p := range parts {
		s.builders.Put(builders[i])
		if err := appends[i].Err; err != nil {
			for _, j := range p.indexes {
				outcomes[j].Err = err
			}
			continue
		}
		for k, id := range chunk.IDs(s.producer, p.sequence, len(p.indexes)) {
			outcomes[p.indexes[k]].SendResult = om.SendResult{MessageID: id, Partition: p.partition, Offset: appends[i].Base + int64(k)}
		}
	}
	return outcomes, nil
}

// divide checks the messages and distributes them to partitions: the one they
// ask for, the one of their key, or for the others of the call one in turn.
func (s *sender) divide(ms []*om.Message, outcomes []spi.Outcome) (parts []*part) {
	type target struct {
		queue     *broker.Queue
		partition int32
	}
	open := make(map[target]*part)
	inTurn := make(map[*broker.Queue]int32)
	var queue *broker.Queue
	var name string
	var last *part // of the last message, which is the one of most
	for i, m := range ms {
		if queue == nil || m.Destination != name {
			var err error
			if queue, err = s.conn.broker.Queue("send", m.Destination); err != nil {
				outcomes[i].Err = err
				queue = nil
				continue
			}
			name = m.Destination
		}
		bytes, err := check(m, queue)
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		to := target{queue: queue}
		if n, ok := m.Ext.Partition.Get(); ok {
			to.partition = n
		} else if m.Ext.MessageKey != "" {
			to.partition = queue.PartitionOf(m.Ext.MessageKey)
		} else if n, ok := inTurn[queue]; ok {
			to.partition = n
		} else {
			to.partition = queue.NextPartition()
			inTurn[queue] = to.partition
		}
		p := last
		if p == nil || p.queue != to.queue || p.partition != to.partition {
			p = open[to]
		}
		if p == nil || p.bytes+bytes > chunkBytes || len(p.indexes) == broker.MaxChunkMessages {
			p = &part{queue: queue, partition: to.partition, indexes: make([]int, 0, len(ms)-i)}
			parts = append(parts, p)
			open[to] = p
		}
		p.indexes = append(p.indexes, i)
		p.bytes += bytes
		last = p
	}
	return parts
}

// check refuses what the broker does not do or hold, and returns the size of
// the message.
func check(m *om.Message, q *broker.Queue) (int, error) {
	size := chunk.Measure(m)
	refuse := func(code om.Code, format string, args ...any) (int, error) {
		return 0, om.NewError(code, "send", m.Destination, format, args...)
	}
	switch {
	case size.Body > broker.MaxBody:
		return refuse(om.CodeBodyTooLarge, "the body has %d bytes, %d are the most", size.Body, broker.MaxBody)
	case size.Properties > broker.MaxProperties:
		return refuse(om.CodePropertiesTooLarge, "the properties have %d bytes, %d are the most", size.Properties, broker.MaxProperties)
	case size.Header > broker.MaxHeader:
		return refuse(om.CodeHeaderTooLarge, "the header has %d bytes, %d are the most", size.Header, broker.MaxHeader)
	case m.QoS != om.AtLeastOnce:
		return refuse(om.CodeUnsupported, "%v delivery is not there", m.QoS)
	case m.Compression != "":
		return refuse(om.CodeUnsupported, "compression is not there")
	case m.Ext.Delay != 0:
		return refuse(om.CodeUnsupported, "delayed delivery is not there")
	case !m.Ext.ExpireAt.IsZero():
		return refuse(om.CodeUnsupported, "expiry is not there")
	case m.Ext.Priority != 0:
		return refuse(om.CodeUnsupported, "priorities are not there")
	}
	if n, ok := m.Ext.Partition.Get(); ok && (n < 0 || int(n) >= q.Partitions()) {
		return refuse(om.CodeBadParameter, "partition %d is not in 0 to %d", n, q.Partitions()-1)
	}
	return size.Body + size.Properties + size.Header, nil
}

func (s *sender) encode(b *chunk.Builder, p *part, ms []*om.Message) []byte {
	first := int64(math.MaxInt64)
	for _, i := range p.indexes {
		first = min(first, ms[i].BornAt.UnixMilli())
	}
	m := ms[p.indexes[0]]
	b.Reset(s.producer, p.sequence, m.BornHost, m.Version, time.UnixMilli(first))
	for _, i := range p.indexes {
		b.Add(ms[i])
	}
	return b.Finish()
}
