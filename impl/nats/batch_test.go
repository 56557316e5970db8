package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const batchQueue = "oms~test~default~q" // the stream of queue q

// together lets a producer hand over any number of messages at once.
var together = om.WithBatch(1<<20, 1<<30)

// reports makes messages for a queue, which their body numbers.
func reports(queue string, n int) (ms []*om.Message) {
	for i := range n {
		ms = append(ms, om.NewMessage(queue, strconv.AppendInt(nil, int64(i), 10)))
	}
	return ms
}

// inStream reads all that a stream holds, as a plain client.
func inStream(t testing.TB, js jetstream.JetStream, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	ok(t, err)
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		ok(t, err)
		all = append(all, m)
	}
	return all
}

// batches counts the messages of each atomic batch.
func batches(all []*jetstream.RawStreamMsg) map[string]int {
	n := map[string]int{}
	for _, m := range all {
		if id := m.Header.Get("Nats-Batch-Id"); id != "" {
			n[id]++
		}
	}
	return n
}

// checkSent checks that a queue holds what was sent, each once, where the
// results say, and the messages of a call in its order.
func checkSent(t testing.TB, js jetstream.JetStream, queue string, calls ...[]om.SendResult) []*jetstream.RawStreamMsg {
	t.Helper()
	all, sent := inStream(t, js, "oms~test~default~"+queue), 0
	for _, rs := range calls {
		sent += len(rs)
		for i, r := range rs {
			if r.Offset < 0 || r.Offset >= int64(len(all)) || i > 0 && r.Offset <= rs[i-1].Offset {
				t.Fatalf("message %d lies at %d, of %d", i, r.Offset, len(all))
			}
			m := all[r.Offset]
			if string(m.Data) != strconv.Itoa(i) || m.Header.Get(nats.MsgIdHdr) != r.MessageID || m.Subject != fmt.Sprintf("oms.test.default.%s.%d", queue, r.Partition) {
				t.Fatalf("message %d is said to lie at %d in partition %d with id %q: there are %q of %s and %v", i, r.Offset, r.Partition, r.MessageID, m.Data, m.Subject, m.Header)
			}
		}
	}
	if sent != len(all) {
		t.Errorf("%d messages were sent, %d are stored", sent, len(all))
	}
	return all
}

// TestBatch sends many messages at once: they go in atomic batches where the
// server syncs, and lie where the results say.
func TestBatch(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		name, options string
		n             int
		want          []int // the sizes of the batches
	}{
		{"the server says that it syncs", "", 24, []int{24}},
		{"the server says that it does not", "", 24, nil},
		{"many", "?sync=always", 2100, []int{100, 1000, 1000}},
		{"a few over", "?sync=always", 1005, []int{1000}},
		{"few", "?sync=always", 23, nil},
		{"unsynced", "", 100, nil},
		{"memory", "?sync=always&storage=memory", 100, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := map[string]string{"the server says that it syncs": "always", "the server says that it does not": "2m"}[c.name]
			address := natsserver.Address(start(t, func(o *server.Options) {
				if said != "" {
					seeing(t, o, said)
				}
			}))
			ap := open(t, urlOf(address, c.options), user("app", "secret"))
			if said != "" {
				address = "app:secret@" + address
			}
			createQueue(t, ap, "q", 3)
			rs, err := producer(t, ap, together).SendBatch(ctx, reports("q", c.n))
			ok(t, err)
			_, js := native(t, address)
			var sizes []int
			for _, n := range batches(checkSent(t, js, "q", rs)) {
				sizes = append(sizes, n)
			}
			if slices.Sort(sizes); !slices.Equal(sizes, c.want) {
				t.Errorf("batches of %v, want %v", sizes, c.want)
			}
		})
	}
}

// TestManyBatches has many calls at once with a server that lets a stream have
// one batch open: one connection has no more.
func TestManyBatches(t *testing.T) {
	t.Parallel()
	address := natsserver.Address(start(t, func(o *server.Options) { o.JetStreamLimits.MaxBatchInflightPerStream = 1 }))
	ap := open(t, urlOf(address, "?sync=always"))
	createQueue(t, ap, "q", 2)
	p := producer(t, ap, together, om.WithSendTimeout(2*time.Minute)) // a sync for each, one after the other
	const calls, size = 60, 30
	var all sync.WaitGroup
	results := make([][]om.SendResult, calls)
	for i := range results {
		all.Go(func() {
			var err error
			if results[i], err = p.SendBatch(t.Context(), reports("q", size)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_, js := native(t, address)
	if n := batches(checkSent(t, js, "q", results...)); len(n) != calls {
		t.Errorf("%d batches of %d were taken", len(n), calls)
	}
}

// TestRepeatedBatchIsStoredOnce loses the answer of a batch.
func TestRepeatedBatchIsStoredOnce(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	proxy := startProxy(t, natsserver.Address(s))
	ap := open(t, urlOf(proxy.address(), "?sync=always"))
	createQueue(t, ap, "q", 4)
	p := producer(t, ap, together)
	ok(t, ap.Ping(t.Context()))
	_, err := p.SendBatch(t.Context(), reports("q", 1)) // q is known now
	ok(t, err)
	_, js := native(t, natsserver.Address(s))
	proxy.holdAnswers(true)
	sent := p.SendBatchAsync(t.Context(), reports("q", 100))
	await(t, "the batch is stored", func() bool {
		stream, err := js.Stream(t.Context(), batchQueue)
		ok(t, err)
		return stream.CachedInfo().State.LastSeq == 101
	})
	proxy.cut()
	proxy.holdAnswers(false)
	rs, err := sent.Wait(within(t, 20*time.Second))
	ok(t, err)
	all := inStream(t, js, batchQueue)
	if len(all) != 101 || len(batches(all)) != 1 {
		t.Fatalf("%d messages are stored, in %d batches", len(all), len(batches(all)))
	}
	for i, r := range rs {
		m := all[i+1]
		if r.Offset != int64(i+1) || m.Header.Get(nats.MsgIdHdr) != r.MessageID || !strings.HasSuffix(m.Subject, fmt.Sprint(".", r.Partition)) {
			t.Errorf("message %d lies at %d in partition %d with id %q: there is %s, %v", i, r.Offset, r.Partition, r.MessageID, m.Subject, m.Header)
		}
	}
}

// TestRefusedBatch has the server refuse batches whole: their messages go one by one.
func TestRefusedBatch(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(t *testing.T, nc *nats.Conn, js jetstream.JetStream){
		"not allowed any more": func(t *testing.T, _ *nats.Conn, js jetstream.JetStream) {
			change(t, js, func(cfg *jetstream.StreamConfig) { cfg.AllowAtomicPublish = false })
		},
		"too many open": func(t *testing.T, nc *nats.Conn, _ jetstream.JetStream) {
			answer, err := nc.RequestMsg(&nats.Msg{Subject: "oms.test.default.q.0", Header: nats.Header{"Nats-Batch-Id": {"other"}, "Nats-Batch-Sequence": {"1"}}}, 10*time.Second)
			ok(t, err)
			if len(answer.Data) > 0 {
				t.Fatalf("%s", answer.Data)
			}
		},
		"larger than allowed": func(*testing.T, *nats.Conn, jetstream.JetStream) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(o *server.Options) {
				o.JetStreamLimits.MaxBatchInflightPerStream = 1
				if name == "larger than allowed" {
					o.JetStreamLimits.MaxBatchSize = 50
				}
			})
			ap := open(t, urlOf(natsserver.Address(s), "?sync=always"))
			createQueue(t, ap, "q", 2)
			nc, js := native(t, natsserver.Address(s))
			refuse(t, nc, js)
			rs, err := producer(t, ap, together).SendBatch(t.Context(), reports("q", 60))
			ok(t, err)
			if n := batches(checkSent(t, js, "q", rs)); len(n) > 0 {
				t.Errorf("%d batches were taken", len(n))
			}
		})
	}
}

// change changes the stream of queue q.
func change(t testing.TB, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), batchQueue)
	ok(t, err)
	cfg := s.CachedInfo().Config
	change(&cfg)
	_, err = js.UpdateStream(t.Context(), cfg)
	ok(t, err)
}

// TestServerWithoutBatches has a server that does not see the headers of
// batches, as those before 2.12, and so takes their messages one by one, here
// without the seventh.
func TestServerWithoutBatches(t *testing.T) {
	t.Parallel()
	address := natsserver.Address(start(t, nil))
	proxy := startProxy(t, address)
	proxy.change(func(b []byte) {
		changed := bytes.ReplaceAll(b, []byte("Nats-Batch-Sequence: 7\r"), []byte("Nats-Expected-Stream:7\r"))
		copy(b, bytes.ReplaceAll(changed, []byte("Nats-Batch-"), []byte("Else-Batch-")))
	})
	ap := open(t, urlOf(proxy.address(), "?sync=always"))
	createQueue(t, ap, "q", 2)
	rs, err := producer(t, ap, together).SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
	_, js := native(t, address)
	all := inStream(t, js, batchQueue)
	for i, r := range rs {
		if r.Offset >= int64(len(all)) || string(all[r.Offset].Data) != strconv.Itoa(i) || (all[r.Offset].Header.Get("Else-Batch-Id") == "") != (i == 6) {
			t.Errorf("message %d is said to lie at %d of %d", i, r.Offset, len(all))
		}
	}
}

// TestBatchNeighbours has one message of a batch refused.
func TestBatchNeighbours(t *testing.T) {
	t.Parallel()
	const size, bad = 60, 30
	large := func(m *om.Message) { m.Body = make([]byte, 70<<10) }
	for name, c := range map[string]struct {
		spoil func(*om.Message)
		limit int32 // of messages in the stream
		code  om.Code
	}{
		"by the server":                {large, 64 << 10, om.CodeBodyTooLarge},
		"by the client":                {large, -1, om.CodeBodyTooLarge},
		"because it is not allowed to": {func(m *om.Message) { m.Ext.Partition = om.Some[int32](1) }, -1, om.CodeForbidden},
	} {
		for _, at := range []int{0, bad, size - 1} {
			t.Run(fmt.Sprint(name, " ", at), func(t *testing.T) {
				s := start(t, func(o *server.Options) {
					if o.MaxPayload = 1 << 20; c.limit < 0 {
						o.MaxPayload = 64 << 10
					}
					o.Users = []*server.User{{Username: "app", Password: "secret", Permissions: &server.Permissions{
						Publish: &server.SubjectPermission{Deny: []string{"oms.test.default.q.1"}},
					}}}
				})
				ap := open(t, urlOf(natsserver.Address(s), "?sync=always"), user("app", "secret"))
				createQueue(t, ap, "q", 2)
				_, js := native(t, "app:secret@"+natsserver.Address(s))
				if c.limit > 0 {
					change(t, js, func(cfg *jetstream.StreamConfig) { cfg.MaxMsgSize = c.limit })
				}
				ms := reports("q", size)
				for _, m := range ms {
					m.Ext.Partition = om.Some[int32](0)
				}
				c.spoil(ms[at])
				p := producer(t, ap, together)
				rs, err := p.SendBatch(within(t, 20*time.Second), ms)
				var failed *om.BatchError
				if !errors.As(err, &failed) || failed.Failed() != 1 {
					t.Fatal(err)
				}
				is(t, failed.At(at), false, c.code)
				all := inStream(t, js, batchQueue)
				if len(all) != size-1 {
					t.Fatalf("%d messages are stored", len(all))
				}
				for i, r := range slices.Delete(slices.Clone(rs), at, at+1) {
					if r.Offset != int64(i) || r.MessageID != all[i].Header.Get(nats.MsgIdHdr) {
						t.Errorf("place %d: %+v, %v", i, r, all[i].Header)
					}
				}
			})
		}
	}
}

// TestBatchToStreamDeletedUnderneath sends batches to a queue that is gone, and
// to one that was made anew by a program that knows no batches.
func TestBatchToStreamDeletedUnderneath(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	proxy := startProxy(t, address)
	ap := open(t, urlOf(proxy.address(), "?sync=always"))
	createQueue(t, ap, "q", 2)
	p := producer(t, ap, together)
	_, err := p.SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
	_, js := native(t, address)
	s, err := js.Stream(t.Context(), batchQueue)
	ok(t, err)
	cfg := s.CachedInfo().Config
	ok(t, js.DeleteStream(t.Context(), batchQueue))
	_, err = p.SendBatch(t.Context(), reports("q", 30))
	is(t, err, false, om.ErrDestination, om.CodeDestinationNotFound)
	createQueue(t, ap, "q", 2)
	_, err = p.SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
	ok(t, js.DeleteStream(t.Context(), batchQueue))
	cfg.AllowAtomicPublish = false
	_, err = js.CreateStream(t.Context(), cfg)
	ok(t, err)
	first, err := p.SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
	var tried atomic.Bool
	proxy.change(func(b []byte) {
		if bytes.Contains(b, []byte("Nats-Batch-Id")) {
			tried.Store(true)
		}
	})
	second, err := p.SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
	if tried.Load() {
		t.Error("a batch is tried again after one was refused")
	}
	if n := batches(checkSent(t, js, "q", first, second)); len(n) > 0 {
		t.Errorf("%d batches were taken", len(n))
	}
}

// TestBatchToManyQueues sends to queues in turn, of which one takes no batches,
// and to others that get too few.
func TestBatchToManyQueues(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	ap := open(t, urlOf(address, "?sync=always"))
	_, js := native(t, address)
	names := []string{"a", "b", "q"}
	few := []string{"c", "d", "e", "f", "g"}
	for _, name := range append(few, names...) {
		createQueue(t, ap, name, 1)
	}
	change(t, js, func(cfg *jetstream.StreamConfig) { cfg.AllowAtomicPublish = false })
	var ms []*om.Message
	for i := range 90 {
		ms = append(ms, om.NewMessage(names[i%3], fmt.Append(nil, i)))
	}
	for _, name := range few {
		ms = append(ms, reports(name, 2)...)
	}
	rs, err := producer(t, ap, together).SendBatch(t.Context(), ms)
	ok(t, err)
	for k, name := range few {
		checkSent(t, js, name, rs[90+2*k:92+2*k])
	}
	for k, name := range names {
		all := inStream(t, js, "oms~test~default~"+name)
		if n := len(batches(all)); n != 1 && name != "q" || n != 0 && name == "q" {
			t.Errorf("queue %s has %d batches", name, n)
		}
		for i := range 30 {
			if at := 3*i + k; rs[at].Offset != int64(i) || string(all[i].Data) != strconv.Itoa(at) {
				t.Errorf("message %d is said to lie at %d of queue %s; at %d there is %q", at, rs[at].Offset, name, i, all[i].Data)
			}
		}
	}
}

// TestBatchIsCanceled has the context of a batch end while the server is away.
func TestBatchIsCanceled(t *testing.T) {
	proxy := startProxy(t, natsserver.Address(start(t, nil)))
	ap := open(t, urlOf(proxy.address(), "?sync=always"))
	createQueue(t, ap, "q", 1)
	p := producer(t, ap, together)
	_, err := p.SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
	proxy.stall(true)
	_, err = p.SendBatch(within(t, 300*time.Millisecond), reports("q", 30))
	is(t, err, true, om.ErrTimeout, context.DeadlineExceeded)
	proxy.stall(false)
	_, err = p.SendBatch(t.Context(), reports("q", 30))
	ok(t, err)
}
