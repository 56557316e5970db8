package badger

import (
	"cmp"
	"context"
	"sync"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sender implements spi.Sender. It encodes the messages of a call into one
// chunk for each partition.
type sender struct {
	spi.Life
	conn    *conn
	encoder *batch.Encoder
	epoch   broker.Epoch

	group  string // of producers
	forget func() // ends the questions about transactions; nil without a checker
	ending sync.RWMutex
	asking sync.WaitGroup // calls of the checker
}

func newSender(c *conn) *sender {
	return &sender{conn: c, encoder: batch.NewEncoder(batch.Limits{
		Limits:        spi.Limits{Body: broker.MaxBody, Properties: broker.MaxProperties, Header: broker.MaxHeader},
		ChunkMessages: broker.MaxChunkMessages,
		Delay:         broker.MaxDelay, DelayedMessages: broker.MaxDelayedMessages, DelayedBytes: broker.MaxDelayedBytes,
	}, c.capabilities)}
}

func (s *sender) Close(ctx context.Context) error {
	s.conn.Disown(s)
	if s.forget != nil {
		s.forget()
	}
	s.ending.Lock()
	err := s.End(ctx, nil)
	s.ending.Unlock()
	_, late := spi.Bound(ctx, func() (any, error) { s.asking.Wait(); return nil, nil }, func(any) {})
	return cmp.Or(err, late)
}

func (s *sender) queue(destination string) (batch.Queue, error) {
	q, err := s.conn.broker.Queue("send", destination)
	if err != nil {
		return nil, err
	}
	return view{q, q.Partitions()}, nil
}

// view is a queue with the partitions that it has while a call divides its
// messages. It may get more meanwhile.
type view struct {
	*broker.Queue
	partitions int
}

func (v view) Partitions() int              { return v.partitions }
func (v view) PartitionOf(key string) int32 { return chunk.Partition(key, v.partitions) }

// encode makes the chunks of messages.
func (s *sender) encode(parts []batch.Part, ms []*om.Message) []broker.Append {
	appends := make([]broker.Append, len(parts))
	for i := range parts {
		p := &parts[i]
		q := p.Queue.(view)
		appends[i] = broker.Append{Queue: q.Queue, Partition: p.Partition, Divided: q.partitions, Chunk: s.encoder.Encode(p, ms), Epoch: s.epoch}
	}
	return appends
}

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.Begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	outcomes := make([]spi.Outcome, len(ms))
	parts := s.encoder.Divide(ms, outcomes, s.queue)
	appends := s.encode(parts, ms)
	if err := s.conn.broker.Publish(ctx, appends); err != nil {
		return nil, err // the parts' memory is still being read
	}
	for i := range parts {
		p, a := &parts[i], &appends[i]
		s.encoder.Release(p)
		if a.Err != nil {
			p.Refused(a.Err, outcomes)
			continue
		}
		s.encoder.Stored(p, p.Partition, a.Base, known(a), outcomes)
	}
	return outcomes, nil
}

// SendTransacted implements spi.TransactedSender.
func (s *sender) SendTransacted(ctx context.Context, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
	if err := s.Begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	settled := make([]broker.Acknowledgement, len(acks))
	for i, a := range acks {
		r, ok := spi.As[*receiver](a.Receiver)
		if !ok || r.conn != s.conn {
			return nil, om.NewError(om.CodeBadParameter, "ack", "", "receiver %d is not one of this connection", i)
		}
		ranges, _, err := batch.Ranges("ack", r.queue, a.Receipts)
		if err != nil {
			return nil, err
		}
		settled[i] = r.broker.Acknowledgement(receiptsOf(ranges))
	}
	outcomes := make([]spi.Outcome, len(ms))
	parts := s.encoder.Divide(ms, outcomes, s.queue)
	if err := batch.Refusal(outcomes); err != nil {
		return nil, err
	}
	appends := s.encode(parts, ms)
	err := s.conn.broker.PublishTransacted(ctx, appends, settled)
	if err != nil && ctx.Err() != nil {
		return nil, err // the parts' memory may still be read
	}
	for i := range parts {
		s.encoder.Release(&parts[i])
		s.encoder.Stored(&parts[i], parts[i].Partition, appends[i].Base, known(&appends[i]), outcomes)
	}
	if err != nil {
		return nil, err
	}
	return batch.Results(outcomes), nil
}

func known(a *broker.Append) []batch.Known {
	ks := make([]batch.Known, len(a.Known))
	for i, k := range a.Known {
		ks[i] = batch.Known(k)
	}
	return ks
}
