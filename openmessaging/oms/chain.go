package oms

import (
	"slices"
	"sync"
	"sync/atomic"
)

// chain is an ordered list of interceptors that is read far more often than it
// is changed.
type chain[T any] struct {
	mu    sync.Mutex
	links atomic.Pointer[[]*T]
}

func newChain[T any](first []T) *chain[T] {
	c := new(chain[T])
	for _, t := range first {
		c.add(t)
	}
	return c
}

// add appends t and returns the function that removes it again.
func (c *chain[T]) add(t T) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	link := &t
	links := append(slices.Clip(c.load()), link)
	c.links.Store(&links)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		links := slices.DeleteFunc(slices.Clone(c.load()), func(l *T) bool { return l == link })
		c.links.Store(&links)
	}
}

// load returns the present links, which the caller must not change.
func (c *chain[T]) load() []*T {
	if links := c.links.Load(); links != nil {
		return *links
	}
	return nil
}
