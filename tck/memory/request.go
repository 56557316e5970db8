package memory

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// request is a call of Request that waits for its reply.
type request struct {
	reply *om.Message
}

func (c *conn) Request(ctx context.Context, m *om.Message) (*om.Message, error) {
	const op = "request"
	if err := c.begin(ctx, om.CapRequestReply, op, m.Destination); err != nil {
		return nil, err
	}
	c.s.mu.Unlock()
	if err := m.Validate(op, time.Now()); err != nil {
		return nil, err
	}
	if err := c.s.enter(ctx, &c.life, op, m.Destination, c.s.flowing); err != nil {
		return nil, err
	}
	id, r, err := c.ask(op, m)
	c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer func() {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		delete(c.s.requests, id)
	}()
	if err := c.s.enter(ctx, &c.life, op, m.Destination, func() bool { return r.reply != nil }); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	return copyOut(r.reply), nil
}

// ask stores a request and has its reply waited for. The portable client has
// no part in requests: what it sets on send is set here.
func (c *conn) ask(op string, m *om.Message) (id string, r *request, err error) {
	a, err := c.accept(op, m, map[*queue]int32{})
	if err != nil {
		return "", nil, err
	}
	a.m.Version, a.m.BornAt = om.SpecVersion, time.Now().UTC().Truncate(time.Millisecond)
	if a.m.BornHost == "" {
		a.m.BornHost = StoreHost
	}
	if a.m.Ext.CorrelationID == "" {
		a.m.Ext.CorrelationID = a.m.MessageID
	}
	id = a.m.Ext.CorrelationID
	if c.s.requests[id] != nil {
		return "", nil, om.NewError(om.CodeBadParameter, op, m.Destination, "a request with the correlation id %q waits already; use another id", id)
	}
	a.publish()
	r = &request{}
	c.s.requests[id] = r
	return id, r, nil
}
