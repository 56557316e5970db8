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
	inTurn    bool  // the partition was chosen in turn
	indexes   []int // of the messages
	bytes     int
	sequence  uint64
	builder   *chunk.Builder
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
	for i := range parts {
		p := &parts[i]
		p.builder = s.builders.Get().(*chunk.Builder)
		p.sequence = s.sequence.Add(uint64(len(p.indexes))) - uint64(len(p.indexes))
		appends[i] = broker.Append{Queue: p.queue, Partition: p.partition, Chunk: s.encode(p, ms)}
	}
	if err := s.conn.broker.Publish(ctx, appends); err != nil {
		return nil, err // the builders' memory is still being read
	}
	for i := range parts {
		p := &parts[i]
		s.builders.Put(p.builder)
		if err := appends[i].Err; err != nil {
			for _, j := range p.indexes {
				outcomes[j].Err = err
			}
			continue
		}
		chunk.IDs(s.producer, p.sequence, len(p.indexes), func(k int, id string) {
			outcomes[p.indexes[k]].SendResult = om.SendResult{MessageID: id, Partition: p.partition, Offset: appends[i].Base + int64(k)}
		})
	}
	return outcomes, nil
}

// divide checks the messages and distributes them to partitions: the one they
// ask for, the one of their key, or for the others of the call one in turn.
func (s *sender) divide(ms []*om.Message, outcomes []spi.Outcome) (parts []part) {
	var queue *broker.Queue
	var name string
	last := -1 // the part of the last message, which is the one of most
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
		partition, asked := m.Ext.Partition.Get()
		if !asked && m.Ext.MessageKey != "" {
			partition, asked = queue.PartitionOf(m.Ext.MessageKey), true
		}
		fits := func(p *part) bool {
			return p.queue == queue && (p.partition == partition && asked || p.inTurn && !asked)
		}
		if last < 0 || !fits(&parts[last]) {
			last = len(parts) - 1
			for last >= 0 && !fits(&parts[last]) {
				last--
			}
		}
		if !asked {
			if last >= 0 {
				partition = parts[last].partition
			} else {
				partition = queue.NextPartition()
			}
		}
		if last < 0 || parts[last].bytes+bytes > chunkBytes || len(parts[last].indexes) == broker.MaxChunkMessages {
			parts = append(parts, part{queue: queue, partition: partition, inTurn: !asked, indexes: make([]int, 0, len(ms)-i)})
			last = len(parts) - 1
		}
		p := &parts[last]
		p.indexes = append(p.indexes, i)
		p.bytes += bytes
	}
	return parts
}

// check refuses what the broker does not do or hold, and returns the size of
// the message.
func check(m *om.Message, q *broker.Queue) (int, error) {
	body, properties := len(m.Body), m.Properties.Size()
	header := len(m.Destination) + len(m.Compression) + len(m.Ext.CorrelationID) + len(m.Ext.MessageKey) + len(m.Ext.TraceID)
	refuse := func(code om.Code, format string, args ...any) (int, error) {
		return 0, om.NewError(code, "send", m.Destination, format, args...)
	}
	switch {
	case body > broker.MaxBody:
		return refuse(om.CodeBodyTooLarge, "the body has %d bytes, %d are the most", body, broker.MaxBody)
	case properties > broker.MaxProperties:
		return refuse(om.CodePropertiesTooLarge, "the properties have %d bytes, %d are the most", properties, broker.MaxProperties)
	case header > broker.MaxHeader:
		return refuse(om.CodeHeaderTooLarge, "the header has %d bytes, %d are the most", header, broker.MaxHeader)
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
	return body + properties + header, nil
}

func (s *sender) encode(p *part, ms []*om.Message) []byte {
	b := p.builder
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
