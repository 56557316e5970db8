package nats_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	_ "github.com/openmessaging/openmessaging-go/impl/nats"
	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// TestMain has more tests run at once than there are processors, unless
// -parallel says how many: the cases of the conformance kit wait most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "8")
	}
	const server = "github.com/nats-io/nats-server/v2/server" // leaves open what it stores a batch in when it stops just then
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(server+".(*msgBlock).flushLoop"),
		goleak.IgnoreTopFunction(server+".(*fileStore).flushStreamStateLoop"), goleak.IgnoreTopFunction(server+"/ats.Register.func1"))
}

// start starts a server for a test.
func start(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	s, err := natsserver.Start(t.TempDir(), change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { natsserver.Stop(s) })
	return s
}

func urlOf(address, options string) string { return "oms:nats://" + address + "/test" + options }

// log takes what the driver logs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open opens an access point that is closed after the test.
func open(t testing.TB, url string, opts ...oms.Option) om.AccessPoint {
	t.Helper()
	ap, err := oms.Open(t.Context(), url, append([]oms.Option{oms.WithLogger(slog.New(slog.NewTextHandler(new(log), nil)))}, opts...)...)
	ok(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = ap.Close(ctx)
	})
	return ap
}

func createQueue(t testing.TB, ap om.AccessPoint, name string, partitions int) {
	t.Helper()
	ok(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: name, Partitions: partitions}))
}

func producer(t testing.TB, ap om.AccessPoint, opts ...om.ProducerOption) om.Producer {
	t.Helper()
	p, err := ap.NewProducer(t.Context(), opts...)
	ok(t, err)
	return p
}

func pull(t testing.TB, ap om.AccessPoint, queue string, opts ...om.ConsumerOption) om.PullConsumer {
	t.Helper()
	c, err := ap.NewPullConsumer(t.Context(), append([]om.ConsumerOption{om.WithOnError(func(error) {})}, opts...)...)
	ok(t, err)
	ok(t, c.Bind(t.Context(), queue))
	return c
}

func send(t testing.TB, p om.Producer, queue string, bodies ...string) []om.SendResult {
	t.Helper()
	ms := make([]*om.Message, len(bodies))
	for i, b := range bodies {
		ms[i] = om.NewMessage(queue, []byte(b))
	}
	rs, err := p.SendBatch(t.Context(), ms)
	ok(t, err)
	return rs
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// receive receives and acknowledges n messages and returns their bodies.
func receive(t testing.TB, c om.PullConsumer, n int) (bodies []string) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	for len(bodies) < n {
		ds, err := c.ReceiveBatch(ctx, n-len(bodies))
		if err != nil {
			t.Fatalf("%d of %d messages: %v", len(bodies), n, err)
		}
		ok(t, c.Ack(ctx, ds...))
		for _, d := range ds {
			bodies = append(bodies, string(d.Body))
		}
	}
	return bodies
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is checks that err has classes or codes, and whether it is retryable.
func is(t testing.TB, err error, retryable bool, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("got %v, want %v", err, w)
		}
	}
	if om.Retryable(err) != retryable {
		t.Errorf("retryable is %t: %v", !retryable, err)
	}
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// await waits until check holds.
func await(t testing.TB, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !check(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// native returns a plain client of NATS.
func native(t testing.TB, address string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect("nats://" + address)
	ok(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	ok(t, err)
	return nc, js
}

func numbered(n int) (bodies []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprint(i))
	}
	return bodies
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not hold %q", text, p)
		}
	}
}
