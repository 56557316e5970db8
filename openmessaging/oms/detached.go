package oms

import "context"

// detached runs work in a goroutine of its own, so that the caller can leave
// when ctx ends. work's context ends then too, which tells it to cut off what
// it would wait for; after, when not nil, is called when work is over.
func detached(ctx context.Context, op string, work func(limit context.Context) error, after func()) error {
	limit, abort := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		defer abort()
		err := work(limit)
		if after != nil {
			after()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		abort()
		return ended(ctx, op, "")
	}
}

// until waits for done and reports false when ctx ends first.
func until(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
