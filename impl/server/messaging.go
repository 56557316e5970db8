package server

import (
	"context"
	"log/slog"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Version is the server's version.
const Version = "0.1.0"

// messaging implements wirepb.MessagingServiceServer.
type messaging struct {
	wirepb.UnimplementedMessagingServiceServer
	s      *Server
	broker *broker.Broker
	log    *slog.Logger
}

func (m *messaging) Open(ctx context.Context, q *wirepb.OpenRequest) (*wirepb.OpenResponse, error) {
	if q.GetProtocol() < wire.Protocol {
		return nil, om.NewError(om.CodeIncompatibleVersion, "open", "", "the server speaks protocol %d, the client %d; update the client", wire.Protocol, q.GetProtocol())
	}
	m.log.Debug("a client has come", "client", client(ctx), "account", account(ctx), "says", q.GetClient())
	out := &wirepb.OpenResponse{
		Protocol: wire.Protocol, ServerVersion: Version, Host: m.broker.Host(), StoreId: m.broker.StoreID(),
		Limits: &wirepb.Limits{
			MaxBody: broker.MaxBody, MaxProperties: broker.MaxProperties, MaxHeader: broker.MaxHeader,
			MaxChunkMessages: broker.MaxChunkMessages, MaxRequest: maxRequest, MaxResponse: maxResponse,
			MaxPollMessages: broker.MaxReceive, MaxPolls: maxPolls,
			MaxUnanswered: broker.MaxRecent, KnownAgain: broker.RecentAge.Milliseconds(),
			MaxDelay: broker.MaxDelay.Milliseconds(), MaxDelayedMessages: broker.MaxDelayedMessages, MaxDelayedBytes: broker.MaxDelayedBytes,
		},
	}
	for _, c := range m.broker.Capabilities() {
		out.Capabilities = append(out.Capabilities, string(c))
	}
	if m.s.opts.Security != nil {
		out.Capabilities = append(out.Capabilities, string(om.CapAuth))
	}
	return out, nil
}

func (m *messaging) Ping(ctx context.Context, _ *wirepb.PingRequest) (*wirepb.PingResponse, error) {
	return &wirepb.PingResponse{}, m.broker.Ping(ctx)
}

func (m *messaging) Resolve(_ context.Context, q *wirepb.ResolveRequest) (*wirepb.ResolveResponse, error) {
	queue, err := m.broker.Queue("seek", q.GetQueue())
	if err != nil {
		return nil, err
	}
	p, err := om.ParsePosition(q.GetPosition())
	if err != nil {
		return nil, err
	}
	offset, err := queue.Resolve(q.GetPartition(), p)
	return &wirepb.ResolveResponse{Offset: offset}, err
}

func (m *messaging) Read(ctx context.Context, q *wirepb.ReadRequest) (*wirepb.ReadResponse, error) {
	queue, err := m.broker.Queue("read", q.GetQueue())
	if err != nil {
		return nil, err
	}
	spans, err := queue.Read(ctx, q.GetPartition(), q.GetOffset(), int(q.GetMaxMessages()))
	if err != nil {
		return nil, err
	}
	out, err := travelling(spans)
	return &wirepb.ReadResponse{Spans: out}, err
}

func (m *messaging) Await(ctx context.Context, q *wirepb.AwaitRequest) (*wirepb.AwaitResponse, error) {
	queue, err := m.broker.Queue("read", q.GetQueue())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.s.life, cancel)()
	err = queue.Await(ctx, q.GetPartition(), q.GetOffset())
	if err != nil && m.s.isDraining() {
		err = errDraining
	}
	return &wirepb.AwaitResponse{}, err
}

// travelling returns the form of spans that travels: each with a chunk of just
// its messages.
func travelling(spans []broker.Span) ([]*wirepb.Span, error) {
	if err := broker.Cut(spans); err != nil {
		return nil, om.NewError(om.CodeStorageCorrupt, "receive", spans[0].Queue, "%w", err)
	}
	slab := make([]wirepb.Span, len(spans))
	out := make([]*wirepb.Span, len(spans))
	for i := range spans {
		s, w := &spans[i], &slab[i]
		w.Partition, w.Base, w.Lease, w.Delivery, w.StoredAt, w.Chunk = s.Partition, s.Base, s.Lease, int32(s.Delivery), s.StoredAt, s.Chunk
		out[i] = w
	}
	return out, nil
}
