package await_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/spi/await"
)

var (
	errLost     = errors.New("lost")
	errRefused  = errors.New("request 1 is refused")
	errNotFound = errors.New("not found")
)

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		do    func(c *await.Calls[int], cancel func())
		want  error // of requests 1 and 5
		first error // of request 1, where it is another
	}{
		"nobody answers":  {want: await.ErrLate},
		"the call ends":   {do: func(_ *await.Calls[int], cancel func()) { cancel() }, want: context.Canceled},
		"the line breaks": {do: func(c *await.Calls[int], _ func()) { c.Breaks.Tell(errLost) }, want: errLost},
		"one is refused":  {do: func(c *await.Calls[int], _ func()) { c.Breaks.Tell(errRefused) }, want: await.ErrLate, first: errRefused},
		"others are meant": {do: func(c *await.Calls[int], _ func()) {
			for _, id := range []string{"r.2-1", "r.1-99", "r.1--1", "r.1-", "r.1", "r.1-1.", "r.", "1-1", ""} {
				c.Answer(id, 1, nil)
			}
		}, want: await.ErrLate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := &await.Calls[int]{Prefix: "r.", Limit: time.Minute}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.do != nil {
					time.AfterFunc(time.Second, func() { c.do(calls, cancel) })
				}
				began := time.Now()
				answers := calls.Ask(ctx, 6, func(i int, id string) error {
					switch {
					case i == 3:
						return errNotFound
					case i%2 == 0:
						go calls.Answer(id, 10*i, nil)
						go calls.Answer(id, 10*i, nil) // twice is once
					}
					return nil
				}, func(i int, err error) bool { return err != errRefused || i == 1 })
				for i, a := range answers {
					want := c.want
					switch {
					case i == 3:
						want = errNotFound
					case i%2 == 0:
						want = nil
					case i == 1 && c.first != nil:
						want = c.first
					}
					if !errors.Is(a.Err, want) || want == nil && a.Value != 10*i {
						t.Errorf("answer %d: %+v, want %v", i, a, want)
					}
				}
				if took, late := time.Since(began), c.want == await.ErrLate; late != (took == time.Minute) {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
	if got := new(await.Calls[int]).Ask(t.Context(), 0, nil, nil); got != nil {
		t.Error(got)
	}
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b await.Breaks
		errLate := errors.New("late")
		business := func(err error) bool { return err != errRefused }
		lib := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		within, end := b.Within(t.Context(), time.Minute, errLate, business)
		if err := end(lib(within)); !errors.Is(err, errLate) {
			t.Errorf("in time: %v", err)
		}
		within, end = b.Within(t.Context(), time.Minute, errLate, business)
		b.Tell(errRefused)
		synctest.Wait()
		if within.Err() != nil {
			t.Error("a break that is none of its business ended it")
		}
		if err := end(errNotFound); err != errNotFound {
			t.Errorf("an answer: %v", err)
		}
		within, end = b.Within(t.Context(), time.Minute, errLate, business)
		b.Tell(errLost)
		if err := end(lib(within)); err != errLost {
			t.Errorf("a break: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		within, end = b.Within(ctx, time.Minute, errLate, business)
		cancel()
		if err := end(lib(within)); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller's own end: %v", err)
		}
		within, end = b.Within(t.Context(), time.Minute, errLate, business)
		if err := end(nil); err != nil || within.Err() == nil {
			t.Error(err, within.Err())
		}
	})
}

func TestAskWhenNotReady(t *testing.T) {
	ready := errLost
	calls := &await.Calls[int]{Ready: func() error { return ready }}
	for _, want := range []error{errLost, errNotFound} {
		sent := 0
		answers := calls.Ask(t.Context(), 2, func(int, string) error {
			sent++
			return errNotFound
		}, nil)
		if answers[0].Err != want || answers[1].Err != want || (sent > 0) != (want == errNotFound) {
			t.Errorf("%d were sent, %v", sent, answers)
		}
		ready = nil
	}
}
