package openmessaging_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestR056_future_listener_and_cancel(t *testing.T) {
	f := NewFuture[int](nil)
	var calls []int
	f.OnDone(func(n int, _ error) { calls = append(calls, n) })
	f.OnDone(func(n int, _ error) { calls = append(calls, n+1) })
	if n, err := f.Result(); n != 0 || err != nil {
		t.Errorf("before it is done: %d %v", n, err)
	}
	select {
	case <-f.Done():
		t.Fatal("done before it is complete")
	default:
	}
	if !f.Complete(7, nil) || f.Complete(8, nil) || f.Cancel() {
		t.Error("a future is completed once, and not cancelled after that")
	}
	f.OnDone(func(n int, _ error) { calls = append(calls, n+2) }) // at once
	if len(calls) != 3 || calls[0] != 7 || calls[1] != 8 || calls[2] != 9 {
		t.Errorf("calls %v", calls)
	}
	<-f.Done()
	if n, err := f.Wait(t.Context()); n != 7 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

func TestR056_cancel_before_completion(t *testing.T) {
	cancelled := false
	var f *Future[int]
	f = NewFuture[int](func() {
		select {
		case <-f.Done():
			t.Error("the future is done before its maker knows")
		default:
		}
		cancelled = true
	})
	if !f.Cancel() || f.Cancel() || !cancelled || f.Complete(1, nil) {
		t.Error("cancel")
	}
	if n, err := f.Wait(t.Context()); n != 0 || !errors.Is(err, context.Canceled) || !errors.Is(err, CodeCanceled) {
		t.Errorf("%d %v", n, err)
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	f := NewFuture[int](nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := f.Wait(late); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrTimeout) {
		t.Errorf("G08: %v", err)
	}
	f.Complete(1, nil)
	for range 100 { // a result that is there wins over an ended context
		if n, err := f.Wait(ctx); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := f.Result(); n != 1 || err != nil {
		t.Error(n, err)
	}
}

func TestFutureEndsOnce(t *testing.T) {
	for range 200 {
		f := NewFuture[int](func() {})
		var mu sync.Mutex
		ends, told := 0, 0
		f.OnDone(func(int, error) { mu.Lock(); told++; mu.Unlock() })
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				if i%2 == 0 && f.Complete(i, nil) || i%2 == 1 && f.Cancel() {
					mu.Lock()
					ends++
					mu.Unlock()
				}
				<-f.Done()
			})
		}
		all.Wait()
		if ends != 1 || told != 1 {
			t.Fatalf("ended %d times, told %d times", ends, told)
		}
	}
}

func TestR056_every_listener_is_called_once(t *testing.T) {
	for range 200 {
		f := NewFuture[int](nil)
		var mu sync.Mutex
		told := 0
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				f.OnDone(func(n int, err error) {
					if n != 7 || !errors.Is(err, CodeStorageBusy) {
						t.Errorf("told %d %v", n, err)
					}
					mu.Lock()
					told++
					mu.Unlock()
				})
			})
			all.Go(func() {
				if n, err := f.Wait(t.Context()); n != 7 || !errors.Is(err, CodeStorageBusy) {
					t.Errorf("waited for %d %v", n, err)
				}
			})
		}
		all.Go(func() { f.Complete(7, CodeStorageBusy) })
		all.Wait()
		if told != 4 {
			t.Fatalf("%d of 4 listeners were called", told)
		}
	}
}

func TestR056_listener_may_use_the_future(t *testing.T) {
	f := NewFuture[int](nil)
	calls := 0
	f.OnDone(func(int, error) {
		if f.Cancel() || f.Complete(2, nil) {
			t.Error("it is done already")
		}
		<-f.Done()
		f.OnDone(func(n int, _ error) { calls += n })
	})
	f.Complete(1, nil)
	if calls != 1 {
		t.Errorf("the listener added by a listener was called %d times", calls)
	}
}
