package await_test

import (
	"context"
	"errors"
	"sync/atomic"
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

// requests answers the even ones, refuses to send the third, and leaves the rest.
type requests struct {
	calls *await.Calls[int]
	call  atomic.Int64
}

func (r *requests) Send(call, i int) error {
	r.call.Store(int64(call))
	switch {
	case i == 3:
		return errNotFound
	case i%2 == 0:
		go r.calls.Answer(call, i, 10*i, nil)
		go r.calls.Answer(call, i, 10*i, nil) // twice is once
	}
	return nil
}

func (r *requests) Concerned(i int, err error) bool { return err != errRefused || i == 1 }

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		do    func(c *await.Calls[int], call int, cancel func())
		want  error // of requests 1 and 5
		first error // of request 1, where it is another
	}{
		"nobody answers":  {want: await.ErrLate},
		"the call ends":   {do: func(_ *await.Calls[int], _ int, cancel func()) { cancel() }, want: context.Canceled},
		"the line breaks": {do: func(c *await.Calls[int], _ int, _ func()) { c.Breaks.Tell(errLost) }, want: errLost},
		"one is refused":  {do: func(c *await.Calls[int], _ int, _ func()) { c.Breaks.Tell(errRefused) }, want: await.ErrLate, first: errRefused},
		"others are meant": {do: func(c *await.Calls[int], call int, _ func()) {
			c.Answer(call+1, 1, 1, nil)
			c.Answer(call, 99, 1, nil)
			c.Answer(call, -1, 1, nil)
		}, want: await.ErrLate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := &await.Calls[int]{Limit: time.Minute}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				rs := &requests{calls: calls}
				if c.do != nil {
					time.AfterFunc(time.Second, func() { c.do(calls, int(rs.call.Load()), cancel) })
				}
				began := time.Now()
				answers := calls.Ask(ctx, 6, rs)
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
	if got := new(await.Calls[int]).Ask(t.Context(), 0, nil); got != nil {
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
