package tck

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// trial is what a case works with: its verdict, and its own connection to the
// target. Fatalf and Untestedf end the case and must be called by its own
// goroutine; the other methods may be called concurrently.
type trial struct {
	Timing

	target *Target
	id     string
	ctx    context.Context
	gate   *gate
	caps   om.Capabilities

	mu       sync.Mutex
	verdict  report.Verdict
	messages []string
	log      []string
	cleanups []func(context.Context)
	queues   int
	over     bool

	opening sync.Mutex
	ap      om.AccessPoint
	space   string // the namespace of the case, "" before it is made
}

// Context ends when the case's time is over.
func (t *trial) Context() context.Context { return t.ctx }

// Logf adds a line to the case's log.
func (t *trial) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over && len(t.log) < maxLog {
		t.log = append(t.log, clip(fmt.Sprintf(format, args...)))
	}
}

const (
	maxLog      = 100  // lines of a case
	maxMessages = 10   // failures of a case
	maxText     = 2000 // bytes of a line
)

func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

func (t *trial) note(v report.Verdict, format string, args []any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	if t.verdict != report.Error {
		t.verdict = v
	}
	if len(t.messages) < maxMessages {
		t.messages = append(t.messages, clip(fmt.Sprintf(format, args...)))
	}
}

// Errorf fails the case and lets it go on.
func (t *trial) Errorf(format string, args ...any) { t.note(report.Fail, format, args) }

// Fatalf fails and ends the case.
func (t *trial) Fatalf(format string, args ...any) {
	t.note(report.Fail, format, args)
	runtime.Goexit()
}

// Untestedf ends the case without a verdict on the driver.
func (t *trial) Untestedf(format string, args ...any) {
	t.mu.Lock()
	failed := t.verdict == report.Fail
	t.mu.Unlock()
	if !failed {
		t.note(report.Untested, format, args)
	}
	runtime.Goexit()
}

// Brokenf ends the case because the target's hooks or settings failed.
func (t *trial) Brokenf(format string, args ...any) {
	t.note(report.Error, format, args)
	runtime.Goexit()
}

// Cleanup has f called after the case, last first, with a context of its own.
func (t *trial) Cleanup(f func(ctx context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

// Has reports whether the driver declares c.
func (t *trial) Has(c om.Capability) bool { return t.caps.Has(c) }

// options returns what the case opens access points with.
func (t *trial) options(d spi.Driver) []oms.Option {
	r := new(spi.Registry)
	r.Register(gated{d, t.gate})
	opts := []oms.Option{oms.WithRegistry(r), oms.WithLogger(t.logger())}
	if t.target.Credentials != nil {
		opts = append(opts, oms.WithCredentials(t.target.Credentials))
	}
	return opts
}

// OpenAgain opens another access point to the target, closed after the case.
func (t *trial) OpenAgain(opts ...oms.Option) om.AccessPoint {
	ap, err := t.target.Library.Open(t.ctx, t.target.URL, append(t.options(t.target.Driver), opts...)...)
	t.NoError(err, "open %s", t.target.URL)
	t.Cleanup(func(ctx context.Context) {
		if err := ap.Close(ctx); err != nil {
			t.Errorf("closing the access point: %v", err)
		}
	})
	return ap
}

// AP returns the case's access point.
func (t *trial) AP() om.AccessPoint {
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.ap == nil {
		t.ap = t.OpenAgain()
	}
	return t.ap
}

// Namespace returns a namespace of the case's own, "" for the default one
// where the driver has none.
func (t *trial) Namespace() string {
	ap := t.AP()
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.space != "" || !t.Has(om.CapAdmin) {
		return t.space
	}
	t.space = unique("tck-" + strings.ToLower(t.id))
	t.NoError(ap.Resources().CreateNamespace(t.ctx, t.space), "create namespace %s", t.space)
	t.dropLater(t.space)
	return t.space
}

// dropLater deletes a namespace after the case.
func (t *trial) dropLater(name string) {
	t.Cleanup(func(ctx context.Context) { t.dropNamespace(ctx, name) })
}

// dropNamespace deletes a namespace with its queues, by a connection of its
// own: the case's may be gone.
func (t *trial) dropNamespace(ctx context.Context, name string) {
	ap, err := t.target.Library.Open(ctx, t.target.URL, t.options(t.target.Driver)...)
	if err != nil {
		t.Logf("cleaning up: %v", err)
		return
	}
	defer ap.Close(ctx)
	rs := ap.Resources().Namespace(name)
	queues, err := rs.Queues(ctx)
	for _, q := range queues {
		err = rs.DeleteQueue(ctx, q.Name)
	}
	if err == nil {
		err = rs.DeleteNamespace(ctx, name)
	}
	if err != nil {
		t.Logf("cleaning up: %v", err)
	}
}

// Queue makes a queue with one partition and returns its name.
func (t *trial) Queue() string { return t.QueueOf(1) }

// QueueOf makes a queue with that many partitions and returns its name.
func (t *trial) QueueOf(partitions int) string {
	t.mu.Lock()
	t.queues++
	name := fmt.Sprintf("q%d", t.queues)
	t.mu.Unlock()
	switch {
	case t.Has(om.CapAdmin):
		name = om.JoinQueueName(t.Namespace(), name)
		t.NoError(t.AP().Resources().CreateQueue(t.ctx, om.QueueConfig{Name: name, Partitions: partitions}), "create queue %s", name)
	case t.target.CreateQueue != nil:
		var err error
		if name, err = t.target.CreateQueue(t.ctx, unique("tck-"+strings.ToLower(t.id)+"-"+name), partitions); err != nil {
			t.Brokenf("CreateQueue of the target: %v", err)
		}
	default:
		t.Brokenf("no queue can be made: the driver does not declare %q; set Target.CreateQueue", om.CapAdmin)
	}
	return name
}

// Missing returns the name of a queue that does not exist.
func (t *trial) Missing() string {
	if t.Has(om.CapAdmin) {
		return om.JoinQueueName(t.Namespace(), "missing")
	}
	return unique("tck-missing")
}

// Producer returns a producer of the case's access point, closed with it.
func (t *trial) Producer(opts ...om.ProducerOption) om.Producer {
	p, err := t.AP().NewProducer(t.ctx, opts...)
	t.NoError(err, "new producer")
	return p
}

// Pull returns a pull consumer of these queues, in group "tck" unless opts
// say otherwise.
func (t *trial) Pull(queues []string, opts ...om.ConsumerOption) om.PullConsumer {
	return t.PullOf(t.AP(), queues, opts...)
}

// PullOf is Pull of another access point.
func (t *trial) PullOf(ap om.AccessPoint, queues []string, opts ...om.ConsumerOption) om.PullConsumer {
	c, err := ap.NewPullConsumer(t.ctx, append([]om.ConsumerOption{om.WithGroup("tck")}, opts...)...)
	t.NoError(err, "new pull consumer")
	if len(queues) > 0 {
		t.NoError(c.Bind(t.ctx, queues...), "bind %s", strings.Join(queues, ", "))
	}
	return c
}

// Push returns a push consumer without queues, in group "tck" unless opts say
// otherwise. Its background errors go to the case's log.
func (t *trial) Push(opts ...om.ConsumerOption) om.PushConsumer {
	c, err := t.AP().NewPushConsumer(t.ctx, append([]om.ConsumerOption{om.WithGroup("tck"),
		om.WithOnError(func(err error) { t.Logf("background: %v", err) })}, opts...)...)
	t.NoError(err, "new push consumer")
	return c
}

// NoError ends the case unless err is nil.
func (t *trial) NoError(err error, format string, args ...any) {
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// Is fails the case unless errors.Is(err, want) for all of want.
func (t *trial) Is(err error, what string, want ...error) bool {
	for _, w := range want {
		if !is(err, w) {
			t.Errorf("%s: got %s, want %s", what, shown(err), shown(w))
			return false
		}
	}
	return true
}

func shown(err error) string {
	if err == nil {
		return "success"
	}
	return "“" + err.Error() + "”"
}

// equal fails the case unless got and want are equal.
func equal[V comparable](t *trial, what string, got, want V) bool {
	if got != want {
		t.Errorf("%s: got %v, want %v", what, quoted(got), quoted(want))
		return false
	}
	return true
}

func quoted(v any) any {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", clip(s))
	}
	return v
}

// equalLists fails the case unless got and want hold the same in the same order.
func equalLists[V comparable](t *trial, what string, got, want []V) bool {
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, clip(fmt.Sprint(got)), clip(fmt.Sprint(want)))
		return false
	}
	return true
}

// within returns a context that ends after d.
func (t *trial) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.ctx, d)
}
