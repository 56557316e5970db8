package oms

import (
	"context"
	"sync"
)

// calls knows the calls that run now, so that a stop or a flush can wait for
// them. The zero value is ready.
type calls struct {
	mu      sync.Mutex
	refused bool
	running map[*call]struct{}
}

type call struct{ done chan struct{} }

// enter notes a call; it returns nil after refuse.
func (c *calls) enter() *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused {
		return nil
	}
	if c.running == nil {
		c.running = make(map[*call]struct{})
	}
	t := &call{make(chan struct{})}
	c.running[t] = struct{}{}
	return t
}

func (c *calls) leave(t *call) {
	c.mu.Lock()
	delete(c.running, t)
	c.mu.Unlock()
	close(t.done)
}

func (c *calls) refuse() {
	c.mu.Lock()
	c.refused = true
	c.mu.Unlock()
}

// wait blocks until the calls that run now are over, and reports false when
// ctx ends first.
func (c *calls) wait(ctx context.Context) bool {
	c.mu.Lock()
	running := make([]*call, 0, len(c.running))
	for t := range c.running {
		running = append(running, t)
	}
	c.mu.Unlock()
	for _, t := range running {
		select {
		case <-t.done:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
