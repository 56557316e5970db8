package oms

import (
	"runtime/debug"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// listener calls the rebalance listener of a consumer, one call at a time.
type listener struct {
	om.RebalanceListener
	report func(error)
	mu     sync.Mutex
}

func (l *listener) revoked(queue string, partitions []int32) { l.call(l.Revoked, queue, partitions) }

func (l *listener) lost(queue string, partitions []int32) {
	if l.Lost == nil {
		l.revoked(queue, partitions)
		return
	}
	l.call(l.Lost, queue, partitions)
}

// call reports a panic and lives on.
func (l *listener) call(f func(string, []int32), queue string, partitions []int32) {
	if f == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			l.report(om.NewError(om.CodeHandlerPanic, "rebalance", queue, "%w\n%s", panicError(v), debug.Stack()))
		}
	}()
	f(queue, partitions)
}
