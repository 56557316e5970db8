package server

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Prepare implements wirepb.MessagingServiceServer.
func (m *messaging) Prepare(ctx context.Context, q *wirepb.PrepareRequest) (*wirepb.PrepareResponse, error) {
	p, messages, bytes := newPublication([]*wirepb.Append{q.GetAppend()})
	if err := m.s.pay(ctx, messages, bytes); err != nil {
		return nil, err
	}
	if err := m.add(ctx, p, 0, q.GetAppend()); err != nil {
		p.finish(err)
		if n := p.results[0].GetPartitions(); n != 0 {
			return &wirepb.PrepareResponse{Partitions: n, Error: wire.Error(err)}, nil
		}
		return nil, err
	}
	a := p.appends[0]
	_, err := m.broker.Prepare(ctx, a, producerID(ctx, q.GetProducerGroup()), wire.FromTransactionCheck(q.GetCheck()))
	p.finish(err)
	if err != nil {
		return nil, err
	}
	m.s.opts.Metrics.Published(a.Queue.Name(), messages, len(a.Chunk))
	return &wirepb.PrepareResponse{}, nil
}

// EndTransaction implements wirepb.MessagingServiceServer.
func (m *messaging) EndTransaction(ctx context.Context, q *wirepb.EndTransactionRequest) (*wirepb.EndTransactionResponse, error) {
	if q.GetProducerGroup() == "" {
		return nil, om.NewError(om.CodeBadRequest, "end transaction", q.GetTransactionId(), "the request names no group of producers")
	}
	return &wirepb.EndTransactionResponse{}, m.end(ctx, q.GetTransactionId(), producerID(ctx, q.GetProducerGroup()), epoch(ctx, q), q.GetVerdict())
}

func (m *messaging) end(ctx context.Context, id, group string, e broker.Epoch, v wirepb.Verdict) error {
	verdict := wire.FromVerdict(v)
	if verdict == om.TxUnknown {
		return om.NewError(om.CodeBadRequest, "end transaction", id, "the verdict %v is neither commit nor rollback", v)
	}
	return m.broker.EndTransaction(ctx, id, group, e, verdict)
}

// checking is a stream on which a producer is asked about transactions.
type checking struct {
	ctx context.Context

	sending sync.Mutex // guards out and over
	out     *outbox
	over    bool

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan om.TxVerdict // by question
}

// CheckTransactions implements wirepb.MessagingServiceServer.
func (m *messaging) CheckTransactions(stream grpc.BidiStreamingServer[wirepb.CheckTransactionsRequest, wirepb.CheckTransactionsResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	c := &checking{ctx: ctx, out: m.s.newOutbox(stream, "check"), waiting: make(map[uint64]chan om.TxVerdict)}
	defer func() {
		cancel()
		c.sending.Lock()
		defer c.sending.Unlock()
		c.over = true
	}()
	hello := make(chan *wirepb.CheckTransactionsRequest, 1)
	ended := make(chan error, 1)
	go func() { ended <- c.takeRequests(stream, hello) }()
	handshake := time.NewTimer(m.s.opts.Handshake)
	defer handshake.Stop()
	select {
	case q := <-hello:
		remove, err := m.broker.AddChecker(producerID(ctx, q.GetProducerGroup()), epoch(ctx, q), c.ask)
		if err != nil {
			return err
		}
		defer remove()
	case err := <-ended:
		return err
	case <-handshake.C:
		return om.NewError(om.CodeTimeout, "check", "", "the stream has not said within %v for which group of producers it is", m.s.opts.Handshake)
	case <-m.s.life.Done():
		return errDraining
	}
	select {
	case err := <-ended:
		return err
	case <-m.s.life.Done():
		return errDraining
	}
}

// takeRequests takes the group and then answers, until the client closes its side.
func (c *checking) takeRequests(stream grpc.BidiStreamingServer[wirepb.CheckTransactionsRequest, wirepb.CheckTransactionsResponse], hello chan<- *wirepb.CheckTransactionsRequest) error {
	for first := true; ; first = false {
		q, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		a := q.GetAnswer()
		switch {
		case first && q.GetProducerGroup() != "":
			hello <- q
		case first || a == nil:
			return om.NewError(om.CodeBadRequest, "check", "", "the first request of a stream names the group of producers, the others are answers")
		default:
			c.answer(a)
		}
	}
}

func (c *checking) answer(a *wirepb.CheckAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[a.GetQuestion()]; w != nil {
		delete(c.waiting, a.GetQuestion())
		w <- wire.FromVerdict(a.GetVerdict())
	}
}

// ask implements broker.Checker.
func (c *checking) ask(ctx context.Context, t broker.Transaction) om.TxVerdict {
	answered := make(chan om.TxVerdict, 1)
	c.mu.Lock()
	c.last++
	n := c.last
	c.waiting[n] = answered
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, n)
	}()
	if c.send(&wirepb.CheckTransactionsResponse{Question: n, Queue: t.Queue, Chunk: t.Chunk}) != nil {
		return om.TxUnknown
	}
	select {
	case v := <-answered:
		return v
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return om.TxUnknown
}

func (c *checking) send(m *wirepb.CheckTransactionsResponse) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.over {
		return errDraining
	}
	return c.out.send(m)
}
