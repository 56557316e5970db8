package oms

import (
	"context"
	"math/rand/v2"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// backoff paces retries: pauses double from Min to Max and are spread at
// random by half. It counts the tries, the first included.
type backoff struct {
	policy om.RetryPolicy
	tries  int
}

// exhausted reports whether the policy allows no further try.
func (b *backoff) exhausted() bool { return b.tries+1 >= b.policy.Attempts }

// pause waits before the next try; it reports false when ctx ends first.
func (b *backoff) pause(ctx context.Context) bool {
	d := b.policy.Max
	if shift := min(b.tries, 30); b.policy.Min <= d>>shift {
		d = b.policy.Min << shift
	}
	b.tries++
	d -= time.Duration(rand.Int64N(int64(d)/2 + 1))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
