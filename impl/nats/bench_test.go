package nats_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var (
	ratioRuns     = flag.Int("nats.runs", 5, "measurements of the ratio")
	ratioMessages = flag.Int("nats.messages", 200_000, "messages of a measurement")
	ratioSync     = flag.Bool("nats.sync", false, "have the server sync before it acknowledges")
)

// What both sides are given: the body, the messages in a batch, those under way
// or in a request for more.
const (
	benchBody   = 128
	benchBatch  = 1000 // the most that an atomic batch may have
	benchFlight = 4 * benchBatch
)

// ways are what the bare client does, and what the portable client does beside it.
var ways = []struct{ bare, ours string }{
	{"publish", "publish"}, {"publish with ids", "publish"}, {"publish in batches", "publish"}, {"publish in batches with ids", "publish"}, {"consume", "consume"},
}

// BenchmarkRatio measures the portable client on the driver beside the bare
// client, in turn, against one server in this process, and prints the medians
// and the ratio of each run.
func BenchmarkRatio(t *testing.B) {
	s := start(t, func(o *server.Options) { o.SyncAlways = *ratioSync })
	b := &ratio{t: t, address: natsserver.Address(s), n: *ratioMessages, rates: map[string][]float64{}, cpu: map[string][]float64{}}
	for run := range *ratioRuns {
		b.run(run)
	}
	for _, w := range ways {
		ours, bare := b.rates[w.ours], b.rates["bare "+w.bare]
		var shares []float64
		for i := range bare {
			shares = append(shares, ours[i]/bare[i])
		}
		slices.Sort(shares)
		t.ReportMetric(100*median(shares), strings.ReplaceAll(w.bare, " ", "-")+"-%")
		cpu := median(b.cpu[w.ours]) / median(b.cpu["bare "+w.bare])
		fmt.Printf("%-27s portable client %7.0f/s (%.0f to %.0f), bare client %7.0f/s (%.0f to %.0f), ratio %3.0f %% (%.0f to %.0f); processor time of client and server %3.0f %%\n",
			w.bare, median(ours), slices.Min(ours), slices.Max(ours), median(bare), slices.Min(bare), slices.Max(bare), 100*median(shares), 100*shares[0], 100*shares[len(shares)-1], 100*cpu)
	}
}

// begin begins a measurement with clean memory.
func (b *ratio) begin() {
	runtime.GC()
	b.used = processorTime()
}

// processorTime returns the seconds of processor time that the process has used.
func processorTime() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

type ratio struct {
	t       testing.TB
	address string
	n       int
	rates   map[string][]float64 // messages a second
	cpu     map[string][]float64 // seconds of processor time for a message
	used    float64              // of the process before the measurement
}

// run measures everything once, each on a queue of its own.
func (b *ratio) run(run int) {
	ap, n := open(b.t, urlOf(b.address, options())), b.n
	if *ratioSync {
		n /= 20 // each is synced
	}
	steps := []func(){
		func() { b.begin(); b.rate("publish", b.n, b.publish(ap, b.queue(ap, run, "portable"))) },
		func() { b.begin(); b.rate("bare publish", n, b.barePublish(b.queue(ap, run, "bare"), n, false)) },
		func() { b.begin(); b.rate("bare publish with ids", n, b.barePublish(b.queue(ap, run, "ids"), n, true)) },
		func() {
			b.begin()
			b.rate("bare publish in batches", b.n, b.bareBatches(b.queue(ap, run, "batches"), false))
		},
		func() {
			b.begin()
			b.rate("bare publish in batches with ids", b.n, b.bareBatches(b.queue(ap, run, "id-batches"), true))
		},
	}
	if run%2 == 1 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		step()
	}
	queue := fmt.Sprintf("portable-%d", run)
	steps = []func(){
		func() { b.begin(); b.rate("consume", b.n, b.consume(ap, queue)) },
		func() { b.begin(); b.rate("bare consume", b.n, b.bareConsume(queue)) },
	}
	if run%2 == 1 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		step()
	}
	for _, q := range []string{"portable", "bare", "ids", "batches", "id-batches"} {
		ok(b.t, ap.Resources().DeleteQueue(b.t.Context(), fmt.Sprintf("%s-%d", q, run)))
	}
}

func (b *ratio) rate(what string, n int, d time.Duration) {
	used := processorTime()
	b.cpu[what] = append(b.cpu[what], (used-b.used)/float64(n))
	b.used = used
	b.rates[what] = append(b.rates[what], float64(n)/d.Seconds())
}

// options are those of the URL: the driver sends batches where the server syncs.
func options() string {
	if *ratioSync {
		return "?sync=always"
	}
	return ""
}

func (b *ratio) queue(ap om.AccessPoint, run int, name string) string {
	q := fmt.Sprintf("%s-%d", name, run)
	createQueue(b.t, ap, q, 1)
	return q
}

// publish sends batches, so many at once that as many messages are under way as
// the bare client has.
func (b *ratio) publish(ap om.AccessPoint, queue string) time.Duration {
	p := producer(b.t, ap, om.WithBatch(benchBatch, 1<<20))
	body := make([]byte, benchBody)
	d := b.batches(func(_, n int64) error {
		ms := make([]*om.Message, n)
		for i := range ms {
			ms[i] = om.NewMessage(queue, body)
		}
		_, err := p.SendBatch(b.t.Context(), ms)
		return err
	})
	ok(b.t, p.Close(b.t.Context()))
	return d
}

// batches has so many batches sent at once that benchFlight messages are under
// way; send sends n messages from number first on.
func (b *ratio) batches(send func(first, n int64) error) time.Duration {
	var left atomic.Int64
	left.Store(int64(b.n))
	var all sync.WaitGroup
	began := time.Now()
	for range benchFlight / benchBatch {
		all.Go(func() {
			for {
				first := left.Add(-benchBatch)
				n := min(benchBatch, first+benchBatch)
				if n <= 0 {
					return
				}
				if err := send(first, n); err != nil {
					b.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

// bareBatches sends as many atomic batches at once as publish.
func (b *ratio) bareBatches(queue string, ids bool) time.Duration {
	_, js := native(b.t, b.address)
	subject := "oms.test.default." + queue + ".0"
	body := make([]byte, benchBody)
	return b.batches(func(first, n int64) error {
		ms := make([]*nats.Msg, n)
		for i := range ms {
			ms[i] = &nats.Msg{Subject: subject, Header: nats.Header{}, Data: body}
			if ids {
				ms[i].Header.Set(nats.MsgIdHdr, fmt.Sprint(first+int64(i)))
			}
		}
		_, err := jetstreamext.PublishMsgBatch(b.t.Context(), js, ms)
		return err
	})
}

func (b *ratio) barePublish(queue string, n int, ids bool) time.Duration {
	nc, _ := native(b.t, b.address)
	var failed atomic.Int64
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(benchFlight))
	ok(b.t, err)
	subject := "oms.test.default." + queue + ".0"
	body := make([]byte, benchBody)
	began := time.Now()
	for i := range n {
		opts := []jetstream.PublishOpt{jetstream.WithStallWait(time.Minute)}
		if ids {
			opts = append(opts, jetstream.WithMsgID(fmt.Sprint(i)))
		}
		if _, err := js.PublishAsync(subject, body, opts...); err != nil {
			failed.Add(1)
		}
	}
	<-js.PublishAsyncComplete()
	d := time.Since(began)
	js.CleanupPublisher()
	if failed.Load() > 0 {
		b.t.Errorf("%d sends failed", failed.Load())
	}
	return d
}

func (b *ratio) consume(ap om.AccessPoint, queue string) time.Duration {
	c, err := ap.NewPushConsumer(b.t.Context(), om.WithGroup("portable"), om.WithPrefetch(benchFlight), om.WithHandlerBatch(256), om.WithOnError(func(err error) { b.t.Logf("background: %v", err) }))
	ok(b.t, err)
	done := make(chan struct{})
	left := b.n
	began := time.Now()
	ok(b.t, c.BindBatch(b.t.Context(), func(_ context.Context, batch *om.Batch) error {
		if left -= len(batch.Deliveries); left <= 0 {
			close(done)
		}
		return nil
	}, queue))
	<-done
	ok(b.t, c.Close(b.t.Context())) // when everything is acknowledged and confirmed
	return time.Since(began)
}

// bareConsume acknowledges without waiting for confirmation, as the bare client
// does it many at once; only its last one is confirmed.
func (b *ratio) bareConsume(queue string) time.Duration {
	_, js := native(b.t, b.address)
	c, err := js.CreateConsumer(b.t.Context(), "oms~test~default~"+queue, jetstream.ConsumerConfig{Durable: "bare", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
	ok(b.t, err)
	began := time.Now()
	messages, err := c.Messages(jetstream.PullMaxMessages(benchFlight))
	ok(b.t, err)
	for i := range b.n {
		m, err := messages.Next()
		ok(b.t, err)
		if i < b.n-1 {
			err = m.Ack()
		} else {
			err = m.DoubleAck(b.t.Context())
		}
		ok(b.t, err)
	}
	d := time.Since(began)
	messages.Stop()
	return d
}

// BenchmarkPublish and BenchmarkConsume are for profiles; a message is an
// operation.
func BenchmarkPublish(b *testing.B) {
	r, ap := benchRatio(b)
	b.ResetTimer()
	r.publish(ap, r.queue(ap, b.N, "portable"))
}

func BenchmarkConsume(b *testing.B) {
	r, ap := benchRatio(b)
	q := r.queue(ap, b.N, "portable")
	r.publish(ap, q)
	b.ResetTimer()
	r.consume(ap, q)
}

func benchRatio(b *testing.B) (*ratio, om.AccessPoint) {
	s := start(b, func(o *server.Options) { o.SyncAlways = *ratioSync })
	b.ReportAllocs()
	return &ratio{t: b, address: natsserver.Address(s), n: b.N}, open(b, urlOf(natsserver.Address(s), options()))
}
