package broker

import (
	"context"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Heartbeat is what a member of an assigned group says.
type Heartbeat struct {
	// Version is that of the last Membership that it has got, 0 for none.
	Version uint64
	// Generation is the one in which it claims; a claim in another than the
	// one that is on has no effect.
	Generation int64
	Claims     []int32
	// Held are the partitions that it has. One that it was told of, in a Membership
	// up to Version, and that is not among them is given up.
	Held []int32
}

// Membership is what a member is told.
type Membership struct {
	Version    uint64
	Generation int64
	Partitions []int32 // that the member is to hold, ascending

	// What is there to allocate, when the heartbeat claimed in another generation.
	Total   int // partitions of the queue
	Members []om.Member
	Owners  []string // of before
}

// Heartbeat says that a member lives, what it claims and what it holds. It blocks
// until there is something that the member has not been told, a third of the
// session at most; when a partition is given up it returns at once. The slices
// belong to the caller but for the labels.
//
// A member that holds what is not its own is put out and gets CodeMemberExpired,
// as does one that was silent for too long; without anything held it joins again.
func (r *Receiver) Heartbeat(ctx context.Context, h Heartbeat) (Membership, error) {
	if err := ctx.Err(); err != nil {
		return Membership{}, err
	}
	q := r.group.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	gaveUp, err := r.heard(h)
	if err != nil {
		return Membership{}, err
	}
	m := r.member
	end := time.NewTimer(m.Session / 3)
	defer end.Stop()
	for over := gaveUp; !over && m.version <= h.Version; {
		news := m.news
		q.mu.Unlock()
		select {
		case <-news:
		case <-end.C:
			over = true
		case <-r.ended:
		case <-ctx.Done():
			err = ctx.Err()
		}
		q.mu.Lock()
		switch {
		case r.closed:
			return Membership{}, r.endErrorLocked()
		case err != nil:
			return Membership{}, err
		case r.member != m:
			return Membership{}, r.expired()
		}
	}
	m.beat()
	return r.group.membership(m, h.Generation), nil
}

// heard takes in a heartbeat.
func (r *Receiver) heard(h Heartbeat) (gaveUp bool, err error) {
	g := r.group
	for _, p := range slices.Concat(h.Held, h.Claims) {
		if _, err := g.queue.partition("heartbeat", p); err != nil {
			return false, err
		}
	}
	switch {
	case r.closed:
		return false, r.endErrorLocked()
	case r.joined == nil:
		return false, om.NewError(om.CodeBadParameter, "heartbeat", g.queue.name, "the receiver is no member of an assigned group")
	case r.member == nil && len(h.Held) > 0:
		return false, r.expired()
	case r.member == nil:
		if err := g.admits(r.joined); err != nil {
			return false, err
		}
		g.join(r)
	}
	m := r.member
	for _, p := range h.Held {
		if g.assigned.holdings[p].owner != m {
			r.putOut()
			return false, r.expired()
		}
	}
	held := make([]bool, len(g.parts))
	for _, p := range h.Held {
		held[p] = true
	}
	var up []*progress
	for i, p := range g.parts {
		s := &g.assigned.holdings[i]
		switch {
		case s.owner != m:
		case held[i]:
			s.open = true
		case s.since <= h.Version:
			up = append(up, p)
		}
	}
	if len(up) > 0 {
		g.giveUp(m, up)
	}
	if h.Generation == g.assigned.generation {
		g.claim(m, h.Claims)
	}
	g.serve(m)
	m.beat()
	return len(up) > 0, nil
}

func (r *Receiver) expired() error {
	return om.NewError(om.CodeMemberExpired, "heartbeat", r.group.queue.name,
		"the member %q was silent for longer than its session of %v, or its connection was lost: its partitions go to others; it joins again with nothing held", r.joined.ID, r.joined.Session)
}

// membership is what a member is told.
func (g *group) membership(m *member, claimed int64) Membership {
	a := g.assigned
	out := Membership{Version: m.version, Generation: a.generation}
	for i := range a.holdings {
		switch s := &a.holdings[i]; {
		case s.owner != m:
		case s.revoking:
			s.told = true
		default:
			out.Partitions = append(out.Partitions, int32(i))
		}
	}
	if claimed != a.generation {
		out.Total, out.Members, out.Owners = len(a.holdings), a.sorted(), slices.Clone(a.before)
	}
	return out
}
