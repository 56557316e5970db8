package server

import (
	"context"
	"errors"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// unary is the innermost interceptor: it finds out who calls and whether he may,
// and gives errors the form in which they travel.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	began := time.Now()
	called(ctx)
	ctx, err = s.authenticate(ctx, info.FullMethod)
	if err == nil {
		err = s.allow(ctx, info.FullMethod, req)
	}
	if err == nil {
		if resp, err = handler(ctx, req); err == nil {
			s.tellChange(ctx, info.FullMethod, req)
		}
	}
	err = away(err)
	s.opts.Metrics.Answered(path.Base(info.FullMethod), time.Since(began))
	s.opts.Metrics.Failed(err)
	return resp, wire.Status(err)
}

// stream does the same for streams, and lets none begin when the server goes away.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s.mu.Lock()
	if s.isDraining() {
		s.mu.Unlock()
		return wire.Status(errDraining)
	}
	s.streams.Add(1)
	s.mu.Unlock()
	defer s.streams.Done()
	called(stream.Context())
	method := path.Base(info.FullMethod)
	s.opts.Metrics.Streams(method, 1)
	defer s.opts.Metrics.Streams(method, -1)
	ctx, err := s.authenticate(stream.Context(), info.FullMethod)
	if err == nil {
		err = away(handler(srv, &callerStream{stream, ctx, s, info.FullMethod}))
	}
	if !gone(stream.Context(), err) {
		s.opts.Metrics.Failed(err)
	}
	return wire.Status(err)
}

// gone reports whether a stream ended because its client has left.
func gone(ctx context.Context, err error) bool {
	_, isStatus := status.FromError(err)
	return ctx.Err() != nil || isStatus || errors.Is(err, context.Canceled)
}

// callerStream is a stream whose context knows who calls.
type callerStream struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
	method string
}

// judged are the streams whose handlers ask for rights themselves: they answer
// what they refuse one by one.
var judged = map[string]bool{
	wirepb.LoginService_Login_FullMethodName: true, wirepb.MessagingService_Publish_FullMethodName: true, wirepb.MessagingService_Receive_FullMethodName: true,
}

func (s *callerStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil || judged[s.method] {
		return err
	}
	return s.server.allow(s.ctx, s.method, m)
}

func (s *callerStream) Context() context.Context { return s.ctx }

// away says of a closed broker that the server is going away: a client's own
// connection is not closed by that.
func away(err error) error {
	if om.CodeOf(err) == om.CodeClosed {
		return errDraining
	}
	return err
}

// outbox sends responses on a stream. A client that does not read them loses
// its connection.
type outbox struct {
	stream grpc.ServerStream
	guard  *time.Timer
	limit  time.Duration
}

func (s *Server) newOutbox(stream grpc.ServerStream, what string) *outbox {
	ctx := stream.Context()
	o := &outbox{stream: stream, limit: s.opts.Stall}
	o.guard = time.AfterFunc(time.Hour, func() {
		s.opts.Logger.Warn("a connection is closed: its client does not read what it asked for",
			"client", client(ctx), "account", account(ctx), "stream", what, "for", s.opts.Stall)
		disconnect(ctx)
	})
	o.guard.Stop()
	return o
}

// send is not called concurrently.
func (o *outbox) send(m any) error {
	o.guard.Reset(o.limit)
	defer o.guard.Stop()
	return o.stream.SendMsg(m)
}
