package oms

import (
	"runtime/debug"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// listener calls the rebalance listener of a consumer, one call at a time, in
// the order in which the calls were asked for.
type listener struct {
	om.RebalanceListener
	report func(error)
	mu     sync.Mutex
	last   <-chan struct{} // closed when what was asked for last has returned
}

func (l *listener) lost(queue string, partitions []int32) {
	f := l.Lost
	if f == nil {
		f = l.Revoked
	}
	if f != nil {
		f(queue, partitions)
	}
}

// call has f called, which may be nil, and returns a channel that is closed when
// it and all before it have returned.
func (l *listener) call(f func(string, []int32), queue string, partitions []int32) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, done := l.last, make(chan struct{})
	l.last = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if f != nil {
			l.guard(f, queue, partitions)
		}
	}()
	return done
}

// guard reports a panic and lives on.
func (l *listener) guard(f func(string, []int32), queue string, partitions []int32) {
	defer func() {
		if v := recover(); v != nil {
			l.report(om.NewError(om.CodeHandlerPanic, "rebalance", queue, "%w\n%s", panicError(v), debug.Stack()))
		}
	}()
	f(queue, partitions)
}
