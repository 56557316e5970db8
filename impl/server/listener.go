package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
)

// listener bounds the connections and knows each of them.
type listener struct {
	net.Listener
	s *Server
}

// Accept implements net.Listener. What is over a bound is closed at once, so
// that the client tries elsewhere.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.s.conns.Add(1) <= int64(l.s.opts.MaxConnections) {
			c := &conn{Conn: nc, s: l.s}
			if c.gate() {
				l.s.add(c)
				return c, nil
			}
		}
		l.s.conns.Add(-1)
		_ = nc.Close()
		l.s.opts.Metrics.ConnectionRefused()
		l.s.tellRefused(nc.RemoteAddr())
	}
}

// tellRefused logs that connections are refused, every ten seconds at most.
func (s *Server) tellRefused(from net.Addr) {
	now, last := time.Now().UnixNano(), s.toldAbout.Load()
	if now-last > int64(10*time.Second) && s.toldAbout.CompareAndSwap(last, now) {
		s.opts.Logger.Warn("connections are refused: there are too many, in all or without a login", "most", s.opts.MaxConnections, "from", from.String())
	}
}

// add takes a connection into the list.
func (s *Server) add(c *conn) {
	s.mu.Lock()
	s.open[c] = true
	s.mu.Unlock()
	s.opts.Metrics.Connected(1)
}

// strangerBytes is how much a connection may send before its login: more than a
// first call with all that flow control lets through with it.
const strangerBytes = 2 << 20

// conn is a connection of a client.
type conn struct {
	net.Conn
	s      *Server
	closed sync.Once

	stranger atomic.Bool // nobody has logged in
	called   atomic.Bool // a call has come
	read     atomic.Int64
	leave    func() // the gate; nil without one

	mu     sync.Mutex // guards logins and over
	logins logins
	over   bool
}

// gate lets a connection wait for its login, or reports that too many do.
func (c *conn) gate() bool {
	if c.s.opts.Security == nil {
		return true
	}
	login, leave, err := c.s.opts.Security.Gate.Enter(context.Background(), c.Conn.RemoteAddr().String())
	if err != nil {
		return false
	}
	c.stranger.Store(true)
	stop := context.AfterFunc(login, func() { _ = c.Close() })
	c.leave = func() {
		stop()
		leave()
	}
	return true
}

// known tells that somebody has logged in.
func (c *conn) known() {
	if c.stranger.CompareAndSwap(true, false) {
		c.leave()
	}
}

var errStranger = errors.New("the client sends too much before it has logged in")

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.called.Load() && !c.stranger.Load() {
		return n, err
	}
	if c.read.Add(int64(n)) > strangerBytes && c.stranger.Load() {
		return 0, errStranger
	}
	return n, err
}

func (c *conn) Close() error {
	c.closed.Do(func() {
		c.s.conns.Add(-1)
		c.s.opts.Metrics.Connected(-1)
		c.s.mu.Lock()
		delete(c.s.open, c)
		c.s.mu.Unlock()
		if !c.called.Load() {
			c.s.opts.Logger.Debug("a connection ended without a call", "client", c.Conn.RemoteAddr().String(), "bytes", c.read.Load())
		}
		if c.leave != nil {
			c.leave()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.over = true
		c.logins.close()
	})
	return c.Conn.Close()
}

// RemoteAddr returns an address that leads from a call to its connection.
func (c *conn) RemoteAddr() net.Addr { return &address{c.Conn.RemoteAddr(), c} }

type address struct {
	net.Addr
	conn *conn
}

// connection returns the connection of a call, nil when it came without one.
func connection(ctx context.Context) *conn {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*address); ok {
			return a.conn
		}
	}
	return nil
}

// called tells the connection of a call that there is one.
func called(ctx context.Context) {
	if c := connection(ctx); c != nil && !c.called.Load() {
		c.called.Store(true)
	}
}

// disconnect closes the connection of a call.
func disconnect(ctx context.Context) {
	if c := connection(ctx); c != nil {
		_ = c.Close()
	}
}

// client names the client of a call for the log.
func client(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}
