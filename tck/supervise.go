package tck

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// grace is how long a case may still run after its context ended, as a
// multiple of Slack and at least a second.
func (t *trial) grace() time.Duration { return max(time.Second, 4*t.Slack) }

var runs atomic.Int64

// unique makes a name that no other case and no other run uses.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%x-%d", prefix, time.Now().UnixNano()&0xffffffff, runs.Add(1))
}

// supervise runs a case: it fails one that panics, does not return in its time,
// or leaves goroutines behind.
func (e *engine) supervise(t *trial, run func(*trial)) {
	label := unique(t.id)
	ctx, cancel := context.WithTimeout(t.ctx, t.Case)
	defer cancel()
	t.ctx = ctx
	ended := t.guard(label, t.Case, func() { run(t) })
	cancel()
	t.cleanUp(label)
	if ended {
		if left := t.leftBehind(label); left != "" {
			t.Errorf("the case left goroutines behind:\n%s", left)
		}
	}
}

// end seals and returns the verdict: what a goroutine that is given up says
// later is lost.
func (t *trial) end() (report.Verdict, string, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return t.verdict, strings.Join(t.messages, "\n"), t.log
}

// guard runs f in a goroutine of the case and reports whether it ended in time.
func (t *trial) guard(label string, limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go pprof.Do(context.Background(), pprof.Labels("tck", label), func(context.Context) {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("panic: %v\n%s", p, trimStack(debug.Stack()))
			}
		}()
		f()
	})
	timer := time.NewTimer(limit + t.grace())
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		t.Errorf("did not return within %v, although its context ended after %v; it was given up", limit+t.grace(), limit)
		return false
	}
}

// unlabelled calls a hook of the target outside of the case: a system that it
// starts in this process outlives the case.
func unlabelled(hook func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("it panicked: %v\n%s", p, trimStack(debug.Stack()))
			}
		}()
		pprof.SetGoroutineLabels(context.Background())
		done <- hook()
	}()
	return <-done
}

// trimStack keeps the lines of a stack that tell where a panic was.
func trimStack(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	if len(lines) > 24 {
		lines = lines[:24]
	}
	return strings.Join(lines, "\n")
}

// cleanUp runs the cleanups, last first, and then closes the case's access
// points.
func (t *trial) cleanUp(label string) {
	t.mu.Lock()
	cleanups := t.cleanups
	t.cleanups = nil
	t.mu.Unlock()
	limit := t.Arrive
	for i := len(cleanups) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		t.guard(label, limit, func() { cleanups[i](ctx) })
		cancel()
	}
}

// leftBehind waits until the goroutines of the case have ended and returns the
// stacks of those that have not.
func (t *trial) leftBehind(label string) string {
	deadline := time.Now().Add(t.grace())
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		left := labelled(label)
		if left == "" || time.Now().After(deadline) {
			return left
		}
		time.Sleep(pause)
	}
}

// labelled returns the stacks of the goroutines with that label.
func labelled(label string) string {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	var found []string
	for _, stack := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", "tck", label)) {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n")
}

// logger takes what the driver logs into the case's log.
func (t *trial) logger() *slog.Logger { return slog.New(slog.NewTextHandler(logWriter{t}, nil)) }

type logWriter struct{ t *trial }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}
