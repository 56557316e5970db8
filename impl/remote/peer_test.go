package remote_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	broker "github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

var (
	peerRounds = flag.Int("peer.rounds", 3, "rounds of BenchmarkPeer")
	peerTime   = flag.Duration("peer.time", 2*time.Second, "how long each measurement of BenchmarkPeer sends")
	peerBody   = flag.Int("peer.body", 128, "body bytes")
)

const (
	peerBatch   = 1024
	peerSenders = 64
)

// BenchmarkPeer measures the server beside a NATS server with JetStream, both in
// this process with clients on the loopback, files on disk, in turn:
//
//	go test ./impl/remote -run '^$' -bench Peer -benchtime 1x -timeout 30m
//
// NATS syncs before it acknowledges ("always"), as the server does, or every two
// minutes ("default"). Its batches are tried in all the ways it has.
func BenchmarkPeer(b *testing.B) {
	for range b.N {
		rates := make(map[string][]float64)
		var names []string
		for range *peerRounds {
			for _, w := range peerWays(b) {
				if _, ok := rates[w.name]; !ok {
					names = append(names, w.name)
				}
				rates[w.name] = append(rates[w.name], w.measure())
			}
		}
		printPeers(names, rates)
	}
}

type peerWay struct {
	name    string
	measure func() float64 // messages a second
}

// printPeers prints medians, and ratios of the first way of a kind to the others.
func printPeers(names []string, rates map[string][]float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%d bytes, medians of %d\tmessages/s\tleast\tmost\tours to theirs\n", *peerBody, *peerRounds)
	ours := 0.0
	for _, name := range names {
		v := slices.Sorted(slices.Values(rates[name]))
		m := v[len(v)/2]
		ratio := ""
		if slices.Contains(peerOurs, name) {
			ours = m
		} else {
			ratio = fmt.Sprintf("%.1f", ours/m)
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%s\n", name, m, v[0], v[len(v)-1], ratio)
	}
	_ = w.Flush()
}

var peerOurs = []string{"batches", "64 single senders", "consume and acknowledge"}

func peerWays(b *testing.B) []peerWay {
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx := b.Context()
	m := newMachine(b, store.Options{Path: b.TempDir() + "/store"}, broker.Options{})
	ap, err := oms.Open(ctx, remote.URL(m.address))
	must(err)
	b.Cleanup(func() { must(ap.Close(context.Background())) })
	us := &ourPeer{b: b, ap: ap}
	synced, unsynced := newNATSPeer(b, true), newNATSPeer(b, false)
	ways := []peerWay{{"batches", us.batches}}
	for _, n := range []*natsPeer{synced, unsynced} {
		ways = append(ways,
			peerWay{n.name + ", asynchronous", func() float64 { return n.async() }},
			peerWay{n.name + ", fast batches", func() float64 { return n.fast() }},
			peerWay{n.name + ", atomic batches", func() float64 { return n.atomic() }})
	}
	ways = append(ways, peerWay{"64 single senders", us.single})
	for _, n := range []*natsPeer{synced, unsynced} {
		ways = append(ways, peerWay{n.name + ", 64 single senders", n.single})
	}
	ways = append(ways, peerWay{"consume and acknowledge", us.consume})
	for _, n := range []*natsPeer{synced, unsynced} {
		ways = append(ways, peerWay{n.name + ", consume and acknowledge", n.consume})
	}
	return ways
}

// repeat calls f in n goroutines, once at least, until the time is over, and returns how many
// messages a second went, by what f returns.
func repeat(b *testing.B, n int, f func(i int) (int, error)) float64 {
	var sent atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for i := range n {
		all.Go(func() {
			for first := true; first || time.Since(began) < *peerTime; first = false {
				k, err := f(i)
				if err != nil {
					b.Error(err)
					return
				}
				sent.Add(int64(k))
			}
		})
	}
	all.Wait()
	return float64(sent.Load()) / time.Since(began).Seconds()
}

type ourPeer struct {
	b      *testing.B
	ap     om.AccessPoint
	queues int
}

func (p *ourPeer) must(err error) {
	if err != nil {
		p.b.Fatal(err)
	}
}

func (p *ourPeer) queue() string {
	p.queues++
	name := fmt.Sprintf("peer-%d", p.queues)
	p.must(p.ap.Resources().CreateQueue(p.b.Context(), om.QueueConfig{Name: name, Partitions: 4}))
	return name
}

func (p *ourPeer) batches() float64 { return p.fill(p.queue()) }

func (p *ourPeer) fill(queue string) float64 {
	const goroutines = 8
	producer, err := p.ap.NewProducer(p.b.Context(), om.WithBatch(peerBatch, 8<<20))
	p.must(err)
	defer producer.Close(context.Background())
	batches := make([][]*om.Message, goroutines)
	for i := range batches {
		for range peerBatch {
			batches[i] = append(batches[i], om.NewMessage(queue, make([]byte, *peerBody)))
		}
	}
	return repeat(p.b, goroutines, func(i int) (int, error) {
		_, err := producer.SendBatch(p.b.Context(), batches[i])
		return peerBatch, err
	})
}

func (p *ourPeer) single() float64 {
	queue := p.queue()
	producer, err := p.ap.NewProducer(p.b.Context())
	p.must(err)
	defer producer.Close(context.Background())
	return repeat(p.b, peerSenders, func(int) (int, error) {
		_, err := producer.Send(p.b.Context(), om.NewMessage(queue, make([]byte, *peerBody)))
		return 1, err
	})
}

func (p *ourPeer) consume() float64 {
	queue := p.queue()
	p.fill(queue)
	parts, err := p.ap.Resources().Partitions(p.b.Context(), queue)
	p.must(err)
	var left, all int64
	for _, i := range parts {
		left += i.End - i.Begin
	}
	all = left
	var consumers [2]om.PullConsumer
	for i := range consumers {
		consumers[i], err = p.ap.NewPullConsumer(p.b.Context(), om.WithGroup("peer"))
		p.must(err)
		defer consumers[i].Close(context.Background())
		p.must(consumers[i].Bind(p.b.Context(), queue))
	}
	ctx, done := context.WithCancel(p.b.Context())
	defer done()
	var workers sync.WaitGroup
	began := time.Now()
	for _, c := range consumers {
		workers.Go(func() {
			for {
				ds, err := c.ReceiveBatch(ctx, peerBatch)
				if err == nil {
					err = c.Ack(ctx, ds...)
				}
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					p.b.Error(err)
					return
				}
				if atomic.AddInt64(&left, -int64(len(ds))) <= 0 {
					done()
				}
			}
		})
	}
	workers.Wait()
	return float64(all) / time.Since(began).Seconds()
}

type natsPeer struct {
	b       *testing.B
	name    string
	address string
	js      jetstream.JetStream
	streams int
}

func newNATSPeer(b *testing.B, sync bool) *natsPeer {
	p := &natsPeer{b: b, name: "NATS default"}
	if sync {
		p.name = "NATS always"
	}
	s, err := natsserver.Start(b.TempDir(), func(o *server.Options) { o.SyncAlways = sync })
	p.must(err)
	b.Cleanup(func() { natsserver.Stop(s) })
	p.address = natsserver.Address(s)
	p.js = p.connect()
	return p
}

func (p *natsPeer) must(err error) {
	if err != nil {
		p.b.Fatal(err)
	}
}

func (p *natsPeer) connect(opts ...jetstream.JetStreamOpt) jetstream.JetStream {
	nc, err := nats.Connect("nats://" + p.address)
	p.must(err)
	p.b.Cleanup(nc.Close)
	js, err := jetstream.New(nc, opts...)
	p.must(err)
	return js
}

func (p *natsPeer) stream() (jetstream.Stream, string) {
	p.streams++
	subject := fmt.Sprintf("peer.%d", p.streams)
	s, err := p.js.CreateStream(p.b.Context(), jetstream.StreamConfig{
		Name: fmt.Sprintf("peer-%d", p.streams), Subjects: []string{subject}, Storage: jetstream.FileStorage,
		AllowAtomicPublish: true, AllowBatchPublish: true,
	})
	p.must(err)
	return s, subject
}

func (p *natsPeer) async() float64 {
	_, subject := p.stream()
	return p.asyncTo(subject)
}

func (p *natsPeer) asyncTo(subject string) float64 {
	js := p.connect(jetstream.WithPublishAsyncMaxPending(8 * peerBatch))
	body := make([]byte, *peerBody)
	began, n := time.Now(), 0
	for ; n == 0 || time.Since(began) < *peerTime; n++ {
		_, err := js.PublishAsync(subject, body, jetstream.WithStallWait(time.Minute))
		p.must(err)
	}
	<-js.PublishAsyncComplete()
	return float64(n) / time.Since(began).Seconds()
}

func (p *natsPeer) fast() float64 {
	_, subject := p.stream()
	const publishers = 4
	var fast [publishers]jetstreamext.FastPublisher
	for i := range fast {
		f, err := jetstreamext.NewFastPublisher(p.connect(), jetstreamext.FastPublishFlowControl{Flow: 500, MaxOutstandingAcks: 3, AckTimeout: 30 * time.Second})
		p.must(err)
		fast[i] = f
	}
	body := make([]byte, *peerBody)
	began := time.Now()
	rate := repeat(p.b, publishers, func(i int) (int, error) {
		_, err := fast[i].Add(subject, body)
		return 1, err
	})
	sent := rate * time.Since(began).Seconds()
	var all sync.WaitGroup
	for _, f := range fast {
		all.Go(func() {
			if _, err := f.Commit(context.Background(), subject, body); err != nil {
				p.b.Error(err)
			}
		})
	}
	all.Wait()
	return sent / time.Since(began).Seconds()
}

func (p *natsPeer) atomic() float64 {
	_, subject := p.stream()
	const publishers, batch = 4, 1000 // the server takes no larger ones
	var js [publishers]jetstream.JetStream
	var batches [publishers][]*nats.Msg
	for i := range js {
		js[i] = p.connect()
	}
	return repeat(p.b, publishers, func(i int) (int, error) {
		batches[i] = batches[i][:0]
		for range batch {
			batches[i] = append(batches[i], &nats.Msg{Subject: subject, Header: nats.Header{}, Data: make([]byte, *peerBody)})
		}
		_, err := jetstreamext.PublishMsgBatch(p.b.Context(), js[i], batches[i])
		return batch, err
	})
}

func (p *natsPeer) single() float64 {
	_, subject := p.stream()
	body := make([]byte, *peerBody)
	return repeat(p.b, peerSenders, func(int) (int, error) {
		_, err := p.js.Publish(p.b.Context(), subject, body)
		return 1, err
	})
}

func (p *natsPeer) consume() float64 {
	s, subject := p.stream()
	p.asyncTo(subject)
	info, err := s.Info(p.b.Context())
	p.must(err)
	left := int64(info.State.Msgs)
	all := left
	c, err := s.CreateConsumer(p.b.Context(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 16 * peerBatch})
	p.must(err)
	done := make(chan struct{})
	began := time.Now()
	cc, err := c.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			p.b.Error(err)
		}
		if left--; left == 0 {
			close(done)
		}
	}, jetstream.PullMaxMessages(4*peerBatch))
	p.must(err)
	<-done
	d := time.Since(began)
	cc.Stop()
	<-cc.Closed()
	return float64(all) / d.Seconds()
}

// TestPeerBenchmarkRuns keeps the benchmark from rotting.
func TestPeerBenchmarkRuns(t *testing.T) {
	rounds, length := *peerRounds, *peerTime
	*peerRounds, *peerTime = 1, time.Millisecond
	defer func() { *peerRounds, *peerTime = rounds, length }()
	if r := testing.Benchmark(BenchmarkPeer); r.N == 0 {
		t.Error("the benchmark failed")
	}
}
