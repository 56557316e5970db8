package oms

import (
	"context"
	"sync"
)

// gate lets receives through while it is open. Closing it interrupts those that
// run and waits for them. The zero value is open.
type gate struct {
	mu      sync.Mutex
	closed  int // how often, and not opened again
	running map[int]context.CancelFunc
	last    int
	opened  chan struct{} // set while closed
	quiet   chan struct{} // set by who waits for those that run
}

// enter returns the context for a receive, when the gate is open. The caller
// leaves. The error is that of ctx.
func (g *gate) enter(ctx context.Context) (within context.Context, leave func(), err error) {
	g.mu.Lock()
	for g.closed > 0 {
		opened := g.opened
		g.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		g.mu.Lock()
	}
	defer g.mu.Unlock()
	within, cancel := context.WithCancel(ctx)
	if g.running == nil {
		g.running = make(map[int]context.CancelFunc)
	}
	g.last++
	id := g.last
	g.running[id] = cancel
	return within, func() {
		cancel()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.running, id)
		if len(g.running) == 0 && g.quiet != nil {
			close(g.quiet)
			g.quiet = nil
		}
	}, nil
}

// close lets nobody through until it is opened as often, and returns when
// nobody is inside.
func (g *gate) close() {
	g.mu.Lock()
	if g.closed++; g.closed == 1 {
		g.opened = make(chan struct{})
	}
	for _, cancel := range g.running {
		cancel()
	}
	if len(g.running) == 0 {
		g.mu.Unlock()
		return
	}
	if g.quiet == nil {
		g.quiet = make(chan struct{})
	}
	quiet := g.quiet
	g.mu.Unlock()
	<-quiet
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed--; g.closed == 0 {
		close(g.opened)
	}
}
