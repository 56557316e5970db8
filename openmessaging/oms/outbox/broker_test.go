package outbox_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// broker is a sender that keeps what it accepts and fails as it is told.
type broker struct {
	// refuse returns why a message is not accepted; called with mu held.
	refuse func(m *om.Message) error
	// whole returns why a call fails as a whole; called with mu held.
	whole func(ms []*om.Message) error
	// atomic has one bad message refuse its neighbours, as the portable client
	// does for drivers with CapAtomicBatch.
	atomic bool
	// before is called with no lock held.
	before func(ctx context.Context, ms []*om.Message)

	mu      sync.Mutex
	got     []*om.Message
	calls   int
	changed chan struct{}
}

func (b *broker) SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
	if b.before != nil {
		b.before(ctx, ms)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	defer b.tell()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if b.whole != nil {
		if err := b.whole(ms); err != nil {
			return nil, err
		}
	}
	errs := make([]error, len(ms))
	for i, m := range ms {
		if b.refuse != nil {
			errs[i] = b.refuse(m)
		}
	}
	if b.atomic && slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = om.NewError(om.CodeBadRequest, "send", ms[i].Destination, "a neighbour is refused")
			}
		}
	}
	for i, m := range ms {
		if errs[i] == nil {
			b.got = append(b.got, m)
		}
	}
	return make([]om.SendResult, len(ms)), om.NewBatchError(errs)
}

// tell wakes who waits.
func (b *broker) tell() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// bodies returns the bodies of what was accepted.
func (b *broker) bodies() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.got {
		all = append(all, string(m.Body))
	}
	return all
}

// wait blocks until a condition holds after a call; it is called with mu held.
func (b *broker) wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.After(deadline)
	for {
		b.mu.Lock()
		if holds() {
			b.mu.Unlock()
			return
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%s did not come within %v; there is %q", what, deadline, b.bodies())
		}
	}
}

func (b *broker) waitFor(t testing.TB, n int) {
	t.Helper()
	b.wait(t, "all messages", func() bool { return len(b.got) >= n })
}
