package oms

import (
	"context"
	"crypto/rand"
	"maps"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// asking is the requests of a producer from a Start to its Stop. The first one
// makes the reply queue.
type asking struct {
	life context.Context // ends when the producer stops
	end  context.CancelCauseFunc
	turn chan struct{} // held by who makes the queue, or looks at it
	q    *replies
}

func newAsking() *asking {
	a := &asking{turn: make(chan struct{}, 1)}
	a.life, a.end = context.WithCancelCause(context.Background())
	return a
}

// replies returns the reply queue, and makes it when there is none or it is gone.
func (a *asking) replies(ctx context.Context, p *producer) (*replies, error) {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ended(ctx, "request", "")
	}
	defer func() { <-a.turn }()
	if err := ended(ctx, "request", ""); err != nil {
		return nil, err
	}
	if a.q != nil && a.q.lost() == nil {
		return a.q, nil
	}
	if a.q != nil {
		a.q.close(ctx)
		a.q = nil
	}
	q, err := openReplies(ctx, p)
	if err == nil {
		a.q = q
	}
	return q, err
}

// stop ends the requests that wait; close must follow.
func (a *asking) stop(why *cut) { a.end(why) }

// close deletes the reply queue.
func (a *asking) close(limit context.Context) {
	a.turn <- struct{}{} // whoever makes a queue returns, because life has ended
	if a.q != nil {
		a.q.close(limit)
	}
}

func (p *producer) Request(ctx context.Context, m *om.Message) (*om.Message, error) {
	const op = "request"
	if m == nil {
		return nil, noMessage(op)
	}
	r, err := p.current(ctx, op, m.Destination)
	if err != nil {
		return nil, err
	}
	if !p.ap.caps.Has(om.CapRequestReply) {
		return nil, unsupported(op, m.Destination, om.CapRequestReply)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.asking.life, func() { cancel(context.Cause(r.asking.life)) })()
	q, err := r.asking.replies(ctx, p)
	if err != nil {
		return nil, err
	}
	request := q.address(m)
	answer, err := q.wait(request)
	if err != nil {
		return nil, err
	}
	defer q.forget(request.Ext.CorrelationID, answer)
	if _, err := p.Send(ctx, request); err != nil {
		return nil, err
	}
	return q.await(ctx, r.asking.life, request, answer)
}

// address returns a copy of a message as a request.
func (q *replies) address(m *om.Message) *om.Message {
	request := *m
	request.Properties = make(om.Properties, len(m.Properties)+1)
	maps.Copy(request.Properties, m.Properties)
	request.Properties[om.PropertyReplyTo] = om.String(q.queue)
	if request.Ext.CorrelationID == "" {
		request.Ext.CorrelationID = rand.Text()
	}
	return &request
}

// await blocks for the reply to a request that was sent. ctx ends soon after life
// does, and the queue may be gone before.
func (q *replies) await(ctx, life context.Context, request *om.Message, answer <-chan *om.Message) (*om.Message, error) {
	const op = "request"
	var reply *om.Message
	select {
	case reply = <-answer:
	case <-q.gone:
	case <-ctx.Done():
	}
	if reply == nil {
		select {
		case reply = <-answer: // it came at the same time
		default:
		}
	}
	switch {
	case reply != nil:
	case ctx.Err() != nil:
		return nil, ended(ctx, op, request.Destination)
	case life.Err() != nil:
		return nil, ended(life, op, request.Destination)
	default:
		return nil, om.NewError(om.CodeTimeout, op, request.Destination, "it is not known whether it was answered: the reply queue is gone: %v", q.lost())
	}
	if err := om.ReplyFailure(reply, request.Destination); err != nil {
		return nil, err
	}
	return reply, nil
}
