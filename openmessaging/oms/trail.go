package oms

import (
	"context"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// trail remembers which interceptors a message has passed, to tell them its
// end in the reverse order.
type trail struct {
	ctx    context.Context
	passed []*om.SendInterceptor
}

// begin runs the Before hooks. After an error the trail holds the interceptors
// that had let the message pass.
func begin(ctx context.Context, links []*om.SendInterceptor, m *om.Message) (trail, error) {
	t := trail{ctx: ctx}
	for i, l := range links {
		if l.Before != nil {
			next, err := l.Before(t.ctx, m)
			if err != nil {
				return t, om.WrapError(err, "send", m.Destination)
			}
			if next != nil {
				t.ctx = next
			}
		}
		t.passed = links[:i+1]
	}
	return t, nil
}

// end runs the After hooks, or the Failed hooks when err is not nil.
func (t trail) end(m *om.Message, r om.SendResult, err error) {
	for i := len(t.passed) - 1; i >= 0; i-- {
		l := t.passed[i]
		if err == nil && l.After != nil {
			l.After(t.ctx, m, r)
		}
		if err != nil && l.Failed != nil {
			l.Failed(t.ctx, m, err)
		}
	}
}
