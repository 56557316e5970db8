package stdio

import (
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// checker answers for the transactions of a sender while its life lasts.
type checker struct {
	life context.Context
	ask  om.TransactionChecker
}

// addChecker has the child's questions about a sender answered until remove.
func (l *link) addChecker(handle uint64, ask om.TransactionChecker) (remove func()) {
	life, stop := context.WithCancel(l.life)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkers[handle] = checker{life, ask}
	return func() {
		stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.checkers, handle)
	}
}

// check answers the child's question what became of a transaction.
func (l *link) check(a *answer) {
	if a.Op != "check" || a.Message == nil {
		l.end(0, errors.New("the child asked what is no check of a message"))
		return
	}
	l.mu.Lock()
	k, ok := l.checkers[a.Handle]
	l.mu.Unlock()
	verdict := "unknown"
	if ok {
		switch k.ask(k.life, a.Message.value()) {
		case om.TxCommit:
			verdict = "commit"
		case om.TxRollback:
			verdict = "rollback"
		}
	}
	l.tell(&request{Ask: a.Ask, Op: "verdict", Verdict: verdict})
}
