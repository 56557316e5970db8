package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func (f *fixture) raw() net.Conn {
	f.Helper()
	c, err := net.Dial("tcp", f.address)
	f.must(err)
	f.Cleanup(func() { _ = c.Close() })
	return c
}

// closes checks that the server closes a connection.
func (f *fixture) closes(c net.Conn, what string) {
	f.Helper()
	f.must(c.SetReadDeadline(time.Now().Add(30 * time.Second)))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		f.Errorf("%s: the server keeps the connection", what)
	}
}

func TestListenerRefusesOtherProtocols(t *testing.T) {
	f := newFixture(t, server.Options{Handshake: time.Second})
	for what, bytes := range map[string]string{
		"HTTP/1":            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"an AMQP header":    "AMQP\x00\x00\x09\x01",
		"zeros":             string(make([]byte, 4096)),
		"half a preface":    "PRI * HTTP/2.0\r\n\r\n",
		"a huge frame":      http2.ClientPreface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00",
		"a frame of no use": http2.ClientPreface + "\x00\x00\x05\x06\x00\x00\x00\x00\x00hello",
		"nothing":           "",
	} {
		c := f.raw()
		_, err := c.Write([]byte(bytes))
		f.must(err)
		f.closes(c, what)
	}
	c := f.raw()
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(f.ctx); err == nil {
		t.Error("TLS on a plain port")
	}
	f.alive()
}

func TestSlowHandshakeEnds(t *testing.T) {
	f := newFixture(t, server.Options{Handshake: time.Second})
	c := f.raw()
	go func() { // a byte now and then
		for _, b := range []byte(http2.ClientPreface) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				return
			}
		}
	}()
	f.closes(f.raw(), "a silent one")
	f.closes(c, "a slow one")
	f.alive()
}

func TestConnectionsAreBounded(t *testing.T) {
	f := newFixture(t, server.Options{MaxConnections: 20, Handshake: time.Second})
	var silent []net.Conn
	for range 100 {
		silent = append(silent, f.raw())
	}
	f.closes(silent[99], "one too many")
	if n := f.log.count("connections are refused"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
	for _, c := range silent {
		f.closes(c, "a silent one")
	}
	f.alive()
}

// TestLyingLengthTakesNoMemory says of a request that it has 20 MB and sends
// ten bytes of it.
func TestLyingLengths(t *testing.T) {
	f := newFixture(t, server.Options{})
	for _, length := range []uint32{20 << 20, 1 << 31, 1<<32 - 1} {
		c := f.raw()
		_, err := io.WriteString(c, http2.ClientPreface)
		f.must(err)
		fr := http2.NewFramer(c, c)
		f.must(fr.WriteSettings())
		f.must(fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(f, "/openmessaging.v1.MessagingService/Publish"), EndHeaders: true}))
		f.must(fr.WriteData(1, false, append([]byte{0, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}, "0123456789"...)))
		if length > 20<<20 {
			f.refuses(fr)
		}
		f.must(c.Close())
		f.alive()
	}
}

func headers(f *fixture, path string) []byte {
	var block writer
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		f.must(e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
	}
	return block
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// refuses reads until the server ends the stream.
func (f *fixture) refuses(fr *http2.Framer) {
	f.Helper()
	for {
		got, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch v := got.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return
		case *http2.HeadersFrame:
			if v.StreamEnded() {
				return
			}
		}
	}
}

func TestStreamThatSaysNothingEnds(t *testing.T) {
	f := newFixture(t, server.Options{Handshake: time.Second})
	s, err := f.dial().Receive(f.ctx)
	f.must(err)
	if _, err := s.Recv(); code(err) != om.CodeTimeout {
		t.Error(err)
	}
	f.alive()
}

// TestClientThatNeverReads asks for much and reads nothing: its connection ends,
// and what it was given goes to others.
func TestClientThatNeverReads(t *testing.T) {
	f := newFixture(t, server.Options{Stall: 300 * time.Millisecond})
	body := string(make([]byte, 1<<20))
	for range 8 {
		f.dial().publish(&wirepb.Append{Queue: "q", Chunk: newChunk(body)})
	}
	c := f.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	s := c.subscribe("q", "g")
	for i := range uint64(8) {
		f.must(s.Send(pollRequest(i+1, 1)))
	}
	q, err := f.broker.Queue("test", "q")
	f.must(err)
	for q.Groups()[0].InFlight < 2 { // the second one does not fit into its buffers
		f.must(f.broker.Ping(f.ctx))
	}
	other := f.dial().subscribe("q", "g")
	got := 0
	for got < 8 {
		got += len(other.poll(100).GetSpans())
	}
	if n := f.log.count("does not read what it asked for"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
	f.alive()
}

func TestEndlessStreams(t *testing.T) {
	f := newFixture(t, server.Options{MaxStreams: 10})
	c := f.dial()
	for range 10 {
		c.subscribe("q", "g")
	}
	ctx, cancel := context.WithTimeout(f.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := c.Ping(ctx, &wirepb.PingRequest{}); !errors.Is(ctx.Err(), context.DeadlineExceeded) || err == nil {
		t.Error("one stream more is let through")
	}
	f.alive()
}
