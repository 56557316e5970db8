package server

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/peer"
)

// listener bounds the connections and knows each of them.
type listener struct {
	net.Listener
	s *Server
}

// Accept implements net.Listener. What is over the bound is closed at once, so
// that the client tries elsewhere.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.s.conns.Add(1) <= int64(l.s.opts.MaxConnections) {
			return &conn{Conn: c, s: l.s}, nil
		}
		l.s.conns.Add(-1)
		_ = c.Close()
		l.s.tellRefused(c.RemoteAddr())
	}
}

// tellRefused logs that connections are refused, every ten seconds at most.
func (s *Server) tellRefused(from net.Addr) {
	now, last := time.Now().UnixNano(), s.toldAbout.Load()
	if now-last > int64(10*time.Second) && s.toldAbout.CompareAndSwap(last, now) {
		s.opts.Logger.Warn("connections are refused: there are too many", "most", s.opts.MaxConnections, "from", from.String())
	}
}

// conn is a connection of a client.
type conn struct {
	net.Conn
	s      *Server
	closed sync.Once
}

func (c *conn) Close() error {
	c.closed.Do(func() { c.s.conns.Add(-1) })
	return c.Conn.Close()
}

// RemoteAddr returns an address that leads from a call to its connection.
func (c *conn) RemoteAddr() net.Addr { return &address{c.Conn.RemoteAddr(), c} }

type address struct {
	net.Addr
	conn *conn
}

// disconnect closes the connection of a call.
func disconnect(ctx context.Context) {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*address); ok {
			_ = a.conn.Close()
		}
	}
}

// client names the client of a call for the log.
func client(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
