package remote

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sender implements spi.Sender. It encodes the messages of a call into one
// chunk for each partition.
type sender struct {
	conn    *conn
	encoder *batch.Encoder
	closed  atomic.Bool
	// turn is held while chunks are numbered and put into the line, so that their
	// sequence numbers ascend on the way.
	turn chan struct{}
	// unanswered bounds the chunks that the server must know again.
	unanswered *semaphore.Weighted
	most       int64
	// transacted has encoders, each for one call at a time: calls may overtake each
	// other, and the server tells the chunks of one producer by their order.
	transacted sync.Pool
	producerID string // empty without one
	epoch      uint32

	group   string // of producers
	checker om.TransactionChecker
	life    context.Context // ends with Close
	end     context.CancelFunc
	asking  sync.WaitGroup // the stream of questions, calls of the checker, and who sends their answers
}

func newSender(c *conn) *sender {
	most := max(1, int64(c.limits.GetMaxUnanswered()))
	limits := batch.Limits{
		Limits:          spi.Limits{Body: int(c.limits.GetMaxBody()), Properties: int(c.limits.GetMaxProperties()), Header: int(c.limits.GetMaxHeader())},
		ChunkMessages:   int(c.limits.GetMaxChunkMessages()),
		Delay:           time.Duration(c.limits.GetMaxDelay()) * time.Millisecond,
		DelayedMessages: int(c.limits.GetMaxDelayedMessages()), DelayedBytes: int(c.limits.GetMaxDelayedBytes()),
	}
	s := &sender{
		conn: c, turn: make(chan struct{}, 1), unanswered: semaphore.NewWeighted(most), most: most,
		encoder: batch.NewEncoder(limits, c.capabilities),
	}
	s.transacted.New = func() any { return batch.NewEncoder(limits, c.capabilities) }
	return s
}

func (s *sender) Close(ctx context.Context) error {
	s.closed.Store(true)
	s.end()
	_, err := spi.Bound(ctx, func() (any, error) { s.asking.Wait(); return nil, nil }, func(any) {})
	return err
}

func (s *sender) begin(ctx context.Context) error {
	if err := s.conn.begin(ctx, "send", ""); err != nil {
		return err
	}
	if s.closed.Load() {
		return om.NewError(om.CodeClosed, "send", "", "the sender is closed")
	}
	return nil
}

// maxDivisions is how often messages are divided among partitions before the
// driver gives up on a queue whose partitions change all the time.
const maxDivisions = 4

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	outcomes := make([]spi.Outcome, len(ms))
	again, err := s.send(ctx, ms, outcomes)
	for try := 1; err == nil && len(again) > 0 && try < maxDivisions; try++ {
		some := make([]*om.Message, len(again))
		for i, place := range again {
			some[i] = ms[place]
		}
		results := make([]spi.Outcome, len(again))
		var left []int
		left, err = s.send(ctx, some, results)
		for i, place := range again {
			outcomes[place] = results[i]
		}
		for i, k := range left {
			left[i] = again[k]
		}
		again = left
	}
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// send sends messages once. It returns the places of those that were divided by
// a wrong number of partitions; what their queues have is known now.
func (s *sender) send(ctx context.Context, ms []*om.Message, outcomes []spi.Outcome) (again []int, err error) {
	parts := s.encoder.Divide(ms, outcomes, func(name string) (batch.Queue, error) { return s.conn.queue(ctx, name) })
	if err := ctx.Err(); err != nil || len(parts) == 0 {
		return nil, err
	}
	weight := min(int64(len(parts)), s.most)
	if err := s.unanswered.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer s.unanswered.Release(weight)
	l := &letter{items: make([]item, len(parts)), answered: make(chan struct{})}
	if err := s.post(ctx, l, parts, ms); err != nil {
		return nil, err
	}
	if err := s.conn.publisher.await(ctx, l); err != nil {
		return nil, err // the parts' memory may still be read
	}
	for i := range parts {
		p, r, q := &parts[i], l.items[i].result, parts[i].Queue.(*queue)
		s.encoder.Release(p)
		switch {
		case l.items[i].err != nil:
			p.Refused(l.items[i].err, outcomes)
		case r.GetError() == nil:
			if r.GetPartitions() != 0 {
				s.conn.forget(q)
			}
			s.encoder.Stored(p, r.GetPartition(), r.GetBase(), knownMessages(r), outcomes)
		default:
			err := wire.FromError(r.GetError())
			if r.GetPartitions() != 0 || errors.Is(err, om.ErrDestination) {
				s.conn.forget(q)
			}
			if r.GetPartitions() != 0 {
				again = append(again, p.Indexes...)
			}
			p.Refused(err, outcomes)
		}
	}
	return again, nil
}

// post encodes the parts of a call and puts them into the line.
func (s *sender) post(ctx context.Context, l *letter, parts []batch.Part, ms []*om.Message) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for i := range parts {
		l.items[i] = item{letter: l, append: s.append(&parts[i], s.encoder.Encode(&parts[i], ms))}
	}
	l.left.Store(int32(len(parts)))
	return s.conn.publisher.post(ctx, l)
}

// append is a part as it travels.
func (s *sender) append(p *batch.Part, chunk []byte) *wirepb.Append {
	q := p.Queue.(*queue)
	a := &wirepb.Append{Queue: q.name, Partition: p.Partition, Idempotent: true, Chunk: chunk, ProducerId: s.producerID, ProducerEpoch: s.epoch}
	if p.Partition >= 0 {
		a.Partitions = int32(q.partitions)
	}
	return a
}

func knownMessages(r *wirepb.AppendResult) []batch.Known {
	ks := make([]batch.Known, len(r.GetKnown()))
	for i, k := range r.GetKnown() {
		ks[i] = batch.Known{
			Number: int(k.GetNumber()), Resent: k.GetResent(), Producer: k.GetProducer(), Sequence: k.GetSequence(), Partition: k.GetPartition(), Offset: k.GetOffset(),
		}
	}
	return ks
}
