package server

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
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
}

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

// begin hands the chunks of a request to the broker.
func (m *messaging) begin(ctx context.Context, q *wirepb.PublishRequest) (*publication, error) {
	n := len(q.GetAppends())
	if n == 0 || n > maxAppends {
		return nil, om.NewError(om.CodeBadRequest, "send", "", "%d chunks are not in 1 to %d", n, maxAppends)
	}
	p := &publication{appends: make([]broker.Append, 0, n), results: make([]*wirepb.AppendResult, n)}
	slab := make([]wirepb.AppendResult, n)
	for i, a := range q.GetAppends() {
		r := &slab[i]
		p.results[i] = r
		queue, err := m.broker.Queue("send", a.GetQueue())
		if err != nil {
			r.Error = wire.Error(away(err))
			continue
		}
		if n := a.GetPartitions(); n != 0 && int(n) != queue.Partitions() {
			r.Partitions = int32(queue.Partitions())
			r.Error = wire.Error(om.NewError(om.CodeServiceUnavailable, "send", queue.Name(), "the queue has %d partitions, not %d; divide the messages anew", r.Partitions, n))
			continue
		}
		p.appends = append(p.appends, broker.Append{
			Queue: queue, Partition: a.GetPartition(), Chunk: a.GetChunk(), Foreign: true, Idempotent: a.GetIdempotent(),
		})
		p.places = append(p.places, i)
	}
	var err error
	p.broker, err = m.broker.Begin(ctx, p.appends)
	return p, err
}

// answer waits until the chunks of a request are durable or refused and says so.
func (m *messaging) answer(ctx context.Context, p *publication, out *outbox) error {
	if err := p.broker.Wait(ctx); err != nil {
		return err
	}
	for k := range p.appends {
		a, r := &p.appends[k], p.results[p.places[k]]
		r.Partition, r.Base = a.Partition, a.Base
		if a.Err != nil {
			r.Base, r.Error = 0, wire.Error(away(a.Err))
		}
	}
	return out.send(&wirepb.PublishResponse{Results: p.results})
}
