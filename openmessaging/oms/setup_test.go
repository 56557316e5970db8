package oms_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a test in a synctest bubble, which also fails when goroutines
// are left behind. Channels and drivers must be made inside.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// open opens an access point that is closed at the end of the test.
func open(t testing.TB, f spi.Driver, opts ...oms.Option) om.AccessPoint {
	t.Helper()
	r := new(spi.Registry)
	r.Register(f)
	ap, err := oms.Open(t.Context(), "oms:"+f.Info().Name+"://user@host/region", append(opts, oms.WithRegistry(r))...)
	ok(t, err)
	t.Cleanup(func() { ok(t, ap.Close(context.Background())) })
	return ap
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func is(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("the error %v does not match %v", err, target)
		}
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func sameList(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func producer(t testing.TB, ap om.AccessPoint, opts ...om.ProducerOption) om.Producer {
	t.Helper()
	p, err := ap.NewProducer(t.Context(), opts...)
	ok(t, err)
	return p
}

func puller(t testing.TB, ap om.AccessPoint, queues []string, opts ...om.ConsumerOption) om.PullConsumer {
	t.Helper()
	c, err := ap.NewPullConsumer(t.Context(), opts...)
	ok(t, err)
	if len(queues) > 0 {
		ok(t, c.Bind(t.Context(), queues...))
	}
	return c
}

func pusher(t testing.TB, ap om.AccessPoint, opts ...om.ConsumerOption) om.PushConsumer {
	t.Helper()
	c, err := ap.NewPushConsumer(t.Context(), opts...)
	ok(t, err)
	return c
}

func msg(queue, body string) *om.Message { return om.NewMessage(queue, []byte(body)) }

func msgs(queue string, bodies ...string) (ms []*om.Message) {
	for _, b := range bodies {
		ms = append(ms, msg(queue, b))
	}
	return ms
}

func numbered(n int) (bodies []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprint(i))
	}
	return bodies
}

// busy is a driver failure that may be retried.
func busy() error { return om.NewError(om.CodeStorageBusy, "", "", "busy") }

// gate lets operations block until it is opened or their context ends.
type gate struct {
	once sync.Once
	ch   chan struct{}
}

func newGate() *gate { return &gate{ch: make(chan struct{})} }

func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }

func (g *gate) wait(ctx context.Context) error {
	select {
	case <-g.ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// log is a list that goroutines append to.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, s)
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *log) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = nil
}

func (l *log) err(err error) { l.add(err.Error()) }

// pass lets time pass in a bubble, until all goroutines wait again.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
