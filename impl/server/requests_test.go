package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// crafted returns a chunk with one message whose bytes are given, checksum and
// lengths right.
func crafted(message []byte) []byte {
	data := append(bytes.Clone(newChunk("x")[:chunk.HeaderSize]), 0xa1, 'h', 0xa1, 'v')
	data = append(data, message...)
	binary.BigEndian.PutUint32(data[12:], uint32(len(data)-chunk.HeaderSize))
	binary.BigEndian.PutUint32(data[4:], crc32.Checksum(data[8:], crc32.MakeTable(crc32.Castagnoli)))
	return data
}

func millionProperties() []byte {
	b := binary.BigEndian.AppendUint32([]byte{0x94, 0, 0xc0, 0xdf}, 1_000_000)
	for i := range uint32(1_000_000) {
		b = append(binary.BigEndian.AppendUint32(append(b, 0xa8), i+0x20202020), "    \xc2"...)
		for k := len(b) - 9; k < len(b)-5; k++ {
			b[k] &= 0x7f
		}
	}
	return append(b, 0xc4, 0)
}

func nested() []byte {
	b := []byte{0x94, 0, 0xc0}
	for range 1 << 20 {
		b = append(b, 0x81, 0xa1, 'k')
	}
	return append(b, 0xc2, 0xc4, 0)
}

func TestCraftedChunks(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	s, err := c.Publish(f.ctx)
	f.must(err)
	good := newChunk("a", "b")
	change := func(at int, v byte) []byte {
		data := bytes.Clone(good)
		data[at] = v
		binary.BigEndian.PutUint32(data[4:], crc32.Checksum(data[8:], crc32.MakeTable(crc32.Castagnoli)))
		return data
	}
	for name, v := range map[string]struct {
		data []byte
		code om.Code
	}{
		"empty":              {nil, om.CodeMalformedMessage},
		"wrong count":        {change(11, 3), om.CodeMalformedMessage},
		"millions":           {change(8, 0x7f), om.CodeMalformedMessage},
		"wrong checksum":     {append(bytes.Clone(good[:len(good)-1]), 'x'), om.CodeMalformedMessage},
		"length over":        {change(15, 0xff), om.CodeMalformedMessage},
		"overlapping":        {crafted([]byte{0x94, 0, 0xc0, 0xc0, 0xc6, 0x7f, 0xff, 0xff, 0xff}), om.CodeMalformedMessage},
		"nesting":            {crafted(nested()), om.CodeMalformedMessage},
		"million properties": {crafted(millionProperties()), om.CodeMalformedMessage},
	} {
		f.must(s.Send(&wirepb.PublishRequest{Appends: []*wirepb.Append{
			{Queue: "q", Chunk: v.data}, {Queue: "q", Chunk: newChunk("good"), Partition: -1},
		}}))
		r, err := s.Recv()
		f.must(err)
		if e := r.GetResults()[0].GetError(); e.GetCode() != int32(v.code) {
			t.Errorf("%s: %v", name, e)
		}
		if e := r.GetResults()[1].GetError(); e != nil {
			t.Errorf("the good one beside it: %v", e)
		}
	}
	f.alive()
}

func TestBadNames(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	for _, name := range []string{"", "a b", "/etc//passwd", "..\\q", "q\x00", "ns://a://b", strings.Repeat("n", 64<<10), "default://" + strings.Repeat("q", 64<<10)} {
		_, err := c.resources.CreateQueue(f.ctx, &wirepb.CreateQueueRequest{Queue: &wirepb.Queue{Name: name}})
		if code(err) != om.CodeBadParameter {
			t.Errorf("queue %.20q: %v", name, err)
		}
		s, err := c.Receive(f.ctx)
		f.must(err)
		f.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Subscribe{Subscribe: &wirepb.Subscribe{Queue: "q", Group: name, Start: "begin", Lease: 1000}}}))
		if _, err := s.Recv(); code(err) != om.CodeBadParameter {
			t.Errorf("group %.20q: %v", name, err)
		}
		if e := c.publish(&wirepb.Append{Queue: name, Chunk: newChunk("x")})[0].GetError(); e.GetCode() != int32(om.CodeBadParameter) {
			t.Errorf("send to %.20q: %v", name, e)
		}
	}
	_, err := c.resources.CreateQueue(f.ctx, &wirepb.CreateQueueRequest{})
	if code(err) != om.CodeBadParameter {
		t.Error(err)
	}
	for _, position := range []string{"", "middle", "offset:-1", "time:yesterday"} {
		if _, err := c.Resolve(f.ctx, &wirepb.ResolveRequest{Queue: "q", Position: position}); code(err) != om.CodeBadParameter {
			t.Errorf("%q: %v", position, err)
		}
	}
	if _, err := c.Read(f.ctx, &wirepb.ReadRequest{Queue: "q", Partition: 9, MaxMessages: 1}); code(err) != om.CodeBadParameter {
		t.Error(err)
	}
	if _, err := c.Read(f.ctx, &wirepb.ReadRequest{Queue: "q", MaxMessages: -1}); code(err) != om.CodeBadParameter {
		t.Error(err)
	}
	f.alive()
}

func TestRequestsOutOfPlace(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	for name, say := range map[string]func(s *subscription) error{
		"a second subscription": func(s *subscription) error {
			return s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Subscribe{Subscribe: &wirepb.Subscribe{}}})
		},
		"nothing": func(s *subscription) error { return s.Send(&wirepb.ReceiveRequest{}) },
		"too many polls": func(s *subscription) error {
			for i := range uint64(70) {
				if err := s.Send(pollRequest(i, 1)); err != nil {
					return nil // it is over already
				}
			}
			return nil
		},
		"a settle of nothing": func(s *subscription) error {
			return s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Settle{Settle: &wirepb.Settle{Action: wirepb.Action_ACTION_ACK}}})
		},
	} {
		s := c.subscribe("q", "g")
		f.must(say(s))
		if _, err := s.Recv(); code(err) != om.CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := c.Receive(f.ctx)
	f.must(err)
	f.must(s.Send(pollRequest(1, 1)))
	if _, err := s.Recv(); code(err) != om.CodeBadRequest {
		t.Errorf("a poll before the subscription: %v", err)
	}
	sub := c.subscribe("q", "g")
	for _, limit := range []int32{0, -1, 1 << 30} {
		if b := sub.poll(limit); b.GetError().GetCode() != int32(om.CodeBadParameter) {
			t.Errorf("a poll for %d messages: %v", limit, b)
		}
	}
	p, err := c.Publish(f.ctx)
	f.must(err)
	f.must(p.Send(&wirepb.PublishRequest{}))
	if _, err := p.Recv(); code(err) != om.CodeBadRequest {
		t.Errorf("a request without chunks: %v", err)
	}
	if _, err := c.Open(f.ctx, &wirepb.OpenRequest{}); code(err) != om.CodeIncompatibleVersion {
		t.Error(err)
	}
	f.alive()
}

func TestReceiptsOfOthersAreStale(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("a", "b", "c")})
	mine, same, other := c.subscribe("q", "g"), c.subscribe("q", "g"), c.subscribe("q", "other")
	spans := mine.poll(3).GetSpans()
	for name, s := range map[string]*subscription{"another receiver": same, "another group": other} {
		for _, action := range []wirepb.Action{wirepb.Action_ACTION_ACK, wirepb.Action_ACTION_NACK, wirepb.Action_ACTION_EXTEND} {
			a := s.settle(action, spans...)
			if len(a.GetErrors()) != 1 || a.GetErrors()[0].GetError().GetCode() != int32(om.CodeStaleReceipt) {
				t.Errorf("%v by %s: %v", action, name, a)
			}
		}
	}
	far := &wirepb.Range{Partition: 7, Lease: 1, From: -5, To: 1 << 62}
	f.must(mine.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Settle{Settle: &wirepb.Settle{Settle: 77, Action: wirepb.Action_ACTION_ACK, Ranges: []*wirepb.Range{far, {Lease: 1, From: 5, To: 1}}}}}))
	m, err := mine.Recv()
	f.must(err)
	if len(m.GetSettled().GetErrors()) != 2 {
		t.Error(m)
	}
	if a := mine.settle(wirepb.Action_ACTION_UNSPECIFIED, spans...); a.GetError().GetCode() != int32(om.CodeBadRequest) {
		t.Error(a)
	}
	if a := mine.settle(wirepb.Action_ACTION_ACK, spans...); len(a.GetErrors()) != 0 || a.GetError() != nil {
		t.Error(a)
	}
	if b := other.poll(3); len(b.GetSpans()) != 1 || b.GetSpans()[0].GetDelivery() != 1 {
		t.Error(b)
	}
}

func TestReturnedAndCancelled(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	s := c.subscribe("q", "g")
	f.must(s.Send(pollRequest(100, 5)))
	f.must(s.Send(pollRequest(101, 5)))
	f.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Cancel{Cancel: &wirepb.CancelPoll{Poll: 100}}}))
	f.must(s.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Cancel{Cancel: &wirepb.CancelPoll{Poll: 12345}}}))
	m, err := s.Recv()
	f.must(err)
	if b := m.GetBatch(); b.GetPoll() != 100 || len(b.GetSpans()) != 0 || b.GetError() != nil {
		t.Error(m)
	}
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("a", "b", "c")})
	m, err = s.Recv()
	f.must(err)
	if m.GetBatch().GetPoll() != 101 {
		t.Fatal(m)
	}
	s.settle(wirepb.Action_ACTION_RETURN, m.GetBatch().GetSpans()...)
	first := s.poll(1).GetSpans()[0]
	h, err := chunk.Parse(first.GetChunk())
	f.must(err)
	if first.GetDelivery() != 1 || h.Count != 1 {
		t.Errorf("delivery %d, %d messages", first.GetDelivery(), h.Count)
	}
	// Closed in good order, the rest is given back when the stream is over.
	f.must(s.CloseSend())
	if _, err := s.Recv(); err != io.EOF {
		t.Error(err)
	}
	if got := c.subscribe("q", "g").poll(3).GetSpans()[0]; got.GetDelivery() != 2 {
		t.Error(got.GetDelivery())
	}
}

func TestShutdownDrains(t *testing.T) {
	f := newFixture(t, server.Options{Drain: time.Minute})
	c := f.dial()
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("a")})
	s, idle := c.subscribe("q", "g"), c.subscribe("q", "other")
	spans := s.poll(1).GetSpans()
	p, err := c.Publish(f.ctx)
	f.must(err)
	f.must(p.Send(&wirepb.PublishRequest{Appends: []*wirepb.Append{{Queue: "q", Chunk: newChunk("b")}}}))
	if _, err := p.Recv(); err != nil {
		t.Fatal(err)
	}
	f.must(s.Send(pollRequest(500, 1)))
	m, err := s.Recv()
	f.must(err)
	more := m.GetBatch().GetSpans()
	f.must(s.Send(pollRequest(501, 1)))                                                       // waits
	s.settle(wirepb.Action_ACTION_RETURN, &wirepb.Span{Lease: 1, Chunk: newChunk("nothing")}) // answered after the poll was taken
	over := make(chan error, 1)
	go func() { over <- f.server.Shutdown(f.ctx) }()
	if m, err = s.Recv(); err != nil || m.GetBatch().GetError().GetCode() != int32(om.CodeServiceUnavailable) {
		t.Errorf("the poll that waits: %v %v", m, err)
	}
	if _, err := p.Recv(); code(err) != om.CodeServiceUnavailable {
		t.Errorf("the publisher: %v", err)
	}
	if _, err := idle.Recv(); code(err) != om.CodeServiceUnavailable {
		t.Errorf("who has nothing: %v", err)
	}
	if b := s.poll(1); b.GetError().GetCode() != int32(om.CodeServiceUnavailable) {
		t.Errorf("a poll while the server goes: %v", b)
	}
	if a := s.settle(wirepb.Action_ACTION_ACK, spans...); a.GetError() != nil || a.GetErrors() != nil {
		t.Error(a)
	}
	select {
	case err := <-over:
		t.Errorf("the server has gone while messages were out: %v", err)
	default:
	}
	if a := s.settle(wirepb.Action_ACTION_ACK, more...); a.GetError() != nil || a.GetErrors() != nil {
		t.Error(a)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	if _, err := c.Ping(f.ctx, &wirepb.PingRequest{}); err == nil {
		t.Error("the server answers after its end")
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	f := newFixture(t, server.Options{Drain: time.Hour})
	c := f.dial()
	c.publish(&wirepb.Append{Queue: "q", Chunk: newChunk("a")})
	c.subscribe("q", "g").poll(1)
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	if err := f.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestInterceptorsSeeEveryCall(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]bool)
	note := func(method string) {
		mu.Lock()
		defer mu.Unlock()
		seen[method] = true
	}
	refuse := om.NewError(om.CodeUnauthorized, "open", "", "who are you?")
	f := newFixture(t, server.Options{
		Unary: []grpc.UnaryServerInterceptor{
			func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
				note(info.FullMethod)
				if strings.HasSuffix(info.FullMethod, "DeleteQueue") {
					return nil, wire.Status(refuse)
				}
				return h(ctx, req)
			},
		},
		Stream: []grpc.StreamServerInterceptor{func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			note(info.FullMethod)
			return h(srv, s)
		}},
	})
	f.alive()
	c := f.dial()
	c.subscribe("q", "g")
	if _, err := c.resources.DeleteQueue(f.ctx, &wirepb.DeleteQueueRequest{Queue: "q"}); code(err) != om.CodeUnauthorized {
		t.Error(err)
	}
	const service = "/openmessaging.v1.MessagingService/"
	for _, want := range []string{service + "Open", service + "Publish", service + "Receive", "/openmessaging.v1.ResourceService/DeleteQueue"} {
		if !seen[want] {
			t.Errorf("not seen: %s", want)
		}
	}
	if server.PrincipalOf(f.ctx) != nil {
		t.Error("somebody")
	}
}

func TestPages(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	const queues = 1100
	var all sync.WaitGroup
	for i := range queues {
		all.Go(func() {
			if err := f.broker.CreateQueue(f.ctx, om.QueueConfig{Name: "page-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + "-" + string(rune('a'+i/26%26)) + string(rune('a'+i/676))}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	names := make(map[string]bool)
	pages, last := 0, ""
	for page := ""; ; pages++ {
		r, err := c.resources.ListQueues(f.ctx, &wirepb.ListQueuesRequest{Namespace: "default", Page: page})
		f.must(err)
		for _, q := range r.GetQueues() {
			if q.GetName() <= last {
				t.Fatalf("%s follows %s", q.GetName(), last)
			}
			last = q.GetName()
			names[last] = true
		}
		if page = r.GetNextPage(); page == "" {
			break
		}
	}
	if len(names) != queues+1 || pages != 2 {
		t.Errorf("%d queues on %d pages", len(names), pages+1)
	}
}
