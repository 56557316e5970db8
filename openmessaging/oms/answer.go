package oms

import (
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Answer returns a handler of a push consumer that answers requests: it sends
// what f returns to where the request asks, by sender, and the request is
// acknowledged when the reply is stored. Send and acknowledgement are two steps:
// a request whose handler was cut off between them is answered twice, and the
// requester gets the first.
//
// An error of f is sent as the reply, see [om.SetReplyFailure]: who waits learns of
// it at once, and the request is not given again. When f panics or is cut off the
// request is given back and delivered again. So is a message that is no request,
// with an error that says so, until it is a dead letter. A reply whose queue is
// gone is dropped: nobody waits for it any more.
//
// The reply has a body and no properties of its own; for more, handlers call
// [om.NewReply] themselves.
func Answer(sender om.Sender, f func(ctx context.Context, request *om.Delivery) ([]byte, error)) om.Handler {
	return func(ctx context.Context, d *om.Delivery) error {
		reply, err := om.NewReply(d.Message, nil)
		if err != nil {
			return err
		}
		if reply.Body, err = f(ctx, d); err != nil {
			if ctx.Err() != nil {
				return err
			}
			om.SetReplyFailure(reply, err)
		}
		if _, err := sender.Send(ctx, reply); err != nil && !errors.Is(err, om.ErrDestination) {
			return err
		}
		return nil
	}
}
