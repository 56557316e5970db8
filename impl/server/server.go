// Package server is the broker over the network: listeners, and the service
// that docs/wire.md describes. It sees the broker only through what package
// broker exports.
//
// # Bounds
//
// A client can harm nobody but itself. Connections, streams, requests and what
// waits on a stream are bounded; a connection must speak HTTP/2 within some
// seconds and answer pings; one whose client asks and does not read is closed,
// with one line in the log.
//
// # Who calls
//
// With Options.Security every call is somebody's: a client logs in on its
// connection, by LoginService or with what its calls say in their metadata, and
// each request is judged by the table of access.go before anything is looked at.
// A right that goes takes effect with the next request, the next delivery or
// settle, and a login that ends ends its connection within some seconds.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/metrics"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Options say how a server works. Zero fields stand for the defaults.
type Options struct {
	// Broker is what is served. It is not closed by the server.
	Broker *broker.Broker
	// Logger gets what concerns no single call. Default slog.Default().
	Logger *slog.Logger
	// TLS secures the connections; nil leaves them plain. Client certificates
	// are asked for as it says.
	TLS *tls.Config
	// Security says who may connect and do what; nil lets anybody do anything.
	Security *Security
	// Metrics are told what happens; nil for none.
	Metrics *metrics.Metrics
	// Tracer makes spans of what is published, delivered and settled; nil for
	// none.
	Tracer trace.Tracer
	// Unary and Stream run around every call, the first outermost.
	Unary  []grpc.UnaryServerInterceptor
	Stream []grpc.StreamServerInterceptor
	// MaxConnections is how many connections there may be. Default 4096.
	MaxConnections int
	// MaxStreams is how many calls a connection may have open. Default 4096.
	MaxStreams int
	// Handshake is within which time a new connection must have spoken HTTP/2,
	// and a stream must say what it wants. Default 5 s.
	Handshake time.Duration
	// Stall is for how long a client may leave unread what it has asked for.
	// Default 30 s.
	Stall time.Duration
	// Drain is for how long Shutdown lets consumers settle what they have.
	// Default 5 s.
	Drain time.Duration
}

func (o Options) filled() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	for _, f := range []struct {
		v   *int
		def int
	}{{&o.MaxConnections, 4096}, {&o.MaxStreams, 4096}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	for _, f := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Handshake, 5 * time.Second}, {&o.Stall, 30 * time.Second}, {&o.Drain, 5 * time.Second}} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	return o
}

const (
	// maxRequest bounds a request: a chunk of the largest message fits.
	maxRequest = broker.MaxBody + broker.MaxProperties + 4<<20
	// maxResponse bounds a response: what the broker hands out at once, and one
	// chunk more.
	maxResponse = 64 << 20
	// pingAfter and pingWithin tell when a silent connection is asked for a sign
	// of life, and how long that may take.
	pingAfter, pingWithin = 30 * time.Second, 15 * time.Second
	// idleAfter is when a connection without calls is closed; clients connect
	// again when they need to.
	idleAfter = 5 * time.Minute
	// Windows of flow control: what a client may send unread, on a stream and on
	// a connection.
	streamWindow, connectionWindow = 1 << 20, 4 << 20
	// bufferBytes is what is written at once, while something is.
	bufferBytes = 64 << 10
	// readBytes is what each connection takes for reading, silent ones too.
	readBytes = 8 << 10
	// checkEvery is how often the server looks whether those who are connected
	// are still logged in.
	checkEvery = 2 * time.Second
)

// Server serves a broker. Its methods may be called concurrently.
type Server struct {
	opts Options
	grpc *grpc.Server

	life    context.Context // ends when Shutdown begins
	endLife context.CancelFunc
	drained chan struct{} // closed when streams must end
	stop    sync.Once

	mu      sync.Mutex // held while a stream is added and while life ends
	streams sync.WaitGroup
	open    map[*conn]bool
	checks  sync.Once

	conns     atomic.Int64
	toldAbout atomic.Int64 // when a refused connection was last logged, ns
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	s := &Server{opts: o.filled(), drained: make(chan struct{}), open: make(map[*conn]bool)}
	s.life, s.endLife = context.WithCancel(context.Background())
	opts := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(append(slices.Clone(o.Unary), s.unary)...),
		grpc.ChainStreamInterceptor(append(slices.Clone(o.Stream), s.stream)...),
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxSendMsgSize(maxResponse),
		grpc.MaxConcurrentStreams(uint32(s.opts.MaxStreams)), grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(s.opts.Handshake),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(readBytes), grpc.WriteBufferSize(bufferBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingWithin, MaxConnectionIdle: idleAfter}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAfter / 3, PermitWithoutStream: true}),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(opts...)
	wirepb.RegisterMessagingServiceServer(s.grpc, &messaging{s: s, broker: o.Broker, log: s.opts.Logger})
	wirepb.RegisterResourceServiceServer(s.grpc, &resources{s: s, broker: o.Broker})
	wirepb.RegisterLoginServiceServer(s.grpc, &loginService{s: s})
	wirepb.RegisterSecurityServiceServer(s.grpc, &securityService{s: s})
	wirepb.RegisterAdminServiceServer(s.grpc, &admin{s: s, broker: o.Broker})
	return s
}

// Serve accepts connections until Shutdown, and then returns nil. It closes the
// listener. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if s.opts.Security != nil {
		s.checks.Do(func() { go s.watchLogins() })
	}
	err := s.grpc.Serve(&listener{Listener: l, s: s})
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

func (s *Server) watchLogins() {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.checkLogins()
		case <-s.life.Done():
			return
		}
	}
}

// Shutdown ends the server in good order: it accepts no connections and no
// messages any more, ends the receives that wait, lets consumers settle what
// they have for the time of Options.Drain, and then ends all streams, which
// gives the rest back. When ctx ends first it closes the connections. It
// returns ctx's error then, else nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() {
		s.drain()
		settled := make(chan struct{})
		go func() {
			s.streams.Wait()
			close(settled)
		}()
		drain := time.NewTimer(s.opts.Drain)
		defer drain.Stop()
		select {
		case <-settled:
		case <-drain.C:
		case <-ctx.Done():
		}
		close(s.drained)
	})
	gone := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-gone
		return ctx.Err()
	}
}

// Stop ends the server without waiting for anybody.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.drain()
		close(s.drained)
	})
	s.grpc.Stop()
}

func (s *Server) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLife()
}

// IsDraining reports whether Shutdown or Stop has begun.
func (s *Server) IsDraining() bool { return s.isDraining() }

func (s *Server) isDraining() bool { return s.life.Err() != nil }

// errDraining is what new work gets from a server that is going away.
var errDraining = om.NewError(om.CodeServiceUnavailable, "serve", "", "the server is shutting down; connect to another or try again")
