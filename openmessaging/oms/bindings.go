package oms

import (
	"slices"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// bindings are the queues bound to a consumer. "queue" and
// "namespace://queue" in the default namespace are the same queue.
type bindings[B any] struct {
	mu    sync.Mutex
	bound map[string]*bound[B]
}

type bound[B any] struct {
	name  string // as the caller wrote it
	value *B     // nil while it is being bound
}

func fullName(queue string) string {
	return om.JoinQueueName(om.SplitQueueName(queue, om.DefaultNamespace))
}

// reserve takes the names, all or none of them.
func (b *bindings[B]) reserve(op string, queues []string) error {
	if len(queues) == 0 {
		return badParameter(op, "", "no queues are given")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, q := range queues {
		if q == "" {
			return badParameter(op, "", "the name of queue %d is empty", i)
		}
		full := fullName(q)
		if b.bound[full] != nil {
			return badParameter(op, q, "the queue is bound already")
		}
		if slices.ContainsFunc(queues[:i], func(p string) bool { return fullName(p) == full }) {
			return badParameter(op, q, "the queue is given twice")
		}
	}
	if b.bound == nil {
		b.bound = make(map[string]*bound[B])
	}
	for _, q := range queues {
		b.bound[fullName(q)] = &bound[B]{name: q}
	}
	return nil
}

func (b *bindings[B]) set(queue string, value *B) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bound[fullName(queue)].value = value
}

// release gives names back that were reserved and not set.
func (b *bindings[B]) release(queues []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range queues {
		delete(b.bound, fullName(q))
	}
}

// take removes queues and returns what was bound to them.
func (b *bindings[B]) take(queues []string) []*B {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken []*B
	for _, q := range queues {
		if e := b.bound[fullName(q)]; e != nil && e.value != nil {
			taken = append(taken, e.value)
			delete(b.bound, fullName(q))
		}
	}
	return taken
}

func (b *bindings[B]) get(queue string) *B {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.bound[fullName(queue)]; e != nil {
		return e.value
	}
	return nil
}

func (b *bindings[B]) all() []*B {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []*B
	for _, e := range b.bound {
		if e.value != nil {
			all = append(all, e.value)
		}
	}
	return all
}

// queues returns the names, sorted; nil when there are none.
func (b *bindings[B]) queues() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for _, e := range b.bound {
		if e.value != nil {
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	return names
}
