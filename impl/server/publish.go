package server

import (
	"cmp"
	"context"
	"io"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	"github.com/openmessaging/openmessaging-go/internal/semconv"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// maxWaiting bounds the requests of a publish stream that wait for their commit;
// the broker bounds their bytes.
const maxWaiting = 64

// maxAppends bounds the chunks of one request.
const maxAppends = 4096

// publication is a request on its way to its response.
type publication struct {
	appends []broker.Append
	places  []int // of the appends in the results
	results []*wirepb.AppendResult
	broker  broker.Publication
	counts  []int // of the messages of the request's appends
	spans   []trace.Span
	began   time.Time
}

func (p *publication) refuse(i int, err error) { p.results[i].Error = wire.Error(away(err)) }

// Publish implements wirepb.MessagingServiceServer. One goroutine takes requests
// and hands their chunks to the broker, in order; the other waits for them and
// answers, in the same order.
func (m *messaging) Publish(stream grpc.BidiStreamingServer[wirepb.PublishRequest, wirepb.PublishResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	waiting := make(chan *publication, maxWaiting)
	ended := make(chan error, 1)
	go func() {
		ended <- m.takeRequests(ctx, stream, waiting)
		close(waiting)
	}()
	defer func() {
		cancel()
		go func() { // takeRequests ends with the stream
			for p := range waiting {
				_ = p.broker.Wait(ctx)
			}
		}()
	}()
	out := m.s.newOutbox(stream, "publish")
	for {
		var p *publication
		var ok bool
		select {
		case p, ok = <-waiting:
		case <-m.s.life.Done(): // what was taken is answered
			select {
			case p, ok = <-waiting:
			default:
				return errDraining
			}
		}
		if !ok {
			return <-ended
		}
		if err := m.answer(ctx, p, out); err != nil {
			return err
		}
	}
}

func (m *messaging) takeRequests(ctx context.Context, stream grpc.BidiStreamingServer[wirepb.PublishRequest, wirepb.PublishResponse], waiting chan<- *publication) error {
	for {
		q, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if m.s.isDraining() {
			return errDraining
		}
		p, err := m.begin(ctx, q)
		if err != nil {
			return err
		}
		select {
		case waiting <- p:
		case <-ctx.Done():
			_ = p.broker.Wait(ctx)
			return ctx.Err()
		}
	}
}

// newPublication makes room for the results of appends, and counts them.
func newPublication(appends []*wirepb.Append) (p *publication, messages, bytes int) {
	n := len(appends)
	p = &publication{appends: make([]broker.Append, 0, n), results: make([]*wirepb.AppendResult, n), counts: make([]int, n), began: time.Now()}
	slab := make([]wirepb.AppendResult, n)
	for i, a := range appends {
		p.results[i] = &slab[i]
		if h, err := chunk.ParseHeader(a.GetChunk()); err == nil { // else the broker refuses it
			p.counts[i] = h.Count
		}
		messages, bytes = messages+p.counts[i], bytes+len(a.GetChunk())
	}
	return p, messages, bytes
}

// begin hands the chunks of a request to the broker, as far as the caller may
// send them.
func (m *messaging) begin(ctx context.Context, q *wirepb.PublishRequest) (*publication, error) {
	n := len(q.GetAppends())
	if n == 0 || n > maxAppends {
		return nil, om.NewError(om.CodeBadRequest, "send", "", "%d chunks are not in 1 to %d", n, maxAppends)
	}
	p, messages, bytes := newPublication(q.GetAppends())
	if err := m.s.pay(ctx, messages, bytes); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		for i := range p.results {
			p.refuse(i, err)
		}
		m.s.opts.Metrics.Failed(err)
		return p, nil
	}
	for i, a := range q.GetAppends() {
		if err := m.add(ctx, p, i, a); err != nil {
			p.refuse(i, err)
			m.s.opts.Metrics.Failed(err)
		}
	}
	var err error
	p.broker, err = m.broker.Begin(ctx, p.appends)
	return p, err
}

// add takes an append of a request, or tells why it is refused.
func (m *messaging) add(ctx context.Context, p *publication, i int, a *wirepb.Append) error {
	if err := m.s.allow(ctx, wirepb.MessagingService_Publish_FullMethodName, a); err != nil {
		return err
	}
	queue, err := m.broker.Queue("send", a.GetQueue())
	if err != nil {
		return err
	}
	if n := a.GetPartitions(); n != 0 && int(n) != queue.Partitions() {
		p.results[i].Partitions = int32(queue.Partitions())
		if !queue.Had(int(n)) {
			return om.NewError(om.CodeServiceUnavailable, "send", queue.Name(), "the queue has %d partitions, not %d; divide the messages anew", queue.Partitions(), n)
		}
	}
	p.appends = append(p.appends, broker.Append{
		Queue: queue, Partition: a.GetPartition(), Divided: int(a.GetPartitions()), Chunk: a.GetChunk(), Foreign: true, Idempotent: a.GetIdempotent(), Epoch: epoch(ctx, a),
	})
	p.places = append(p.places, i)
	if m.s.opts.Tracer != nil {
		p.spans = append(p.spans, m.s.span(ctx, semconv.Publish, queue.Name(), contexts(nil, a.GetChunk()), true, semconv.Count(p.counts[i])))
	}
	return nil
}

// pay counts messages and bytes against the caller's quota. It waits until the
// quota allows them, or returns why they must come again later.
func (s *Server) pay(ctx context.Context, messages, bytes int) error {
	c := callerOf(ctx)
	if c == nil {
		return nil
	}
	wait, err := c.session.Take(messages, bytes)
	if err != nil || wait == 0 {
		return err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
		return errDraining
	}
}

// answer waits until the chunks of a request are durable or refused and says so.
func (m *messaging) answer(ctx context.Context, p *publication, out *outbox) error {
	err := p.broker.Wait(ctx)
	for k := range p.appends {
		a, i := &p.appends[k], p.places[k]
		r := p.results[i]
		place(r, a)
		switch {
		case err != nil:
		case a.Err != nil:
			r.Base = 0
			p.refuse(i, a.Err)
			m.s.opts.Metrics.Failed(away(a.Err))
		default:
			m.s.opts.Metrics.Published(a.Queue.Name(), p.counts[i], len(a.Chunk))
		}
		if p.spans != nil {
			finish(p.spans[k], cmp.Or(err, a.Err))
		}
	}
	if err != nil {
		return err
	}
	m.s.opts.Metrics.Answered("Publish", time.Since(p.began))
	return out.send(&wirepb.PublishResponse{Results: p.results})
}

// place says where the messages of a chunk are.
func place(r *wirepb.AppendResult, a *broker.Append) {
	r.Partition, r.Base = a.Partition, a.Base
	for _, k := range a.Known {
		r.Known = append(r.Known, &wirepb.Known{
			Number: int32(k.Number), Resent: k.Resent, Producer: k.Producer, Sequence: k.Sequence, Partition: k.Partition, Offset: k.Offset,
		})
	}
}
