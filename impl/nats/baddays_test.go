package nats_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

// load sends numbered messages and consumes them with a push consumer, until it
// is ended.
type load struct {
	t     testing.TB
	queue string
	stop  chan struct{}
	all   sync.WaitGroup

	mu       sync.Mutex
	sent     map[string]bool
	received map[string]int
	errs     []error // of sends
}

// startLoad starts a producer for each size, which is how many messages it sends
// at once.
func startLoad(t testing.TB, ap om.AccessPoint, queue string, sizes ...int) *load {
	l := &load{t: t, queue: queue, stop: make(chan struct{}), sent: map[string]bool{}, received: map[string]int{}}
	c, err := ap.NewPushConsumer(t.Context(), om.WithOnError(func(error) {}))
	ok(t, err)
	ok(t, c.Bind(t.Context(), func(_ context.Context, d *om.Delivery) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.received[string(d.Body)]++
		return nil
	}, queue))
	for i, size := range sizes {
		p := producer(t, ap, om.WithRetry(om.RetryPolicy{Attempts: 1}))
		l.all.Go(func() { l.produce(p, i, size) })
	}
	return l
}

func (l *load) produce(p om.Producer, i, size int) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		ms := make([]*om.Message, size)
		for k := range ms {
			ms[k] = om.NewMessage(l.queue, fmt.Appendf(nil, "%d/%d/%d", i, n, k))
		}
		ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
		_, err := p.SendBatch(ctx, ms)
		cancel()
		l.mu.Lock()
		var failed *om.BatchError
		for k, m := range ms {
			if err == nil || errors.As(err, &failed) && failed.At(k) == nil {
				l.sent[string(m.Body)] = true
			} else if failed != nil {
				l.errs = append(l.errs, failed.At(k))
			} else {
				l.errs = append(l.errs, err)
			}
		}
		l.mu.Unlock()
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

func (l *load) acknowledged() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sent)
}

// more waits until n more messages are acknowledged.
func (l *load) more(n int) {
	l.t.Helper()
	from := l.count()
	await(l.t, fmt.Sprintf("%d more messages are acknowledged after %d", n, from), func() bool { return l.count() >= from+n })
}

// end ends the load, checks that everything acknowledged was received and
// returns the errors of sends.
func (l *load) end() []error {
	l.t.Helper()
	close(l.stop)
	l.all.Wait()
	await(l.t, "all acknowledged messages are received", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for body := range l.sent {
			if l.received[body] == 0 {
				return false
			}
		}
		return true
	})
	return l.errs
}

func TestServerGoneAndBack(t *testing.T) {
	for _, size := range []int{1, 100} {
		t.Run(fmt.Sprint(size, " at a time"), func(t *testing.T) {
			t.Parallel()
			m := &machine{parent: t.TempDir()}
			ok(t, m.start(server.RANDOM_PORT))
			t.Cleanup(func() { natsserver.Stop(m.server) })
			ap := open(t, urlOf(natsserver.Address(m.server), "?sync=always&ack_wait=1s"))
			createQueue(t, ap, "q", 2)
			l := startLoad(t, ap, "q", size, size, size, size)
			l.more(100 * size)
			port := portOf(m.server)
			natsserver.Stop(m.server)
			await(t, "a send fails", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.errs) > 0
			})
			ok(t, m.start(port))
			l.more(100)
			for _, err := range l.end() {
				if !om.Retryable(err) || !errors.Is(err, om.CodeServiceUnavailable) && !errors.Is(err, om.ErrTimeout) {
					t.Fatalf("while the server was gone: %v", err)
				}
			}
		})
	}
}

// TestKilledDuringBatches goes on with the files that a server leaves that is
// killed while it takes batches: none that was acknowledged before is lost.
func TestKilledDuringBatches(t *testing.T) {
	t.Parallel()
	m := &machine{parent: t.TempDir()}
	ok(t, m.start(server.RANDOM_PORT))
	t.Cleanup(func() { natsserver.Stop(m.server) })
	ap := open(t, urlOf(natsserver.Address(m.server), "?sync=always"))
	createQueue(t, ap, "q", 2)
	l := startLoad(t, ap, "q", 100, 100, 100, 100)
	l.more(1000)
	before := l.acknowledged()
	killed := filepath.Join(m.parent, "killed")
	ok(t, natsserver.Copy(killed, m.dir))
	l.more(100)
	l.end()
	s, err := natsserver.Start(killed, nil)
	ok(t, err)
	defer natsserver.Stop(s)
	_, js := native(t, natsserver.Address(s))
	all := inStream(t, js, batchQueue)
	stored := map[string]int{}
	for _, m := range all {
		stored[string(m.Data)]++
	}
	for body := range before {
		if stored[body] != 1 {
			t.Fatalf("message %s is there %d times", body, stored[body])
		}
	}
	if len(batches(all)) == 0 {
		t.Error("no batches were sent")
	}
}

func TestSlowServer(t *testing.T) {
	proxy := startProxy(t, natsserver.Address(start(t, nil)))
	ap := open(t, urlOf(proxy.address(), "?sync=always&ack_wait=2s"))
	createQueue(t, ap, "q", 1)
	p := producer(t, ap)
	send(t, p, "q", "0")
	c := pull(t, ap, "q")
	held, err := c.Receive(within(t, 10*time.Second))
	ok(t, err)
	proxy.stall(true)
	_, err = p.Send(within(t, 300*time.Millisecond), om.NewMessage("q", []byte("1")))
	is(t, err, true, om.ErrTimeout, context.DeadlineExceeded)
	is(t, held.Ack(within(t, 300*time.Millisecond)), true, om.ErrTimeout)
	_, err = c.Receive(within(t, 300*time.Millisecond))
	is(t, err, true, om.ErrTimeout)
	proxy.stall(false)
	send(t, p, "q", "2")
	got := receive(t, c, 2) // 0 was acknowledged although nobody heard of it, or comes again
	slices.Sort(got)
	if !slices.Contains(got, "2") || !slices.Contains(got, "1") && !slices.Contains(got, "0") {
		t.Errorf("after the server was slow: %v", got)
	}
}

func TestWrongCredentials(t *testing.T) {
	s := start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "app", Password: "right"}, {Username: "reader", Password: "right", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"oms.>"}},
		}}}
	})
	url := urlOf(natsserver.Address(s), "?sync=always")
	for _, opts := range [][]oms.Option{nil, {user("app", "wrong")}, {user("nobody", "right")}, {oms.WithCredentials(func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{Token: "wrong"}, nil
	})}} {
		_, err := oms.Open(t.Context(), url, opts...)
		is(t, err, false, om.ErrSecurity, om.CodeUnauthorized)
	}
	ap := open(t, url, user("app", "right"))
	if !ap.Capabilities().Has(om.CapAuth) {
		t.Error("a server with users does not make the driver declare auth")
	}
	createQueue(t, ap, "q", 1)
	send(t, producer(t, ap), "q", "allowed")
	reader := open(t, url, user("reader", "right"))
	_, err := producer(t, reader).SendBatch(within(t, 10*time.Second), []*om.Message{om.NewMessage("q", []byte("a")), om.NewMessage("q", []byte("b"))})
	is(t, err, false, om.ErrSecurity, om.CodeForbidden)
	same(t, "messages", receive(t, pull(t, reader, "q"), 1), []string{"allowed"})

	token := start(t, func(o *server.Options) { o.Authorization = "t0ken" })
	open(t, urlOf(natsserver.Address(token), "?sync=always"), oms.WithCredentials(func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{Token: "t0ken"}, nil
	}))
}

func TestStreamDeletedUnderneath(t *testing.T) {
	address := natsserver.Address(start(t, nil))
	ap := open(t, urlOf(address, "?sync=always"))
	createQueue(t, ap, "q", 2)
	p, c := producer(t, ap), pull(t, ap, "q")
	send(t, p, "q", "0", "1")
	held, err := c.Receive(within(t, 10*time.Second))
	ok(t, err)
	_, js := native(t, address)
	ok(t, js.DeleteStream(t.Context(), "oms~test~default~q"))
	_, err = p.Send(t.Context(), om.NewMessage("q", nil))
	is(t, err, false, om.ErrDestination, om.CodeDestinationNotFound)
	_, err = c.Receive(within(t, 10*time.Second))
	is(t, err, false, om.ErrDestination, om.CodeDestinationNotFound)
	is(t, held.Ack(t.Context()), false, om.ErrDestination)
	_, err = ap.Resources().Partitions(t.Context(), "q")
	is(t, err, false, om.ErrDestination)

	createQueue(t, ap, "q", 1) // producer and consumer go on with another queue of that name
	send(t, p, "q", "2")
	is(t, held.Ack(t.Context()), false, om.CodeStaleReceipt)
	same(t, "messages", receive(t, c, 1), []string{"2"})

	ok(t, ap.Resources().DeleteQueue(t.Context(), "q")) // at once, and before anybody has noticed
	createQueue(t, ap, "q", 1)
	send(t, p, "q", "3")
	same(t, "messages", receive(t, c, 1), []string{"3"})
}

func TestMessageTooLarge(t *testing.T) {
	address := natsserver.Address(start(t, func(o *server.Options) { o.MaxPayload = 64 << 10 }))
	ap := open(t, urlOf(address, "?sync=always"))
	createQueue(t, ap, "q", 1)
	p := producer(t, ap)
	_, err := p.SendBatch(t.Context(), []*om.Message{om.NewMessage("q", []byte("0")), om.NewMessage("q", make([]byte, 64<<10)), om.NewMessage("q", []byte("1"))})
	var batch *om.BatchError
	if !errors.As(err, &batch) || batch.Failed() != 1 {
		t.Fatal(err)
	}
	is(t, batch.At(1), false, om.ErrMessageFormat, om.CodeBodyTooLarge)
	_, js := native(t, address)
	s, err := js.Stream(t.Context(), "oms~test~default~q")
	ok(t, err)
	cfg := s.CachedInfo().Config
	cfg.MaxMsgSize = 1 << 10
	_, err = js.UpdateStream(t.Context(), cfg)
	ok(t, err)
	_, err = p.Send(t.Context(), om.NewMessage("q", make([]byte, 2<<10)))
	is(t, err, false, om.ErrMessageFormat, om.CodeBodyTooLarge)
	same(t, "messages", receive(t, pull(t, ap, "q"), 2), []string{"0", "1"})
}

// TestLeaderChange kills the leader of a queue's stream, of three servers, in
// the middle of a load, and has another one step down during a batch. Before
// that it sends many messages at once, also to a queue that one of the servers has.
func TestLeaderChange(t *testing.T) {
	t.Parallel()
	cluster, err := natsserver.StartCluster(t.TempDir())
	ok(t, err)
	t.Cleanup(cluster.Stop)
	addresses := cluster.Addresses()
	ap := open(t, urlOf(addresses, "?sync=always&replicas=3&ack_wait=2s"))
	createQueue(t, ap, "q", 1)
	alone := open(t, urlOf(addresses, "?sync=always"))
	_, js := native(t, natsserver.Address(cluster.Servers[0]))
	for queue, ap := range map[string]om.AccessPoint{"all": open(t, urlOf(addresses, "?replicas=3")), "one": alone} { // with replicas, or synced
		createQueue(t, ap, queue, 2)
		rs, err := producer(t, ap, together).SendBatch(t.Context(), reports(queue, 1200))
		ok(t, err)
		if n := batches(checkSent(t, js, queue, rs)); len(n) != 2 {
			t.Errorf("queue %s has %d batches", queue, len(n))
		}
	}
	l := startLoad(t, ap, "q", 1, 1, 30, 30)
	l.more(500)

	const stream = batchQueue
	leader := func() int {
		for i, s := range cluster.Servers {
			if s != nil && s.JetStreamIsStreamLeader("$G", stream) {
				return i
			}
		}
		return -1
	}
	killed := leader()
	cluster.Kill(killed)
	l.more(500)
	await(t, "another leads", func() bool { return leader() >= 0 })
	nc, _ := native(t, natsserver.Address(cluster.Servers[leader()]))
	big := producer(t, ap)
	batch := make([]*om.Message, 3000)
	for i := range batch {
		batch[i] = om.NewMessage("q", fmt.Appendf(nil, "batch/%d", i))
	}
	done := make(chan error, 1)
	go func() {
		_, err := big.SendBatch(t.Context(), batch)
		done <- err
	}()
	_, err = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 10*time.Second)
	ok(t, err)
	err = <-done
	var failed *om.BatchError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	l.mu.Lock()
	for i := range batch {
		if failed == nil || failed.At(i) == nil {
			l.sent[string(batch[i].Body)] = true
		} else if !om.Retryable(failed.At(i)) {
			t.Errorf("message %d of the batch: %v", i, failed.At(i))
		}
	}
	l.mu.Unlock()
	l.more(50)
	for _, err := range l.end() {
		if !om.Retryable(err) {
			t.Errorf("while the leader changed: %v", err)
		}
	}
}
