package server

import (
	"context"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// member returns what a subscription says of a member, nil for one that shares
// its group.
func member(ctx context.Context, m *wirepb.Member) *broker.Member {
	if m == nil {
		return nil
	}
	return &broker.Member{
		Member:   om.Member{ID: m.GetId(), Labels: m.GetLabels()},
		Strategy: m.GetStrategy(), Session: wire.Duration(m.GetSession()), User: account(ctx), Address: client(ctx),
	}
}

// heartbeat has a heartbeat of the member answered. It ends the one before, and
// waits until that is answered.
func (r *subscription) heartbeat(q *wirepb.Heartbeat) error {
	if n := len(q.GetClaims()) + len(q.GetHeld()); n > 2*broker.MaxPartitions {
		return om.NewError(om.CodeBadRequest, "heartbeat", r.queue, "%d partitions are more than a queue can have", n)
	}
	if err := r.allowed(); err != nil {
		return err
	}
	if r.quiet != nil {
		r.quiet()
		<-r.beating
	}
	ctx, cancel := context.WithCancel(r.ctx)
	over := make(chan struct{})
	r.quiet, r.beating = cancel, over
	r.running.Go(func() {
		defer close(over)
		defer cancel()
		m, err := r.receiver.Heartbeat(ctx, broker.Heartbeat{Version: q.GetVersion(), Generation: q.GetGeneration(), Claims: q.GetClaims(), Held: q.GetHeld()})
		r.released()
		out := &wirepb.Membership{
			Heartbeat: q.GetHeartbeat(), Version: m.Version, Generation: m.Generation, Partitions: m.Partitions, Total: int32(m.Total), Owners: m.Owners, Error: wire.Error(away(err)),
		}
		for _, m := range m.Members {
			out.Members = append(out.Members, &wirepb.Member{Id: m.ID, Labels: m.Labels})
		}
		if err := r.send(&wirepb.ReceiveResponse{Response: &wirepb.ReceiveResponse_Membership{Membership: out}}); err != nil {
			r.fail(err)
		}
	})
	return nil
}
