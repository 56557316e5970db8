// Package await is for drivers of systems that answer later, and that may lose
// answers with a connection: it sends requests many at once, gathers what is
// answered to them, and ends what waits in vain.
package await

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Breaks tells everybody who waits that something has happened that may have
// lost answers. Its zero value is ready; its methods may be called concurrently.
type Breaks struct {
	mu   sync.Mutex
	next context.Context
	end  context.CancelCauseFunc
}

// Next returns a context that ends with the next break, whose error is its
// cause. Take it before what is to be answered is sent.
func (b *Breaks) Next() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next, b.end = context.WithCancelCause(context.Background())
	}
	return b.next
}

// Tell tells of a break.
func (b *Breaks) Tell(err error) {
	b.Next()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(err)
	b.next = nil
}

// Within returns a context for calls of a client library that do not notice a
// break: it ends with ctx, after limit with late as its cause, or with the next
// break, unless that is none of its business. Call end when the call is over: it
// returns the cause in place of what the library made of it, nil for nil.
func (b *Breaks) Within(ctx context.Context, limit time.Duration, late error, business func(error) bool) (within context.Context, end func(error) error) {
	broken := b.Next()
	limited, free := context.WithTimeoutCause(ctx, limit, late)
	within, cancel := context.WithCancelCause(limited)
	stop := context.AfterFunc(broken, func() {
		if err := context.Cause(broken); business(err) {
			cancel(err)
		}
	})
	return within, func(err error) error {
		if err != nil && ctx.Err() == nil && within.Err() != nil {
			err = context.Cause(within)
		}
		stop()
		cancel(nil)
		free()
		return err
	}
}

// ErrLate is the answer to a request that was not answered in time.
var ErrLate = errors.New("no answer in time")

// Calls gathers answers. Its zero value is ready; its methods may be called
// concurrently.
type Calls[T any] struct {
	// Prefix is what the ids of requests begin with.
	Prefix string
	// Breaks end calls under way.
	Breaks Breaks
	// Limit is how long answers may take after the last request of a call was
	// sent; 0 is 5 s.
	Limit time.Duration
	// Ready, when it is there, is asked before a call sends: its error, why
	// nothing can be sent, then is the answer to all.
	Ready func() error

	mu   sync.Mutex
	last int
	open map[int]*call[T]
}

type call[T any] struct {
	answers []Answer[T]
	left    int
	done    chan struct{} // closed when nothing is left
}

// Answer is the answer to a request, or why there is none.
type Answer[T any] struct {
	Value T
	Err   error
	came  bool
}

// Ask sends n requests and returns their answers when all have come. Those that
// have not when ctx ends, at a break, or when the Limit is over, get an error:
// whether the system has received them is not known. send sends request i: what
// is answered to it goes to Answer with its id, and an error is its answer.
// concerned says whether a break answers request i.
func (c *Calls[T]) Ask(ctx context.Context, n int, send func(i int, id string) error, concerned func(i int, err error) bool) []Answer[T] {
	if n == 0 {
		return nil
	}
	broken := c.Breaks.Next()
	a := &call[T]{answers: make([]Answer[T], n), left: n, done: make(chan struct{})}
	c.mu.Lock()
	if c.open == nil {
		c.open = make(map[int]*call[T])
	}
	c.last++
	number := c.last
	c.open[number] = a
	c.mu.Unlock()
	if c.Ready != nil {
		if err := c.Ready(); err != nil {
			send = func(int, string) error { return err }
		}
	}
	id := fmt.Appendf(nil, "%s%d-", c.Prefix, number)
	for i, first := 0, len(id); i < n; i++ {
		id = strconv.AppendInt(id[:first], int64(i), 10)
		if err := send(i, string(id)); err != nil {
			c.answer(number, i, *new(T), err)
		}
	}
	limit := c.Limit
	if limit == 0 {
		limit = 5 * time.Second
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	end := func(err error, all bool) {
		for i := range n {
			if all || concerned(i, err) {
				c.answer(number, i, *new(T), err)
			}
		}
	}
	for {
		select {
		case <-a.done:
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.open, number)
			return a.answers
		case <-broken.Done():
			end(context.Cause(broken), false)
			broken = c.Breaks.Next()
		case <-ctx.Done():
			end(ctx.Err(), true)
		case <-timer.C:
			end(ErrLate, true)
		}
	}
}

// Answer takes the answer to the request with an id. One that nobody waits for
// is dropped.
func (c *Calls[T]) Answer(id string, v T, err error) {
	if rest, ours := strings.CutPrefix(id, c.Prefix); ours {
		call, place, _ := strings.Cut(rest, "-")
		n, bad := strconv.Atoi(call)
		if i, none := strconv.Atoi(place); bad == nil && none == nil {
			c.answer(n, i, v, err)
		}
	}
}

func (c *Calls[T]) answer(call, i int, v T, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.open[call]
	if a == nil || i < 0 || i >= len(a.answers) || a.answers[i].came {
		return
	}
	a.answers[i] = Answer[T]{v, err, true}
	if a.left--; a.left == 0 {
		close(a.done)
	}
}
