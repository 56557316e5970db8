package oms

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const (
	// checkTime is how long a checker may take.
	checkTime = 10 * time.Second
	// lateAnswer is for how long after that one is waited for that returns when its
	// context ends.
	lateAnswer = time.Second
	// checksAtOnce bounds a producer's checkers that run, those that were left
	// behind too.
	checksAtOnce = 256
)

// guarded returns the producer's checker, whose panic is no answer, and neither
// is one that does not come: it is left behind when its context has ended.
func (p *producer) guarded() om.TransactionChecker {
	if p.cfg.Checker == nil {
		return nil
	}
	running := make(chan struct{}, checksAtOnce)
	return func(ctx context.Context, m *om.Message) om.TxVerdict {
		ctx, cancel := context.WithTimeout(ctx, checkTime)
		defer cancel()
		select {
		case running <- struct{}{}:
		case <-ctx.Done():
			return om.TxUnknown
		}
		answer := make(chan om.TxVerdict, 1)
		go func() {
			defer func() { <-running }()
			answer <- p.verdict(ctx, m)
		}()
		select {
		case v := <-answer:
			return v
		case <-ctx.Done():
		}
		grace := time.NewTimer(lateAnswer)
		if errors.Is(ctx.Err(), context.Canceled) {
			grace.Reset(closeGrace) // who closes the producer waits for its checker
		}
		defer grace.Stop()
		select {
		case v := <-answer:
			return v
		case <-grace.C:
		}
		p.ap.logger.Warn("the checker of a transaction does not return when its context ends", "transaction", m.Ext.TransactionID)
		return om.TxUnknown
	}
}

// verdict asks the checker.
func (p *producer) verdict(ctx context.Context, m *om.Message) (verdict om.TxVerdict) {
	defer func() {
		if r := recover(); r != nil {
			p.ap.logger.Error("the checker of a transaction panicked; it is asked again", "transaction", m.Ext.TransactionID, "panic", r, "stack", string(debug.Stack()))
			verdict = om.TxUnknown
		}
	}()
	return p.cfg.Checker(ctx, m)
}
