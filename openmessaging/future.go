package openmessaging

import (
	"context"
	"sync"
)

// Future is the result of an asynchronous operation (R055, R056). All methods
// may be called concurrently.
type Future[T any] struct {
	mu       sync.Mutex
	done     chan struct{}
	claimed  bool // somebody ends it
	complete bool
	value    T
	err      error
	onDone   []func(T, error)
	cancel   func()
}

// NewFuture returns a future that is not done. Its maker calls [Future.Complete]
// once. onCancel, when not nil, is called when a caller cancels the future
// first, before anybody sees it done.
func NewFuture[T any](onCancel func()) *Future[T] {
	return &Future[T]{cancel: onCancel}
}

// Complete sets the result, wakes all waiters and calls the OnDone functions
// in their order. It reports false, and changes nothing, when the future is
// done already or was cancelled.
func (f *Future[T]) Complete(value T, err error) bool {
	if !f.claim() {
		return false
	}
	f.settle(value, err)
	return true
}

// claim makes the caller the one who ends the future.
func (f *Future[T]) claim() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := !f.claimed
	f.claimed = true
	return first
}

func (f *Future[T]) settle(value T, err error) {
	f.mu.Lock()
	f.complete, f.value, f.err = true, value, err
	if f.done != nil {
		close(f.done)
	}
	calls := f.onDone
	f.onDone = nil
	f.mu.Unlock()
	for _, call := range calls {
		call(value, err)
	}
}

// Done returns a channel that is closed when the result is there.
func (f *Future[T]) Done() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done == nil {
		f.done = make(chan struct{})
		if f.complete {
			close(f.done)
		}
	}
	return f.done
}

// Result returns the result without waiting; before the future is done it
// returns the zero value and nil.
func (f *Future[T]) Result() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.value, f.err
}

// Wait blocks until the result is there, or until ctx ends: then it returns
// ctx's error, of the timeout class for a deadline, and the operation goes on.
// A result that is there is returned even if ctx has ended.
func (f *Future[T]) Wait(ctx context.Context) (T, error) {
	select {
	case <-f.Done():
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.complete {
		return f.value, f.err
	}
	return f.value, WrapError(ctx.Err(), "wait", "")
}

// Cancel gives the operation up. Before the future is done it becomes done
// with an error that matches context.Canceled, and Cancel reports true;
// afterwards it reports false. What was already handed to the provider may
// still take effect.
func (f *Future[T]) Cancel() bool {
	if !f.claim() {
		return false
	}
	if f.cancel != nil {
		f.cancel()
	}
	var zero T
	f.settle(zero, WrapError(context.Canceled, "cancel", ""))
	return true
}

// OnDone has call run with the result: at once when the future is done,
// otherwise by the goroutine that completes it. Do not block in it.
func (f *Future[T]) OnDone(call func(T, error)) {
	f.mu.Lock()
	if !f.complete {
		f.onDone = append(f.onDone, call)
		f.mu.Unlock()
		return
	}
	value, err := f.value, f.err
	f.mu.Unlock()
	call(value, err)
}
