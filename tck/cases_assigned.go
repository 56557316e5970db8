package tck

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/spi"
)

var assignedCases = table{
	"R140": assignedOneOwner,
	"R141": assignedInOrder,
	"R142": assignedDeadMember,
	"R143": assignedFenced,
	"R144": assignedStrategies,
	"R145": assignedMixedRefused,
	"R146": assignedDescribed,
}

// team is the members of an assigned group of one queue, and what happens to
// them.
type team struct {
	*trial
	queue    string
	strategy om.AllocationStrategy
	took     time.Duration // of each handler

	events  *log // one for each change of owners and each message
	mu      sync.Mutex
	owners  map[int32]string
	working map[int32]string
	bodies  map[int32][]string // handled, by partition
}

func (t *trial) team(queue string, s om.AllocationStrategy) *team {
	return &team{trial: t, queue: queue, strategy: s, events: newLog(), owners: map[int32]string{}, working: map[int32]string{}, bodies: map[int32][]string{}}
}

// member starts a member.
func (m *team) member(id string, opts ...om.ConsumerOption) om.PushConsumer {
	listener := om.RebalanceListener{
		Assigned: func(_ string, ps []int32) { m.owns(id, ps) },
		Revoked:  func(_ string, ps []int32) { m.disowns(id, ps) },
	}
	c := m.Push(append([]om.ConsumerOption{om.WithAllocation(m.strategy), om.WithMember(id, nil), om.WithRebalanceListener(listener), om.WithConcurrency(4)}, opts...)...)
	m.NoError(c.Bind(m.ctx, func(_ context.Context, d *om.Delivery) error { return m.handle(id, d) }, m.queue), "bind the member %s", id)
	return c
}

func (m *team) owns(id string, ps []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range ps {
		if other := m.owners[p]; other != "" {
			m.Errorf("partition %d is given to %s, and %s has it", p, id, other)
		}
		m.owners[p] = id
	}
	m.events.add(fmt.Sprintf("%s has %v", id, ps))
}

func (m *team) disowns(id string, ps []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range ps {
		if m.working[p] == id {
			m.Errorf("%s handles a message of partition %d while that is taken away", id, p)
		}
		if m.owners[p] == id {
			delete(m.owners, p)
		}
	}
	m.events.add(fmt.Sprintf("%s has not %v", id, ps))
}

func (m *team) handle(id string, d *om.Delivery) error {
	m.mu.Lock()
	if owner := m.owners[d.Partition]; owner != id {
		m.Errorf("%s handles a message of partition %d, which belongs to %q", id, d.Partition, owner)
	}
	if other := m.working[d.Partition]; other != "" {
		m.Errorf("%s handles a message of partition %d, and %s handles another one", id, d.Partition, other)
	}
	m.working[d.Partition] = id
	m.mu.Unlock()
	m.pause(m.took)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working[d.Partition] == id {
		delete(m.working, d.Partition)
	}
	m.bodies[d.Partition] = append(m.bodies[d.Partition], string(d.Body))
	m.events.add(id + " handled " + string(d.Body))
	return nil
}

// wants waits until the owners are those.
func (m *team) wants(what string, owners ...string) {
	m.until(what, func() bool {
		for p, id := range owners {
			if m.owners[int32(p)] != id {
				return false
			}
		}
		return true
	})
}

// until waits for a state of the team.
func (m *team) until(what string, is func() bool) {
	deadline := time.NewTimer(m.Arrive)
	defer deadline.Stop()
	for {
		m.events.mu.Lock()
		changed := m.events.changed
		m.events.mu.Unlock()
		m.mu.Lock()
		reached, owners := is(), maps.Clone(m.owners)
		m.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			m.Fatalf("%s: not within %v; the partitions belong to %v", what, m.Arrive, owners)
		}
	}
}

// send sends messages with ascending numbers to each partition.
func (m *team) send(p om.Producer, partitions, from, to int) {
	for i := from; i < to; i++ {
		for n := range partitions {
			msg := message(m.queue, fmt.Sprint(i))
			msg.Ext.Partition = om.Some(int32(n))
			m.Send(p, msg)
		}
	}
}

// handled waits until that many messages of each partition are handled.
func (m *team) handled(partitions, each int) {
	m.until(fmt.Sprintf("%d messages of %d partitions", each, partitions), func() bool {
		for n := range partitions {
			if len(m.bodies[int32(n)]) < each {
				return false
			}
		}
		return true
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range partitions {
		equalLists(m.trial, fmt.Sprintf("messages of partition %d, as they were handled", n), m.bodies[int32(n)], numbered(each))
	}
}

func assignedOneOwner(t *trial) {
	m := t.team(t.QueueOf(4), allocation.AverageByCircle())
	m.member("a")
	m.wants("one member has all", "a", "a", "a", "a")
	m.member("b")
	m.wants("two members have half each", "a", "b", "a", "b")
	m.send(t.Producer(), 4, 0, 5)
	m.handled(4, 5)
	if t.Has(om.CapAddPartitions) {
		t.NoError(t.AP().Resources().AddPartitions(t.ctx, m.queue, 6), "give the queue 6 partitions")
		m.wants("added partitions", "a", "b", "a", "b", "a", "b")
	}
}

func assignedInOrder(t *trial) {
	const partitions, each = 4, 120
	m := t.team(t.QueueOf(partitions), allocation.Average())
	m.took = 2 * time.Millisecond
	p := t.Producer()
	m.send(p, partitions, 0, each/2)
	a := m.member("a")
	m.until("the first messages", func() bool { return len(m.bodies[0]) > 5 })
	m.member("b")
	m.wants("two members", "a", "a", "b", "b")
	m.send(p, partitions, each/2, each)
	c := m.member("c")
	m.wants("three members", "a", "a", "b", "c")
	t.NoError(a.Close(t.ctx), "close the first member")
	m.wants("after the first has gone", "b", "b", "c", "c")
	t.NoError(c.Unbind(t.ctx, m.queue), "unbind the third")
	m.wants("after the third has gone", "b", "b", "b", "b")
	m.handled(partitions, each)
}

// rawMember is a receiver of the driver in an assigned group, with its
// heartbeats in the case's hand.
type rawMember struct {
	*trial
	receiver spi.Receiver
	assignee spi.Assignee
	held     []int32
}

func (t *trial) rawMember(conn spi.Conn, queue, id string, session time.Duration) *rawMember {
	cfg := receiverConfig(queue, t.Case)
	cfg.Member = &spi.MemberConfig{Member: om.Member{ID: id}, Strategy: allocation.Average(), Session: session}
	r, err := conn.NewReceiver(t.ctx, cfg)
	t.NoError(err, "new member of the driver")
	t.Cleanup(func(ctx context.Context) { _ = r.Close(ctx) })
	a, ok := spi.As[spi.Assignee](r)
	if !ok {
		t.Fatalf("the receiver of a driver with the capability %s is no Assignee", om.CapAssigned)
	}
	return &rawMember{trial: t, receiver: r, assignee: a}
}

// hold sends heartbeats until the member holds so many partitions.
func (r *rawMember) hold(n int) {
	ctx, cancel := r.within(r.Arrive)
	defer cancel()
	for confirmed := -1; confirmed != n; {
		a, err := r.assignee.Heartbeat(ctx, r.held)
		if is(err, context.DeadlineExceeded) {
			r.Fatalf("a member holds %v, and not %d partitions within %v", r.held, n, r.Arrive)
		}
		r.NoError(err, "heartbeat")
		if slices.Equal(a.Partitions, r.held) {
			confirmed = len(r.held)
		}
		r.held = a.Partitions
	}
}

func (r *rawMember) receive() spi.Received {
	ctx, cancel := r.within(r.Arrive)
	defer cancel()
	got, err := r.receiver.Receive(ctx, 1)
	r.NoError(err, "receive as a member")
	return got[0]
}

// stale checks that acknowledging as a member is refused.
func (r *rawMember) stale(what string, d spi.Received, want om.Code) {
	errs, err := r.receiver.Ack(r.ctx, []spi.Receipt{d.Receipt})
	if err == nil && len(errs) == 1 {
		err = errs[0]
	}
	r.Is(err, what, want)
}

func assignedDeadMember(t *trial) {
	q := t.QueueOf(2)
	session := max(2*t.Lease, time.Second)
	conn := t.openRaw()
	dead := t.rawMember(conn, q, "dead", session)
	dead.hold(2)
	first := t.Send(t.Producer(), message(q, "0"))
	got := dead.receive()
	lives := t.rawMember(conn, q, "lives", session)
	lives.hold(2)
	again := lives.receive()
	equal(t, "the message that a dead member had", again.Message.MessageID, first.MessageID)
	dead.stale("an ack of a member that was put out", got, om.CodeStaleReceipt)
	_, err := dead.assignee.Heartbeat(t.ctx, dead.held)
	t.Is(err, "the heartbeat of a member that was put out", om.CodeMemberExpired)
	errs, err := lives.receiver.Ack(t.ctx, []spi.Receipt{again.Receipt})
	t.NoError(err, "ack")
	equal(t, "errors of the ack", len(errs), 0)
	dead.held = nil
	_, err = dead.assignee.Heartbeat(t.ctx, nil)
	t.NoError(err, "join again")
	lives.hold(1)
	dead.hold(1)
}

func assignedFenced(t *trial) {
	q := t.QueueOf(2)
	conn := t.openRaw()
	session := t.Arrive / 2
	first := t.rawMember(conn, q, "same", session)
	first.hold(2)
	t.Send(t.Producer(), message(q, "0"))
	got := first.receive()
	second := t.rawMember(t.openRaw(), q, "same", session)
	second.hold(2)
	again := second.receive()
	equal(t, "the message that the first one had", again.Message.MessageID, got.Message.MessageID)
	first.stale("an ack of a member that was fenced", got, om.CodeMemberFenced)
	_, err := first.assignee.Heartbeat(t.ctx, first.held)
	t.Is(err, "a heartbeat of a member that was fenced", om.CodeMemberFenced)
	_, err = first.receiver.Receive(t.ctx, 1)
	t.Is(err, "receiving as a member that was fenced", om.CodeMemberFenced)
	second.hold(2)
}

// ownStrategy gives everything to the member with the last id.
type ownStrategy struct{}

func (ownStrategy) Name() string { return "tck" }

func (ownStrategy) Allocate(r om.AllocationRequest) ([]string, error) {
	last := ""
	for _, m := range r.Members {
		last = max(last, m.ID)
	}
	return slices.Repeat([]string{last}, r.Partitions), nil
}

func assignedStrategies(t *trial) {
	room := func(p int) string { return string("yx"[p/4]) + "-room" }
	for _, c := range []struct {
		strategy     om.AllocationStrategy
		two, one     string // owners while a and b are there, and after a has gone
		remembers    bool   // who has something keeps it
		onePartition int
	}{
		{strategy: allocation.Average(), two: "aaabb", one: "bbbbb"},
		{strategy: allocation.AverageByCircle(), two: "ababa", one: "bbbbb"},
		{strategy: allocation.Configured(map[string][]int{"a": {1}, "b": {0, 2, 3, 4}}), two: "babbb", one: "b.bbb"},
		{strategy: allocation.MachineRoom("room", room, allocation.Average()), two: "bbbba", one: "bbbbb"},
		{strategy: ownStrategy{}, two: "bbbbb", one: "bbbbb"},
		{strategy: allocation.Sticky(), remembers: true},
	} {
		m := t.team(t.QueueOf(5), c.strategy)
		a := m.member("a", om.WithMember("a", map[string]string{"room": "x-room"}))
		if c.remembers {
			m.wants(c.strategy.Name()+", one member", "a", "a", "a", "a", "a")
		}
		m.member("b", om.WithMember("b", map[string]string{"room": "y-room"}))
		if c.remembers { // a keeps three, whichever
			m.wants(c.strategy.Name()+", two members", "a", "a", "a", "b", "b")
		} else {
			m.wants(c.strategy.Name()+", two members", owners(c.two)...)
		}
		t.NoError(a.Close(t.ctx), "close a member")
		if c.one != "" {
			m.wants(c.strategy.Name()+", one member", owners(c.one)...)
		}
		if c.remembers { // who comes new takes no more than it must from who was there, although its id is first
			m.wants(c.strategy.Name()+", one member", "b", "b", "b", "b", "b")
			m.member("a")
			m.wants(c.strategy.Name()+", two members again", "b", "b", "b", "a", "a")
		}
	}
}

// owners spells out owners with one letter each, a dot for nobody.
func owners(s string) (out []string) {
	for _, c := range s {
		if c == '.' {
			out = append(out, "")
		} else {
			out = append(out, string(c))
		}
	}
	return out
}

func assignedMixedRefused(t *trial) {
	q := t.Queue()
	assigned := om.WithAllocation(allocation.Average())
	try := func(opts ...om.ConsumerOption) (om.PullConsumer, error) {
		c := t.Pull(nil, opts...)
		return c, c.Bind(t.ctx, q)
	}
	member := t.Pull([]string{q}, assigned)
	_, err := try()
	t.Is(err, "to share an assigned group", om.CodeBadParameter)
	_, err = try(om.WithAllocation(allocation.Sticky()))
	t.Is(err, "a member with another strategy", om.CodeBadParameter)
	_, err = try(assigned)
	t.NoError(err, "another member")
	shares, err := try(om.WithGroup("shared"))
	t.NoError(err, "to share another group")
	_, err = try(om.WithGroup("shared"), assigned)
	t.Is(err, "a member of a shared group", om.CodeBadParameter)
	t.NoError(shares.Close(t.ctx), "close who shares")
	_, err = try(om.WithGroup("shared"), om.WithAllocation(allocation.Sticky()))
	t.NoError(err, "a member when nobody shares the group any more")
	t.Send(t.Producer(), message(q, "0"))
	_ = member
}

func assignedDescribed(t *trial) {
	m := t.team(t.QueueOf(3), allocation.Average())
	since := time.Now().Add(-time.Minute)
	m.member("a", om.WithMember("a", map[string]string{"rack": "1"}))
	m.member("b")
	m.wants("two members", "a", "a", "b")
	infos, err := t.AP().Resources().Groups(t.ctx, m.queue)
	t.NoError(err, "list groups")
	if len(infos) != 1 {
		t.Fatalf("%d groups are listed, want 1", len(infos))
	}
	g := infos[0]
	equal(t, "the group's strategy", g.Strategy, "average")
	if g.Generation < 2 {
		t.Errorf("the group's generation is %d, and two members have come", g.Generation)
	}
	var of []string
	for _, p := range g.Partitions {
		of = append(of, p.Owner)
	}
	equalLists(t, "owners of the partitions", of, []string{"a", "a", "b"})
	if len(g.Members) != 2 {
		t.Fatalf("%d members are listed, want 2", len(g.Members))
	}
	for i, id := range []string{"a", "b"} {
		equal(t, "a member's id", g.Members[i].ID, id)
		if beat := g.Members[i].LastHeartbeat; beat.Before(since) || beat.After(time.Now().Add(time.Minute)) {
			t.Errorf("the last heartbeat of %s is said to be at %v", id, beat)
		}
	}
	equal(t, "a label", g.Members[0].Labels["rack"], "1")
	equalLists(t, "partitions of the first member", g.Members[0].Partitions, []int32{0, 1})
	equalLists(t, "partitions of the second member", g.Members[1].Partitions, []int32{2})
}
