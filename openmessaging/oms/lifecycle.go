package oms

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// closeGrace bounds the release of driver resources after the caller's context
// has ended: nobody waits for it then, but it must not last for ever.
const closeGrace = 10 * time.Second

// lifecycle is the state machine that all endpoints share. Start and Stop
// exclude each other; several callers of the same one share its outcome.
type lifecycle struct {
	// open makes the endpoint work; ctx bounds the call only.
	open func(ctx context.Context) error
	// quit ends the work: gracefully until limit ends, then at once.
	quit func(limit context.Context) error
	// halt, when not nil, begins quit: nothing new is delivered when it returns.
	halt func()
	// within reports whether ctx belongs to a call that quit would wait for;
	// nil when there are none.
	within func(ctx context.Context) bool
	// released is called when a close is over, possibly more than once.
	released func()

	state  atomic.Int32
	closed atomic.Bool

	mu      sync.Mutex
	change  chan struct{} // closed when the Start or Stop that runs is over
	abort   context.CancelFunc
	quitErr error
}

// State implements openmessaging.Lifecycle.
func (l *lifecycle) State() om.State { return om.State(l.state.Load()) }

// ready returns nil while operations may run.
func (l *lifecycle) ready(op, resource string) error {
	if l.closed.Load() {
		return om.NewError(om.CodeClosed, op, resource, "")
	}
	if l.State() != om.Started {
		return om.NewError(om.CodeNotRunning, op, resource, "the state is %v; call Start", l.State())
	}
	return nil
}

// Start implements openmessaging.Lifecycle.
func (l *lifecycle) Start(ctx context.Context) error {
	for {
		if err := ended(ctx, "start", ""); err != nil {
			return err
		}
		l.mu.Lock()
		if l.closed.Load() {
			l.mu.Unlock()
			return om.NewError(om.CodeClosed, "start", "", "a closed endpoint cannot be started again; make a new one")
		}
		before := l.State()
		switch before {
		case om.Started:
			l.mu.Unlock()
			return nil
		case om.Starting, om.Stopping:
			change := l.change
			l.mu.Unlock()
			select {
			case <-change:
			case <-ctx.Done():
			}
			continue
		}
		change := make(chan struct{})
		l.change = change
		l.state.Store(int32(om.Starting))
		l.mu.Unlock()

		err := l.open(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		defer close(change)
		if err != nil {
			l.state.Store(int32(before))
			return err
		}
		l.state.Store(int32(om.Started))
		if l.closed.Load() {
			l.beginStop()
			return om.NewError(om.CodeClosed, "start", "", "closed meanwhile")
		}
		return nil
	}
}

// Stop implements openmessaging.Lifecycle.
func (l *lifecycle) Stop(ctx context.Context) error { return l.stop(ctx, "stop", false) }

// Close implements openmessaging.Lifecycle.
func (l *lifecycle) Close(ctx context.Context) error { return l.stop(ctx, "close", true) }

func (l *lifecycle) stop(ctx context.Context, op string, final bool) error {
	first := final && l.closed.CompareAndSwap(false, true)
	l.mu.Lock()
	for l.State() == om.Starting {
		change := l.change
		l.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return ended(ctx, op, "")
		}
		l.mu.Lock()
	}
	switch l.State() {
	case om.Initialized, om.Stopped:
		l.state.Store(int32(om.Stopped))
		l.mu.Unlock()
		if final {
			l.released()
		}
		return nil
	case om.Started:
		l.beginStop()
	}
	change, abort := l.change, l.abort
	l.mu.Unlock()
	if l.within != nil && l.within(ctx) {
		return nil
	}
	select {
	case <-change:
	default:
		select {
		case <-change:
		case <-ctx.Done():
			abort()
			return ended(ctx, op, "")
		}
	}
	if final && !first {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quitErr
}

// beginStop runs quit in a goroutine of its own, so that a caller whose
// context ends can leave. The caller holds l.mu.
func (l *lifecycle) beginStop() {
	change := make(chan struct{})
	limit, abort := context.WithCancel(context.Background())
	l.change, l.abort = change, abort
	l.state.Store(int32(om.Stopping))
	if l.halt != nil {
		l.halt()
	}
	go func() {
		defer abort()
		err := l.quit(limit)
		l.mu.Lock()
		l.quitErr = err
		l.state.Store(int32(om.Stopped))
		close(change)
		l.mu.Unlock()
		if l.closed.Load() {
			l.released()
		}
	}()
}

// release calls a Close and sees it through although limit has ended or ends
// meanwhile: drivers do nothing under an ended context, and an endpoint's Close
// leaves work behind then.
func release(limit context.Context, shut func(context.Context) error) error {
	if limit.Err() == nil {
		if err := shut(limit); err == nil || limit.Err() == nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(limit), closeGrace)
	defer cancel()
	return shut(ctx)
}
