package remote_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// client is an open connection and what tests do with it.
type client struct {
	*testing.T
	spi.Conn
	ctx context.Context
}

func config(t *testing.T, url string) spi.Config {
	t.Helper()
	u, err := om.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return spi.Config{URL: u, Logger: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, cfg spi.Config) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c, err := remote.Driver{}.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	})
	return &client{t, c, ctx}
}

func (c *client) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *client) createQueue(partitions int) {
	c.Helper()
	c.must(c.Conn.(spi.Admin).CreateQueue(c.ctx, om.QueueConfig{Name: "q", Partitions: partitions}))
}

func (c *client) sender() spi.Sender {
	c.Helper()
	s, err := c.NewSender(c.ctx, spi.SenderConfig{})
	c.must(err)
	return s
}

func (c *client) receiver() spi.Receiver {
	c.Helper()
	r, err := c.NewReceiver(c.ctx, spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	c.must(err)
	return r
}

func (c *client) receive(r spi.Receiver, limit int) []spi.Received {
	c.Helper()
	got, err := r.Receive(c.ctx, limit)
	c.must(err)
	return got
}

func message(body, key string) *om.Message {
	m := om.NewMessage("q", []byte(body))
	m.Version, m.BornHost, m.BornAt = om.SpecVersion, "here", time.Now().UTC().Truncate(time.Millisecond)
	m.Ext.MessageKey = key
	return m
}

// send sends messages and wants all of them stored.
func (c *client) send(s spi.Sender, ms ...*om.Message) []spi.Outcome {
	c.Helper()
	outs, err := s.Send(c.ctx, ms)
	c.must(err)
	for _, o := range outs {
		c.must(o.Err)
	}
	return outs
}

func (c *client) sendMany(n int) {
	c.Helper()
	ms := make([]*om.Message, n)
	for i := range ms {
		ms[i] = message("x", "")
	}
	c.send(c.sender(), ms...)
}

// all reads all messages of the queue.
func (c *client) all() (got []spi.Received) {
	c.Helper()
	parts, err := c.Conn.(spi.Describer).Partitions(c.ctx, "q")
	c.must(err)
	for _, p := range parts {
		for at := p.Begin; at < p.End; {
			some, err := c.Conn.(spi.Streamer).ReadAt(c.ctx, "q", p.Partition, at, 1000)
			c.must(err)
			got = append(got, some...)
			at = some[len(some)-1].Offset + 1
		}
	}
	return got
}

// proxy stands between client and server, and can break their connections.
type proxy struct {
	net.Listener
	target string
	deaf   atomic.Bool // what the server says is lost

	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy { return newProxyAt(t, target, "127.0.0.1:0") }

func newProxyAt(t *testing.T, target, address string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: target}
	p.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, s)
			p.mu.Unlock()
			p.done.Go(func() { p.pass(s, c, false) })
			p.done.Go(func() { p.pass(c, s, true) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

// pass copies what from says.
func (p *proxy) pass(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !(answers && p.deaf.Load()) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			return
		}
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
