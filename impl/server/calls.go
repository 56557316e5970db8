package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// unary is the innermost interceptor: it gives errors the form in which they
// travel.
func unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	return resp, wire.Status(away(err))
}

// stream does the same for streams, and lets none begin when the server goes
// away.
func (s *Server) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s.mu.Lock()
	if s.isDraining() {
		s.mu.Unlock()
		return wire.Status(errDraining)
	}
	s.streams.Add(1)
	s.mu.Unlock()
	defer s.streams.Done()
	return wire.Status(away(handler(srv, stream)))
}

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
			"client", client(ctx), "account", PrincipalOf(ctx).Account, "stream", what, "for", s.opts.Stall)
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
