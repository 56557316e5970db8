package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// coordination is what makes a group an assigned one. The strategy of one of the
// members decides for all.
type coordination struct {
	generation int64
	members    map[string]*receiver // by id
	owners     map[int32]*receiver  // who has a partition until it gives it up
	had        []string             // the ids of those who had them last
	target     []string             // who is to have them
	err        error                // of the strategy
}

// membership is a receiver's part in it.
type membership struct {
	config *spi.MemberConfig // nil for one that shares the group
	open   map[int32]bool    // partitions that it knows to be its own
	told   []int32           // what it is to have, as it was told last
	age    int64             // the generation of that
	heard  time.Time         // of the last heartbeat
}

// admits refuses a receiver of another kind than the others.
func (g *group) admits(op string, m *spi.MemberConfig) error {
	for r := range g.receivers {
		if there := r.config; (m == nil) != (there == nil) || m != nil && m.Strategy.Name() != there.Strategy.Name() {
			return om.NewError(om.CodeBadParameter, op, g.q.config.Name, "the group %s has consumers of another kind: shared, assigned, or with another strategy; use another group", g.name)
		}
	}
	return nil
}

// join makes a receiver a member; an earlier one with its id is fenced.
func (g *group) join(r *receiver) {
	if g.members == nil {
		g.members, g.owners = map[string]*receiver{}, map[int32]*receiver{}
	}
	id := r.config.ID
	if old := g.members[id]; old != nil {
		old.shut(&ending{om.CodeMemberFenced, "another member has come with this id; stop this one, or give it another id"})
	}
	g.members[id] = r
	r.open, r.told, r.age = map[int32]bool{}, nil, 0
	g.heard(r)
	g.allocate()
}

// heard puts a member out that is not heard again within its session.
func (g *group) heard(r *receiver) {
	now := time.Now()
	r.heard = now
	g.q.s.at(now.Add(r.config.Session), func() {
		if r.heard.Equal(now) && r.isMember() {
			r.leave()
		}
	})
}

func (r *receiver) isMember() bool { return r.config != nil && r.group.members[r.config.ID] == r }

// leave ends a membership: what is unsettled goes back, counted.
func (r *receiver) leave() {
	g := r.group
	r.giveBackAll()
	delete(g.members, r.config.ID)
	maps.DeleteFunc(g.owners, func(_ int32, owner *receiver) bool { return owner == r })
	g.allocate()
}

// allocate begins a generation.
func (g *group) allocate() {
	if len(g.members) == 0 {
		return
	}
	g.generation++
	q := om.AllocationRequest{Queue: g.q.config.Name, Partitions: len(g.parts), Owners: slices.Clone(g.had)}
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		q.Members = append(q.Members, g.members[id].config.Member)
	}
	target, err := g.members[q.Members[0].ID].config.Strategy.Allocate(q)
	if err == nil {
		err = q.CheckResult(target)
	}
	if g.err = err; err == nil {
		g.target = target
	}
	g.q.s.wake()
}

// assign gives partitions that nobody has to who is to have them.
func (g *group) assign() {
	for len(g.had) < len(g.parts) {
		g.had = append(g.had, "")
	}
	for n := range min(len(g.target), len(g.parts)) {
		p := int32(n)
		if r := g.members[g.target[n]]; r != nil && g.owners[p] == nil {
			g.owners[p], g.had[n] = r, g.target[n]
			g.q.s.wake()
		}
	}
}

// serves reports whether a receiver gets messages of a partition.
func (r *receiver) serves(n int) bool {
	p := int32(n)
	return r.config == nil || r.isMember() && r.open[p] && r.group.isToHave(r, n)
}

// isToHave reports whether a member has a partition and is to keep it.
func (g *group) isToHave(r *receiver, n int) bool {
	return g.owners[int32(n)] == r && n < len(g.target) && g.target[n] == r.config.ID
}

// Heartbeat implements spi.Assignee.
func (r *receiver) Heartbeat(ctx context.Context, held []int32) (a spi.Assignment, err error) {
	const op = "heartbeat"
	if err := r.begin(ctx, om.CapAssigned, op); err != nil {
		return a, err
	}
	gaveUp, err := r.hear(held)
	if err != nil {
		r.conn.s.mu.Unlock()
		return a, err
	}
	end := time.Now().Add(r.config.Session / 3)
	r.conn.s.at(end, func() {})
	r.conn.s.mu.Unlock()
	err = r.conn.s.enter(ctx, &r.life, op, r.queue, func() bool {
		if !r.isMember() {
			return true
		}
		a = spi.Assignment{Generation: r.group.generation, Partitions: r.wanted()}
		return gaveUp || a.Generation != r.age || !slices.Equal(a.Partitions, r.told) || !time.Now().Before(end)
	})
	if err != nil {
		return spi.Assignment{}, err
	}
	defer r.conn.s.mu.Unlock()
	if !r.isMember() {
		return spi.Assignment{}, r.expired()
	}
	r.group.heard(r)
	if first := r.age != a.Generation; first && r.group.err != nil {
		r.age = a.Generation
		return spi.Assignment{}, r.group.err
	}
	r.told, r.age = a.Partitions, a.Generation
	return a, nil
}

// hear takes in what a member says that it holds.
func (r *receiver) hear(held []int32) (gaveUp bool, err error) {
	g := r.group
	switch {
	case r.config == nil:
		return false, om.NewError(om.CodeBadParameter, "heartbeat", r.queue, "the receiver is no member of an assigned group")
	case !r.isMember() && len(held) > 0:
		return false, r.expired()
	case !r.isMember():
		if err := g.admits("heartbeat", r.config); err != nil {
			return false, err
		}
		g.join(r)
	}
	g.heard(r)
	for _, p := range held {
		if g.owners[p] != r {
			r.leave()
			return false, r.expired()
		}
	}
	for p, owner := range g.owners {
		switch {
		case owner != r:
		case slices.Contains(held, p):
			r.open[p] = true
		case r.open[p] || slices.Contains(r.told, p):
			g.giveUp(r, p)
			gaveUp = true
		}
	}
	g.assign()
	g.q.s.wake()
	return gaveUp, nil
}

// giveUp frees a partition: what is unsettled goes back as if it had never been
// delivered.
func (g *group) giveUp(r *receiver, p int32) {
	for _, st := range g.parts[p].states {
		if st.lease != nil && st.lease.r == r {
			st.lease = nil
			st.deliveries--
		}
	}
	delete(g.owners, p)
	delete(r.open, p)
	r.told = slices.DeleteFunc(slices.Clone(r.told), func(q int32) bool { return p == q })
}

// wanted is what a member is to hold.
func (r *receiver) wanted() (out []int32) {
	g := r.group
	g.assign()
	for n := range g.parts {
		if g.isToHave(r, n) {
			out = append(out, int32(n))
		}
	}
	return out
}

func (r *receiver) expired() error {
	return om.NewError(om.CodeMemberExpired, "heartbeat", r.queue, "the member was silent for longer than its session: its partitions go to others; it joins again with nothing held")
}

// describe tells of the members.
func (g *group) describe(info *om.GroupInfo) {
	if len(g.members) == 0 {
		return
	}
	info.Generation = g.generation
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		r := g.members[id]
		info.Strategy = r.config.Strategy.Name()
		m := om.GroupMember{Member: om.Member{ID: id, Labels: maps.Clone(r.config.Labels)}, LastHeartbeat: r.heard}
		for n := range g.parts {
			if g.owners[int32(n)] == r {
				m.Partitions = append(m.Partitions, int32(n))
				info.Partitions[n].Owner = id
			}
		}
		info.Members = append(info.Members, m)
	}
}
