package oms

import (
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// givingBack fills the caller's messages after an asynchronous send. When the
// caller cancels its future the messages are the caller's again at once: stop
// waits for a filling that runs and prevents later ones.
type givingBack struct {
	mu      sync.Mutex
	stopped bool
}

func (g *givingBack) do(target, sent *om.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		giveBack(target, sent)
	}
}

func (g *givingBack) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
}
