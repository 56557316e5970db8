package remote

import (
	"context"
	"errors"
	"slices"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// membership is a receiver's part in an assigned group. Heartbeat alone touches
// it, and its calls do not overlap.
type membership struct {
	*batch.Member
	link *link // of the last heartbeat: the membership ends with it
	held []int32
}

// member returns the form of a member that travels, nil for none.
func member(m *spi.MemberConfig) *wirepb.Member {
	if m == nil {
		return nil
	}
	labels := make(map[string]string, len(m.Labels))
	for k, v := range m.Labels {
		labels[text(k)] = text(v)
	}
	return &wirepb.Member{Id: text(m.ID), Labels: labels, Strategy: text(m.Strategy.Name()), Session: wire.Millis(m.Session)}
}

func (r *receiver) Heartbeat(ctx context.Context, held []int32) (spi.Assignment, error) {
	if err := r.begin(ctx, "heartbeat"); err != nil {
		return spi.Assignment{}, err
	}
	if slices.ContainsFunc(r.member.held, func(p int32) bool { return !slices.Contains(held, p) }) {
		r.flush(ctx) // nothing of what is given up is on its way
	}
	r.member.held = slices.Clone(held)
	return r.member.Heartbeat(ctx, r.cfg.Queue, held, r.beat)
}

// beat says a heartbeat on the receiver's stream. A membership ends with its
// stream: the server has given everything back.
func (r *receiver) beat(ctx context.Context, h batch.Heartbeat) (m batch.Membership, err error) {
	l, err := r.open(ctx)
	if err != nil {
		return m, err
	}
	if before := r.member.link; before != nil && before != l {
		r.member.link = l
		return m, om.NewError(om.CodeMemberExpired, "heartbeat", r.cfg.Queue, "the connection was lost, and with it the partitions of the member %q", r.cfg.Member.ID)
	}
	r.member.link = l
	got, err := l.heartbeat(ctx, &wirepb.Heartbeat{Version: h.Version, Generation: h.Generation, Claims: h.Claims, Held: h.Held})
	if err == nil {
		err = r.fence(wire.FromError(got.GetError()))
	}
	if err != nil {
		return m, err
	}
	m = batch.Membership{
		Version: got.GetVersion(), Generation: got.GetGeneration(), Partitions: got.GetPartitions(), Total: int(got.GetTotal()), Owners: got.GetOwners(),
	}
	for _, w := range got.GetMembers() {
		m.Members = append(m.Members, om.Member{ID: w.GetId(), Labels: w.GetLabels()})
	}
	return m, nil
}

// fence remembers that another member has taken over: this one must not come back
// by opening another stream.
func (r *receiver) fence(err error) error {
	if errors.Is(err, om.CodeMemberFenced) {
		r.mu.Lock()
		r.fenced = err
		r.mu.Unlock()
	}
	return err
}

// heartbeat sends a heartbeat and waits for its answer.
func (l *link) heartbeat(ctx context.Context, q *wirepb.Heartbeat) (*wirepb.Membership, error) {
	answer := make(chan *wirepb.Membership, 1)
	l.mu.Lock()
	l.last++
	q.Heartbeat = l.last
	l.beats[q.Heartbeat] = answer
	l.post(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Heartbeat{Heartbeat: q}})
	l.mu.Unlock()
	var err error
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.r.closing:
		err = l.r.errClosed("heartbeat")
	case <-l.broken:
		err = om.NewError(om.CodeMemberExpired, "heartbeat", l.r.cfg.Queue, "the connection was lost, and with it what the member %q held: %w", l.r.cfg.Member.ID, l.why(ctx, "heartbeat"))
	}
	l.mu.Lock()
	delete(l.beats, q.Heartbeat)
	l.mu.Unlock()
	return nil, err
}
