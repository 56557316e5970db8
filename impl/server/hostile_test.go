package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/compression"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var silent = flag.Int("server.silent", 300, "connections of TestSilentConnections; each takes two file descriptors")

// memorySlack is what the heap may have grown by after an attack, bytes.
const memorySlack = 16 << 20

// friend is a client that behaves, connected all the time.
type friend struct {
	*client
	publishing grpc.BidiStreamingClient[wirepb.PublishRequest, wirepb.PublishResponse]
	receiving  *subscription
	sent       int
}

func (f *fixture) friend() *friend {
	f.Helper()
	f.must(f.broker.CreateQueue(f.ctx, om.QueueConfig{Name: "friend"}))
	c := f.dial()
	p, err := c.Publish(f.ctx)
	f.must(err)
	return &friend{client: c, publishing: p, receiving: c.subscribe("friend", "g")}
}

// roundTrip sends, receives and settles a message on the streams that are there.
func (f *friend) roundTrip() {
	f.Helper()
	f.sent++
	body := fmt.Sprintf("message %d of a friend", f.sent)
	f.must(f.publishing.Send(&wirepb.PublishRequest{Appends: []*wirepb.Append{{Queue: "friend", Chunk: newChunk(body)}}}))
	r, err := f.publishing.Recv()
	f.must(err)
	if e := r.GetResults()[0].GetError(); e != nil {
		f.Fatal(e)
	}
	b := f.receiving.poll(1)
	if len(b.GetSpans()) != 1 || !bytes.Contains(b.GetSpans()[0].GetChunk(), []byte(body)) {
		f.Fatalf("%q does not come, but %v", body, b)
	}
	if a := f.receiving.settle(wirepb.Action_ACTION_ACK, b.GetSpans()...); a.GetError() != nil || len(a.GetErrors()) > 0 {
		f.Fatal(a)
	}
}

// state is what an attack must leave as it was.
type state struct {
	goroutines, lines int
	heap              uint64
}

func (f *fixture) state() state {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return state{runtime.NumGoroutine(), f.log.count("\n"), m.HeapAlloc}
}

// recovers waits until goroutines and memory are back, and checks that there are
// at most that many lines more in the log.
func (f *fixture) recovers(before state, what string, lines int) {
	f.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		now := f.state()
		more := now.lines - before.lines
		if now.goroutines <= before.goroutines && now.heap <= before.heap+memorySlack {
			if more > lines {
				f.Errorf("%s: %d lines are logged, %d are enough", what, more, lines)
			}
			return
		}
		if time.Now().After(end) {
			f.Fatalf("%s: %+v became %+v", what, before, now)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// speaker is a connection that speaks HTTP/2 by hand.
type speaker struct {
	*http2.Framer
	conn net.Conn
	f    *fixture
}

func (f *fixture) speaker() *speaker {
	f.Helper()
	c := f.raw()
	_, err := io.WriteString(c, http2.ClientPreface)
	f.must(err)
	s := &speaker{http2.NewFramer(c, c), c, f}
	f.must(s.WriteSettings())
	return s
}

// begin opens a stream for a call.
func (s *speaker) begin(id uint32, method string) {
	s.f.Helper()
	s.f.must(s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: headers(s.f, "/openmessaging.v1.MessagingService/"+method), EndHeaders: true}))
}

// message sends the beginning of a message that says it has a length.
func (s *speaker) message(id, length uint32, data string) {
	s.f.must(s.WriteData(id, false, append(binary.BigEndian.AppendUint32([]byte{0}, length), data...)))
}

// over waits until the server has closed the connection.
func (s *speaker) over() {
	s.f.Helper()
	s.f.closes(s.conn, "it")
}

// bomb is a chunk whose message says that it is compressed, of a few kilobytes
// that become 24 MiB: more than a body may have.
func bomb(name string) []byte {
	m := om.NewMessage("", compression.Compress(name, make([]byte, 24<<20)))
	m.BornAt, m.Compression = time.Now(), name
	var b chunk.Builder
	b.Reset(1, 0, "h", om.SpecVersion, time.Now())
	b.Add(m)
	return bytes.Clone(b.Finish())
}

// attacks are what clients should not do. Each closes its connection, unless the
// server has.
var attacks = []struct {
	name string
	do   func(f *fixture)
}{
	{"a message of no bytes", func(f *fixture) {
		s := f.speaker()
		s.begin(1, "Publish")
		s.message(1, 0, "")
		f.refuses(s.Framer)
		f.must(s.conn.Close())
	}},
	{"a message of 4 GiB", func(f *fixture) {
		s := f.speaker()
		s.begin(1, "Publish")
		s.message(1, 1<<32-1, "0123456789")
		f.refuses(s.Framer)
		f.must(s.conn.Close())
	}},
	{"a hundred messages of 20 MB that never come", func(f *fixture) {
		s, before := f.speaker(), runtime.NumGoroutine()
		for i := range uint32(100) {
			s.begin(2*i+1, "Publish")
			s.message(2*i+1, 20<<20, "0123456789")
		}
		f.until("the streams are there", func() bool { return runtime.NumGoroutine() >= before+100 })
		f.must(s.conn.Close())
	}},
	{"a byte of a message now and then", func(f *fixture) {
		s := f.speaker()
		s.begin(1, "Publish")
		s.message(1, 1<<20, "")
		for range 200 {
			f.must(s.WriteData(1, false, []byte{0}))
		}
		f.must(s.conn.Close())
	}},
	{"a frame longer than allowed", func(f *fixture) {
		s := f.speaker()
		_, err := s.conn.Write([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1})
		f.must(err)
		s.over()
	}},
	{"padding longer than its frame", func(f *fixture) {
		s := f.speaker()
		s.begin(1, "Publish")
		_, err := s.conn.Write([]byte{0, 0, 2, 0, 8, 0, 0, 0, 1, 0xff, 0})
		f.must(err)
		_ = s.conn.(*net.TCPConn).CloseWrite() // the stream ends, or the connection
		s.over()
	}},
	{"headers that grow in the reader", func(f *fixture) {
		s := f.speaker()
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		f.must(e.WriteField(hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", 4000)}))
		for range 10_000 { // one byte each
			f.must(e.WriteField(hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", 4000)}))
		}
		f.must(s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: append(headers(f, "/x"), block.Bytes()...), EndHeaders: true}))
		f.refuses(s.Framer)
		f.must(s.conn.Close())
	}},
	{"headers without end", func(f *fixture) {
		s := f.speaker()
		f.must(s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers(f, "/x")}))
		part := make([]byte, 16<<10) // literal fields by a name of no bytes
		for range 10_000 {
			if s.WriteContinuation(1, false, part) != nil {
				break
			}
		}
		s.over()
	}},
	{"streams that are reset at once", func(f *fixture) {
		s := f.speaker()
		go func() { _, _ = io.Copy(io.Discard, s.conn) }()
		block := headers(f, "/openmessaging.v1.MessagingService/Receive")
		for i := range uint32(20_000) {
			if s.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block, EndHeaders: true}) != nil ||
				s.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
				break
			}
		}
		_ = s.conn.Close()
	}},
	{"pings without end", func(f *fixture) {
		s := f.speaker()
		for range 100_000 {
			if s.WritePing(false, [8]byte{}) != nil {
				break
			}
		}
		s.over()
	}},
	{"settings without end", func(f *fixture) {
		s := f.speaker()
		for range 50_000 { // each wants an answer, and none is read
			_ = s.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			if s.WriteSettings() != nil {
				break
			}
		}
		f.must(s.conn.Close())
	}},
	{"gzip of nothing but zeros", func(f *fixture) {
		c := f.dial()
		defer c.cc.Close()
		p, err := c.Publish(f.ctx, grpc.UseCompressor("gzip"))
		f.must(err)
		f.must(p.Send(&wirepb.PublishRequest{Appends: []*wirepb.Append{{Queue: "q", Chunk: make([]byte, 32<<20)}}}))
		if _, err := p.Recv(); err == nil {
			f.Error("a message of 32 MiB is taken when it is compressed")
		}
	}},
	{"bodies that grow", func(f *fixture) {
		c := f.dial()
		defer c.cc.Close()
		for _, name := range []string{compression.Gzip, compression.Zstd} {
			if e := c.publish(&wirepb.Append{Queue: "q", Chunk: bomb(name)})[0].GetError(); e.GetCode() == 0 {
				f.Errorf("a bomb of %s is taken", name)
			}
		}
	}},
	{"calls that are not there", func(f *fixture) {
		c := f.dial()
		defer c.cc.Close()
		for _, method := range []string{"/", "//", "/x", "/openmessaging.v1.MessagingService/", "/../../etc/passwd", "/" + strings.Repeat("m", 8000)} {
			if c.cc.Invoke(f.ctx, method, &wirepb.PingRequest{}, &wirepb.PingResponse{}) == nil {
				f.Errorf("%.20s is answered", method)
			}
		}
	}},
	{"calls with other bytes", func(f *fixture) {
		c := f.dial()
		defer c.cc.Close()
		for _, data := range [][]byte{{0xff}, bytes.Repeat([]byte{0x0a}, 100_000), append([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, 'x'), bytes.Repeat([]byte{0x0b}, 100_000)} {
			if c.cc.Invoke(f.ctx, wirepb.ResourceService_CreateQueue_FullMethodName, data, &wirepb.CreateQueueResponse{}, grpc.ForceCodec(raw{})) == nil {
				f.Errorf("%.10x is taken", data)
			}
		}
	}},
	{"TLS", func(f *fixture) {
		if tls.Client(f.raw(), &tls.Config{InsecureSkipVerify: true}).HandshakeContext(f.ctx) == nil {
			f.Error("TLS on a plain port")
		}
	}},
	{"HTTP/1", func(f *fixture) {
		c := f.raw()
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		f.must(err)
		f.closes(c, "HTTP/1")
	}},
}

// raw is a codec for bytes that are no message.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal([]byte, any) error   { return nil }

// TestHostileClients lets each attack go on beside a friend whose streams must
// neither break nor wait: afterwards the server has the memory and the goroutines
// that it had.
func TestHostileClients(t *testing.T) {
	f := newFixture(t, server.Options{Handshake: time.Second})
	friend := f.friend()
	friend.roundTrip()
	attacks[0].do(f)
	for _, name := range []string{compression.Gzip, compression.Zstd} { // what compresses is kept
		c := f.dial()
		c.publish(&wirepb.Append{Queue: "q", Chunk: bomb(name)})
		f.must(c.cc.Close())
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			f, old := *f, friend.fixture
			f.T = t
			friend.fixture = &f
			defer func() { friend.fixture = old }()
			before := f.state()
			a.do(&f)
			friend.roundTrip()
			f.recovers(before, a.name, 1)
			friend.roundTrip()
			f.alive()
		})
	}
}

// TestSilentConnections has many connections that say nothing, as many as
// -server.silent allows. A friend is served beside them, and they are closed.
func TestSilentConnections(t *testing.T) {
	n := *silent
	f := newFixture(t, server.Options{Handshake: 2 * time.Second, MaxConnections: n + 10})
	friend := f.friend()
	friend.roundTrip()
	before := f.state()
	conns := make([]net.Conn, n)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", f.address); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if i%100 == 0 {
			friend.roundTrip()
		}
	}
	friend.roundTrip()
	during := f.state()
	t.Logf("%d connections take %d bytes each", n, (int64(during.heap)-int64(before.heap))/int64(n))
	for _, c := range conns {
		f.closes(c, "a silent one")
		f.must(c.Close())
	}
	friend.roundTrip()
	f.recovers(before, "silent connections", n)
	f.alive()
}

// until waits until something holds.
func (f *fixture) until(what string, holds func() bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, 20*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			f.Fatalf("not within 20 s: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
