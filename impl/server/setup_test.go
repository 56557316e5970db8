package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server with a broker in memory that has a queue "q".
type fixture struct {
	*testing.T
	broker  *broker.Broker
	server  *server.Server
	address string
	log     *logBuffer
	ctx     context.Context
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

func newFixture(t *testing.T, o server.Options) *fixture {
	t.Helper()
	f := &fixture{T: t, log: new(logBuffer)}
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var cancel context.CancelFunc
	f.ctx, cancel = context.WithTimeout(context.Background(), 5*time.Minute)
	b, err := broker.Open(broker.Config{Store: store.Options{Memory: true}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Broker, o.Logger = b, log
	f.broker, f.server, f.address = b, server.New(o), l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		f.server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	f.must(b.CreateQueue(f.ctx, om.QueueConfig{Name: "q"}))
	return f
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// client is a connection that says what it likes.
type client struct {
	*fixture
	wirepb.MessagingServiceClient
	resources wirepb.ResourceServiceClient
	cc        *grpc.ClientConn
}

func (f *fixture) dial(opts ...grpc.DialOption) *client {
	f.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))}, opts...)
	cc, err := grpc.NewClient("passthrough:///"+f.address, opts...)
	f.must(err)
	f.Cleanup(func() { _ = cc.Close() })
	return &client{f, wirepb.NewMessagingServiceClient(cc), wirepb.NewResourceServiceClient(cc), cc}
}

// alive checks that a client that behaves is served.
func (f *fixture) alive() {
	f.Helper()
	c := f.dial()
	defer c.cc.Close()
	_, err := c.Open(f.ctx, &wirepb.OpenRequest{Protocol: 1})
	f.must(err)
	r := c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("alive")})
	if r[0].GetError() != nil {
		f.Fatal(r[0].GetError())
	}
}

func newChunk(bodies ...string) []byte {
	var b chunk.Builder
	b.Reset(1, 0, "h", om.SpecVersion, time.Now())
	for _, body := range bodies {
		m := om.NewMessage("", []byte(body))
		m.BornAt = time.Now()
		b.Add(m)
	}
	return bytes.Clone(b.Finish())
}

// publish sends one request on a stream of its own.
func (c *client) publish(appends ...*wirepb.Append) []*wirepb.AppendResult {
	c.Helper()
	s, err := c.Publish(c.ctx)
	c.must(err)
	c.must(s.Send(&wirepb.PublishRequest{Appends: appends}))
	r, err := s.Recv()
	c.must(err)
	c.must(s.CloseSend())
	return r.GetResults()
}

// subscription is a receive stream.
type subscription struct {
	*client
	grpc.BidiStreamingClient[wirepb.ReceiveRequest, wirepb.ReceiveResponse]
	last uint64
}

func (c *client) subscribe(queue, group string) *subscription {
	c.Helper()
	s, err := c.Receive(c.ctx)
	c.must(err)
	r := &subscription{client: c, BidiStreamingClient: s}
	c.must(r.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Subscribe{Subscribe: &wirepb.Subscribe{Queue: queue, Group: group, Start: "begin", Lease: 60_000}}}))
	m, err := r.Recv()
	c.must(err)
	if m.GetSubscribed() == nil {
		c.Fatal(m)
	}
	return r
}

func pollRequest(id uint64, limit int32) *wirepb.ReceiveRequest {
	return &wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Poll{Poll: &wirepb.Poll{Poll: id, MaxMessages: limit}}}
}

// poll asks for messages and returns the batch.
func (s *subscription) poll(limit int32) *wirepb.Batch {
	s.Helper()
	s.last++
	s.must(s.Send(pollRequest(s.last, limit)))
	m, err := s.Recv()
	s.must(err)
	if b := m.GetBatch(); b != nil && b.GetPoll() == s.last {
		return b
	}
	s.Fatal(m)
	return nil
}

// settle settles spans and returns the answer.
func (s *subscription) settle(action wirepb.Action, spans ...*wirepb.Span) *wirepb.Settled {
	s.Helper()
	s.last++
	q := &wirepb.Settle{Settle: s.last, Action: action}
	for _, v := range spans {
		h, err := chunk.Parse(v.GetChunk())
		s.must(err)
		q.Ranges = append(q.Ranges, &wirepb.Range{Partition: v.GetPartition(), Lease: v.GetLease(), From: v.GetBase(), To: v.GetBase() + int64(h.Count)})
	}
	s.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Settle{Settle: q}}))
	m, err := s.Recv()
	s.must(err)
	if a := m.GetSettled(); a != nil && a.GetSettle() == s.last {
		return a
	}
	s.Fatal(m)
	return nil
}

// code returns the status code with which a call ended.
func code(err error) om.Code { return om.CodeOf(wire.FromStatus(context.Background(), err, "", "")) }
