package remote_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestOptions(t *testing.T) {
	for _, c := range []struct{ options, part string }{
		{"?tsl=true", "no such option"},
		{"?tls=perhaps", "neither true nor false"},
		{"?tls=true&tls=true", "occurs 2 times"},
		{"?ca=x.pem", "say tls=true"},
		{"?tls=true&ca=/missing.pem", "/missing.pem"},
		{"?tls=true&cert=x.pem", "belong together"},
		{"?tls=true&cert=/x.pem&key=/y.pem", "/x.pem"},
	} {
		_, err := remote.Driver{}.Open(t.Context(), config(t, "oms:oms://localhost:1/r"+c.options))
		if !errors.Is(err, om.CodeMalformedURL) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v", c.options, err)
		}
	}
	secret := config(t, "oms:oms://example.com:1/r")
	secret.Credentials = func(context.Context) (spi.Credentials, error) { return spi.Credentials{Token: "t"}, nil }
	if _, err := (remote.Driver{}).Open(t.Context(), secret); !errors.Is(err, om.CodeBadParameter) || !strings.Contains(err.Error(), "use tls=true") {
		t.Errorf("credentials in clear: %v", err)
	}
	if got := remote.URL("h:1", "tls", "true", "ca", "a&b"); got != "oms:oms://h:1/default?tls=true&ca=a%26b" {
		t.Error(got)
	}
}

// freeAddress returns an address where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestNobodyThere(t *testing.T) {
	_, err := remote.Driver{}.Open(t.Context(), config(t, remote.URL(freeAddress(t))))
	if !errors.Is(err, om.CodeServiceUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func TestSomebodyElseThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail.example.com ESMTP\r\n"))
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := (remote.Driver{}).Open(ctx, config(t, remote.URL(l.Addr().String()))); err == nil {
		t.Error("a mail server is taken for a broker")
	}
}

func TestFailover(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	first, second := newProxy(t, m.address), newProxy(t, m.address)
	addresses := strings.Join([]string{freeAddress(t), first.Addr().String(), second.Addr().String()}, ",")
	c := open(t, config(t, remote.URL(addresses)))
	c.createQueue(1)
	s := c.sender()
	r := c.receiver()
	c.send(s, message("a", ""))
	if string(c.receive(r, 1)[0].Message.Body) != "a" {
		t.Error("not received")
	}
	_ = first.Close()
	first.cut()
	c.send(s, message("b", ""))
	for {
		got, err := r.Receive(c.ctx, 1)
		if om.Retryable(err) {
			continue // the stream broke
		}
		c.must(err)
		if string(got[0].Message.Body) == "b" {
			break
		}
		if string(got[0].Message.Body) != "a" || got[0].Message.Ext.DeliveryCount != 2 {
			t.Errorf("%s, delivery %d", got[0].Message.Body, got[0].Message.Ext.DeliveryCount)
		}
	}
	c.must(c.Conn.(spi.Pinger).Ping(c.ctx))
}

func TestContextsEndCalls(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	r := c.receiver()
	short := func() (context.Context, context.CancelFunc) { return context.WithTimeout(c.ctx, 20*time.Millisecond) }
	for what, f := range map[string]func(context.Context) error{
		"receive": func(ctx context.Context) error { _, err := r.Receive(ctx, 1); return err },
		"await":   func(ctx context.Context) error { return c.Conn.(spi.Streamer).Await(ctx, "q", 0, 5) },
	} {
		ctx, cancel := short()
		if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
		if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that has ended: %v", what, err)
		}
	}
	waits := make(chan error, 1)
	go func() {
		_, err := r.Receive(c.ctx, 1)
		waits <- err
	}()
	c.must(r.Close(c.ctx))
	if err := <-waits; !errors.Is(err, om.ErrClosed) {
		t.Error(err)
	}
	if _, err := r.Ack(c.ctx, nil); !errors.Is(err, om.ErrClosed) {
		t.Error(err)
	}
}

// TestManyCancelledReceives cancels receives while messages come: none is lost,
// they keep their order, and none that nobody saw is counted as delivered.
func TestManyCancelledReceives(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	s, r := c.sender(), c.receiver()
	const n = 200
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range n {
			c.send(s, message("x", ""))
		}
	}()
	for got := 0; got < n; {
		ctx, cancel := context.WithTimeout(c.ctx, 300*time.Microsecond)
		some, err := r.Receive(ctx, 10)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for _, d := range some {
			if d.Message.Ext.DeliveryCount != 1 || d.Offset != int64(got) {
				t.Fatalf("offset %d, delivery %d; want offset %d", d.Offset, d.Message.Ext.DeliveryCount, got)
			}
			got++
		}
	}
	<-sent
}

func TestBatchAheadGoesBack(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	c.sendMany(300)
	first, second := c.receiver(), c.receiver()
	if n := len(c.receive(first, 100)); n != 100 { // and 100 more are on their way
		t.Fatal(n)
	}
	seen := make(map[int64]bool)
	for len(seen) < 200 {
		for _, d := range c.receive(second, 200) {
			if d.Message.Ext.DeliveryCount != 1 || seen[d.Offset] || d.Offset < 100 {
				t.Fatalf("offset %d, delivery %d", d.Offset, d.Message.Ext.DeliveryCount)
			}
			seen[d.Offset] = true
		}
	}
}

func TestSeekLeavesNothingAhead(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	c.sendMany(300)
	r := c.receiver()
	for range 20 {
		if got := c.receive(r, 100); got[0].Offset != 0 {
			t.Fatalf("from %d on after a seek to the beginning", got[0].Offset)
		}
		c.must(c.Conn.(spi.Seeker).SeekGroup(c.ctx, "q", "g", om.Begin()))
	}
	c.receive(r, 100)
	if got := c.receive(r, 10); len(got) != 10 || got[0].Offset != 100 { // less than is ahead
		t.Errorf("%d from %d on", len(got), got[0].Offset)
	}
}
