package faults_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

var networkFlag = flag.Duration("faults.network", 8*time.Second, "for how long TestNetwork disturbs the network")

const (
	networkProducers = 4
	networkConsumers = 2
	networkKeys      = 200 // of each producer
	// networkRecovers is within which time clients must have caught up after
	// the last disturbance.
	networkRecovers = 90 * time.Second
)

// disturbances are what happens to the connections between clients and server,
// as toxics of toxiproxy. The empty one cuts them and refuses new ones.
var disturbances = map[string]string{
	"latency":    `{"type":"latency","attributes":{"latency":40,"jitter":40}}`,
	"bandwidth":  `{"type":"bandwidth","attributes":{"rate":64}}`,
	"slices":     `{"type":"slicer","attributes":{"average_size":64,"size_variation":32,"delay":50}}`,
	"slow close": `{"type":"slow_close","attributes":{"delay":300}}`,
	"reset":      `{"type":"reset_peer","attributes":{"timeout":30}}`,
	"black hole": `{"type":"timeout","attributes":{"timeout":0}}`,
	"end early":  `{"type":"limit_data","attributes":{"bytes":20000}}`,
	"cut":        "",
}

// TestNetwork disturbs the network between clients and a server while messages
// are sent and received. Whatever happens, nothing that was acknowledged is lost
// or stored twice, each key keeps its order, everything is received, and the
// clients find back by themselves.
func TestNetwork(t *testing.T) {
	rnd := newRand(seed(t), 0)
	n := newNetwork(t)
	counts := n.disturb(rnd)
	n.stopSending()
	n.catchUp()
	n.check()
	t.Logf("disturbed: %v; %d messages acknowledged, %d refused, %d received, %d of these again", counts, n.acked, n.failed, len(n.received), n.again)
}

// network is a server, a proxy before it, and clients behind the proxy.
type network struct {
	t      *testing.T
	broker *broker.Broker
	api    *toxiproxy.ApiServer
	proxy  *toxiproxy.Proxy
	direct om.AccessPoint // not through the proxy
	ap     om.AccessPoint

	stop    chan struct{}
	senders sync.WaitGroup

	mu       sync.Mutex
	acked    int
	failed   int
	sent     map[string]bool // body → acknowledged
	received map[string]bool
	again    int
	changed  chan struct{}
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t, stop: make(chan struct{}), sent: map[string]bool{}, received: map[string]bool{}, changed: make(chan struct{}, 1)}
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.Open(broker.Config{Store: store.Options{Path: t.TempDir() + "/store"}, Logger: quiet})
	n.must(err)
	n.broker = b
	l, err := net.Listen("tcp", "127.0.0.1:0")
	n.must(err)
	s := server.New(server.Options{Broker: b, Logger: quiet, Drain: 100 * time.Millisecond})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		n.must(errors.Join(<-served, b.Close()))
	})
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log past their server's logger
	n.api = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	n.proxy = toxiproxy.NewProxy(n.api, "server", "127.0.0.1:0", l.Addr().String())
	n.must(n.proxy.Start())
	t.Cleanup(func() { n.proxy.Stop() })
	n.direct = n.open(remote.URL(l.Addr().String()))
	n.must(n.direct.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "q", Partitions: 3}))
	n.ap = n.open(remote.URL(n.proxy.Listen))
	for range networkConsumers {
		n.consume()
	}
	for i := range networkProducers {
		n.produce(i)
	}
	return n
}

func (n *network) open(url string) om.AccessPoint {
	ap, err := oms.Open(n.t.Context(), url)
	n.must(err)
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := ap.Close(ctx); err != nil {
			n.t.Error(err)
		}
	})
	return ap
}

// disturb has one thing after the other happen, some at once.
func (n *network) disturb(rnd *rand.Rand) map[string]int {
	counts := make(map[string]int)
	names := []string{"latency", "bandwidth", "slices", "slow close", "reset", "black hole", "end early", "cut"}
	for end := time.Now().Add(*networkFlag); time.Now().Before(end); {
		for range 1 + rnd.IntN(2) {
			name := names[rnd.IntN(len(names))]
			counts[name]++
			n.add(name, []string{"upstream", "downstream"}[rnd.IntN(2)], counts[name])
		}
		<-time.After(time.Duration(50+rnd.IntN(500)) * time.Millisecond) // the network is bad for real time
		n.calm()
		<-time.After(time.Duration(rnd.IntN(300)) * time.Millisecond)
	}
	return counts
}

func (n *network) add(name, direction string, i int) {
	toxic := disturbances[name]
	if toxic == "" {
		n.proxy.Stop()
		return
	}
	toxic = fmt.Sprintf(`{"name":"%s-%d","stream":"%s",`, name, i, direction) + strings.TrimPrefix(toxic, "{")
	if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		n.t.Fatal(err)
	}
}

// calm ends the disturbances, and the connections with them: links that a toxic
// holds up cannot be freed of it.
func (n *network) calm() {
	n.proxy.Stop()
	api, listen, upstream := n.api, n.proxy.Listen, n.proxy.Upstream
	n.proxy = toxiproxy.NewProxy(api, "server", listen, upstream)
	n.must(n.proxy.Start())
}

// produce sends single messages and batches in turn, with keys of its own, and
// waits for each answer.
func (n *network) produce(i int) {
	p, err := n.ap.NewProducer(n.t.Context(), om.WithSendTimeout(time.Minute))
	n.must(err)
	n.senders.Go(func() {
		for k := 0; ; {
			select {
			case <-n.stop:
				return
			default:
			}
			size := 1 + k%5*7
			batch := make([]*om.Message, size)
			for j := range batch {
				batch[j] = om.NewMessage("q", fmt.Appendf(nil, "%d/%06d", i, k))
				batch[j].Ext.MessageKey = fmt.Sprint(i, "/", k%networkKeys)
				k++
			}
			n.mu.Lock()
			for _, m := range batch {
				n.sent[string(m.Body)] = false
			}
			n.mu.Unlock()
			_, err := p.SendBatch(context.Background(), batch)
			var partly *om.BatchError
			n.mu.Lock()
			for j, m := range batch {
				if err == nil || errors.As(err, &partly) && partly.At(j) == nil {
					n.sent[string(m.Body)] = true
					n.acked++
				} else {
					n.failed++
				}
			}
			n.mu.Unlock()
			if err != nil {
				n.t.Logf("a send failed: %v", err)
				return // what follows would overtake it
			}
		}
	})
}

func (n *network) consume() {
	c, err := n.ap.NewPushConsumer(n.t.Context(), om.WithGroup("g"), om.WithLease(5*time.Second), om.WithOnError(func(error) {}))
	n.must(err)
	n.must(c.Bind(n.t.Context(), func(_ context.Context, d *om.Delivery) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.received[string(d.Body)] {
			n.again++
		}
		n.received[string(d.Body)] = true
		select {
		case n.changed <- struct{}{}:
		default:
		}
		return nil
	}, "q"))
}

func (n *network) stopSending() {
	close(n.stop)
	n.senders.Wait()
}

// catchUp waits until all that was acknowledged is received.
func (n *network) catchUp() {
	limit := time.After(networkRecovers)
	for {
		n.mu.Lock()
		missing := 0
		for body, ok := range n.sent {
			if ok && !n.received[body] {
				missing++
			}
		}
		n.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-n.changed:
		case <-limit:
			n.t.Fatalf("%d acknowledged messages were not received %v after the network was good again", missing, networkRecovers)
		}
	}
}

// check reads the queue past the proxy.
func (n *network) check() {
	ctx := n.t.Context()
	parts, err := n.direct.Resources().Partitions(ctx, "q")
	n.must(err)
	stored := make(map[string]bool)
	last := make(map[string]string) // by key
	c, err := n.direct.NewStreamConsumer(ctx)
	n.must(err)
	for _, p := range parts {
		if p.End == p.Begin {
			continue
		}
		cursor, err := c.Open(ctx, "q", p.Partition, om.Begin())
		n.must(err)
		for d, err := range cursor.Forward(ctx) {
			n.must(err)
			body, key := string(d.Body), d.Ext.MessageKey
			if stored[body] {
				n.t.Errorf("%s is stored twice", body)
			}
			if body < last[key] {
				n.t.Errorf("%s lies behind %s", body, last[key])
			}
			if _, ok := n.sent[body]; !ok {
				n.t.Errorf("%s was never sent", body)
			}
			stored[body], last[key] = true, body
			if d.Offset == p.End-1 {
				break
			}
		}
	}
	for body, ok := range n.sent {
		if ok && !stored[body] {
			n.t.Errorf("%s was acknowledged and is not there", body)
		}
	}
}
