package broker

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Limits of assigned groups; CodeBadParameter.
const (
	MaxMembers   = 1000                   // of a group
	MaxLabels    = 64                     // of a member
	MaxLabelSize = 4 << 10                // of all labels of a member, bytes
	MinSession   = 100 * time.Millisecond // for which a member may be silent
	MaxSession   = time.Hour
)

// Member is a receiver's place in an assigned group.
type Member struct {
	om.Member
	Strategy string // its name; all members of a group have the same
	Session  time.Duration
	User     string // who it is, for those who look; both may be empty
	Address  string
}

func (m *Member) check(op, queue string) error {
	bad := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, op, queue, format, args...)
	}
	size := 0
	for k, v := range m.Labels {
		size += len(k) + len(v)
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return bad("the label %q of the member %q is not valid UTF-8", k, m.ID)
		}
	}
	switch {
	case m.ID == "" || len(m.ID) > MaxNameLength || !utf8.ValidString(m.ID):
		return bad("the member id %q is not 1 to %d bytes of valid UTF-8", m.ID, MaxNameLength)
	case m.Strategy == "" || len(m.Strategy) > MaxNameLength || !utf8.ValidString(m.Strategy):
		return bad("the strategy's name %q is not 1 to %d bytes of valid UTF-8", m.Strategy, MaxNameLength)
	case len(m.Labels) > MaxLabels || size > MaxLabelSize:
		return bad("the member %q has %d labels of %d bytes; %d of %d are the most", m.ID, len(m.Labels), size, MaxLabels, MaxLabelSize)
	case m.Session < MinSession || m.Session > MaxSession:
		return bad("the session of %v is not in %v to %v", m.Session, MinSession, MaxSession)
	}
	return nil
}

// assigned is the coordination of an assigned group: who is a member, and who
// holds which partition. It lies in memory, as leases do. Queue.mu guards it.
//
// Each change of the members or partitions begins a generation. All members are
// told the same, compute by their strategy what is theirs, and claim that.
// Nothing depends on their agreeing: a partition has one owner at a time, who
// keeps it until he has given it up or is gone; only then it goes to a member that
// claims it in the generation that is on.
type assigned struct {
	strategy   string
	generation int64
	version    uint64 // counts what any member has to be told
	members    map[string]*member
	holdings   []holding // by partition
	before     []string  // owners when the generation began
}

// member is one that is there.
type member struct {
	*Member
	receiver *Receiver
	version  uint64         // of what it is to be told
	news     chan struct{}  // closed when that changes
	claimed  int64          // the generation in which it has claimed
	claims   map[int32]bool // partitions
	serving  []*progress    // partitions that it is given messages of
	last     time.Time      // of the heartbeats
	silent   *time.Timer    // fires when the session may be over
}

// holding is who holds a partition.
type holding struct {
	owner    *member
	since    uint64 // version in which the owner was told
	open     bool   // the owner knows that he has it
	revoking bool   // the owner is to give it up
	told     bool   // and knows that
	last     string // the ID of who holds it, or did
}

// admits refuses a receiver of another kind than the group has.
func (g *group) admits(m *Member) error {
	refuse := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, "bind", g.queue.name, format, args...)
	}
	for r := range g.receivers {
		switch there := r.joined; {
		case m == nil && there != nil:
			return refuse("the group %s is assigned, by the strategy %q; use the same, or another group", g.name, there.Strategy)
		case m != nil && there == nil:
			return refuse("other consumers share the group %s; a member of an assigned group needs another group, or none of them there", g.name)
		case m != nil && m.Strategy != there.Strategy:
			return refuse("other members of the group %s have the strategy %q, not %q; use the same one, or another group", g.name, there.Strategy, m.Strategy)
		}
	}
	if m != nil && g.assigned != nil && len(g.assigned.members) >= MaxMembers && g.assigned.members[m.ID] == nil {
		return refuse("the group %s has %d members, which is the most", g.name, MaxMembers)
	}
	return nil
}

// join makes a receiver a member. An earlier one with its ID is fenced.
func (g *group) join(r *Receiver) {
	if g.assigned == nil || g.assigned.strategy != r.joined.Strategy {
		a := &assigned{strategy: r.joined.Strategy, members: make(map[string]*member), holdings: make([]holding, len(g.parts))}
		if g.assigned != nil {
			a.generation, a.version = g.assigned.generation, g.assigned.version
		}
		g.assigned = a
	}
	a := g.assigned
	if old := a.members[r.joined.ID]; old != nil {
		old.receiver.fenced = true
		old.receiver.end()
	}
	m := &member{Member: r.joined, receiver: r, news: make(chan struct{})}
	m.silent = time.AfterFunc(m.Session, func() { g.expireMember(m) })
	m.beat()
	r.member, a.members[m.ID] = m, m
	a.begin()
}

// begin begins a generation: what was claimed before is void.
func (a *assigned) begin() {
	a.generation++
	a.before = make([]string, len(a.holdings))
	for i := range a.holdings {
		a.before[i] = a.holdings[i].last
	}
	for _, m := range a.members {
		a.tell(m)
	}
}

// tell has a member's heartbeat return.
func (a *assigned) tell(m *member) {
	a.version++
	m.version = a.version
	close(m.news)
	m.news = make(chan struct{})
}

func (m *member) beat() {
	m.last = time.Now()
	m.silent.Reset(m.Session)
}

// expireMember puts a member out that has been silent for too long.
func (g *group) expireMember(m *member) {
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	if m.receiver.member == m && time.Since(m.last) >= m.Session {
		m.receiver.putOut()
	}
}

// putOut ends a receiver's membership: its leases end, counted, and its
// partitions go to others when that is applied.
func (r *Receiver) putOut() (waits []*pending) {
	m, g := r.member, r.group
	if m == nil {
		return nil
	}
	m.silent.Stop()
	waits = r.giveBackAll()
	a := g.assigned
	for i := range a.holdings {
		if s := &a.holdings[i]; s.owner == m {
			*s = holding{last: m.ID}
		}
	}
	r.member, m.serving = nil, nil
	delete(a.members, m.ID)
	close(m.news)
	if len(a.members) > 0 {
		a.begin()
	}
	return waits
}

// grown tells that the queue has more partitions.
func (g *group) grown() {
	if a := g.assigned; a != nil {
		a.holdings = append(a.holdings, make([]holding, len(g.parts)-len(a.holdings))...)
		a.begin()
	}
}

// assign gives a partition that nobody holds to a member that claims it. It waits
// for what is on its way back, so that the next member gets all in order.
func (g *group) assign(p *progress) {
	a := g.assigned
	if a == nil || p.returning > 0 || a.holdings[p.partition].owner != nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(a.members)) {
		if m := a.members[id]; m.claimed == a.generation && m.claims[int32(p.partition)] {
			a.tell(m)
			a.holdings[p.partition] = holding{owner: m, since: m.version, last: m.ID}
			return
		}
	}
}

// claim says which partitions are a member's in the generation that is on.
func (g *group) claim(m *member, claims []int32) {
	a := g.assigned
	m.claimed, m.claims = a.generation, make(map[int32]bool, len(claims))
	for _, p := range claims {
		m.claims[p] = true
	}
	for i, p := range g.parts {
		s := &a.holdings[i]
		switch wanted := m.claims[int32(i)]; {
		case s.owner == m && wanted && s.revoking && !s.told:
			s.revoking = false
			a.tell(m)
		case s.owner == m && !wanted && !s.revoking:
			s.revoking = true
			a.tell(m)
		case s.owner == nil && wanted:
			g.assign(p)
		}
	}
}

// giveUp frees partitions that their owner has finished with. What is unsettled
// is delivered again as if it had never been.
func (g *group) giveUp(m *member, parts []*progress) {
	for id, l := range g.leases {
		if l.receiver == m.receiver && slices.Contains(parts, l.progress) {
			g.drop(id)
			for _, s := range l.left {
				l.progress.again(s.From, s.To)
			}
		}
	}
	for _, p := range parts {
		g.assigned.holdings[p.partition] = holding{last: m.ID}
	}
	for _, p := range parts {
		g.assign(p)
	}
}

// serve lets a member receive from what is open.
func (g *group) serve(m *member) {
	m.serving = nil
	for i, p := range g.parts {
		if s := &g.assigned.holdings[i]; s.owner == m && s.open && !s.revoking {
			m.serving = append(m.serving, p)
		}
	}
	g.wakeForWork()
}

// describe tells of the members of an assigned group.
func (a *assigned) describe(info *om.GroupInfo) {
	if a == nil || len(a.members) == 0 {
		return
	}
	info.Strategy, info.Generation = a.strategy, a.generation
	holds := make(map[*member][]int32)
	for i := range a.holdings {
		if m := a.holdings[i].owner; m != nil {
			holds[m] = append(holds[m], int32(i))
			info.Partitions[i].Owner = m.ID
		}
	}
	for _, m := range a.members {
		info.Members = append(info.Members, om.GroupMember{
			Member: om.Member{ID: m.ID, Labels: maps.Clone(m.Labels)}, Partitions: holds[m], LastHeartbeat: m.last, User: m.User, Address: m.Address,
		})
	}
	slices.SortFunc(info.Members, func(x, y om.GroupMember) int { return cmp.Compare(x.ID, y.ID) })
}

// sorted returns the members as strategies see them.
func (a *assigned) sorted() []om.Member {
	out := make([]om.Member, 0, len(a.members))
	for _, m := range a.members {
		out = append(out, m.Member.Member)
	}
	slices.SortFunc(out, func(x, y om.Member) int { return strings.Compare(x.ID, y.ID) })
	return out
}
