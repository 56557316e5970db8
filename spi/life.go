package spi

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Life is what connections, senders and receivers of all drivers have in
// common: they are there until they are closed, and own others that end with
// them. Embed it; its zero value lives. Its methods may be called concurrently.
type Life struct {
	once  sync.Once
	ctx   context.Context
	end   context.CancelFunc
	ended sync.Once
	err   error // of End

	mu    sync.Mutex
	owned map[Closer]bool // nil from End on
}

// Closer is a Sender, a Receiver or a Conn.
type Closer interface {
	Close(ctx context.Context) error
}

func (l *Life) begin() context.Context {
	l.once.Do(func() {
		l.ctx, l.end = context.WithCancel(context.Background())
		l.owned = make(map[Closer]bool)
	})
	return l.ctx
}

// Begin says whether an operation may begin: it returns CodeClosed after End
// (G11), and the error of a ctx that has ended (G03).
func (l *Life) Begin(ctx context.Context, op, resource string) error {
	if l.begin().Err() != nil {
		return om.NewError(om.CodeClosed, op, resource, "it is closed; open another one")
	}
	return ctx.Err()
}

// Done is closed when the life ends.
func (l *Life) Done() <-chan struct{} { return l.begin().Done() }

// Within returns a context that ends with ctx and with the life, for what
// blocks (G04, G10). Call cancel when it is not needed any more.
func (l *Life) Within(ctx context.Context) (within context.Context, cancel context.CancelFunc) {
	within, end := context.WithCancel(ctx)
	stop := context.AfterFunc(l.begin(), end)
	return within, func() {
		stop()
		end()
	}
}

// Own has End close c too. It returns CodeClosed after End.
func (l *Life) Own(c Closer) error {
	l.begin()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owned == nil {
		return om.NewError(om.CodeClosed, "open", "", "the connection is closed; open another one")
	}
	l.owned[c] = true
	return nil
}

// Disown is the opposite of Own, for what is closed before its owner.
func (l *Life) Disown(c Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owned, c)
}

// Owned ranges over what was owned when it was called.
func (l *Life) Owned() iter.Seq[Closer] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Values(slices.Collect(maps.Keys(l.owned)))
}

// End ends the life, closes what it owns, and then calls last unless that is
// nil. It returns their errors together. A later call does nothing but wait for
// the first one and return its error.
func (l *Life) End(ctx context.Context, last func() error) error {
	l.begin()
	l.ended.Do(func() {
		l.end()
		l.mu.Lock()
		owned := l.owned
		l.owned = nil
		l.mu.Unlock()
		for c := range owned {
			l.err = errors.Join(l.err, c.Close(ctx))
		}
		if last != nil {
			l.err = errors.Join(l.err, last())
		}
	})
	return l.err
}

// Bound runs a call that knows no context and gives up when ctx ends; what the
// call returns after that goes to drop.
func Bound[T any](ctx context.Context, call func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				drop(r.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}
