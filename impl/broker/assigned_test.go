package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
)

const testSession = 10 * time.Second

// assignedRun has members of an assigned group come, go, fall silent, lie about
// what is theirs and hand partitions over.
type assignedRun struct {
	*delayRun
	members   []*actor
	strategy  om.AllocationStrategy
	next      []int64          // by partition: the first offset that was not delivered yet
	settled   []map[int64]bool // by partition
	delivered int
	moves     int
}

// actor is a client as anybody would write it.
type actor struct {
	r     *Receiver
	said  Heartbeat
	held  map[int32]bool
	leave map[int32]bool             // of held: to be given up
	hand  map[int32]map[int64]uint64 // leases of what is not settled, by partition and offset
	quiet bool                       // it has fallen silent
}

func (a *actor) isMember() bool {
	a.r.group.queue.mu.Lock()
	defer a.r.group.queue.mu.Unlock()
	return a.r.member != nil
}

func (a *actor) isFenced() bool {
	a.r.group.queue.mu.Lock()
	defer a.r.group.queue.mu.Unlock()
	return a.r.fenced
}

// TestAssignedAgreesWithModel: never do two members hold one partition, messages
// of a partition come in order, except those that were delivered and not settled,
// nothing is lost, and after quiet every partition has an owner (R140 to R143).
func TestAssignedAgreesWithModel(t *testing.T) {
	histories(t, store.Options{}, lengths{200, 600}, lengths{30, 90}, runAssigned)
}

func runAssigned(in *delayRun) {
	r := &assignedRun{delayRun: in}
	r.strategy = []om.AllocationStrategy{allocation.Sticky(), allocation.Average(), allocation.ConsistentHash()}[r.pick(3)]
	b, err := Open(r.cfg)
	r.ok(err)
	r.b = b
	r.ok(b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: 3}))
	r.q, err = b.Queue("test", "q")
	r.ok(err)
	r.grow(3)
	for len(r.choices) > 0 {
		r.step()
		r.check()
	}
	r.finish()
}

func (r *assignedRun) grow(total int) {
	for len(r.next) < total {
		r.next, r.settled = append(r.next, 0), append(r.settled, map[int64]bool{})
	}
}

func (r *assignedRun) step() {
	if len(r.members) == 0 {
		r.join()
		return
	}
	a := r.members[r.pick(len(r.members))]
	switch op := r.pick(32); {
	case op < 2:
		r.join()
	case op == 2:
		r.ok(a.r.Close(context.Background()))
		r.members = slices.DeleteFunc(r.members, func(b *actor) bool { return a == b })
	case op == 3:
		a.quiet = true
	case op == 4:
		r.pass([]time.Duration{time.Second, testSession / 2, testSession + time.Second}[r.pick(3)])
	case op == 5 && len(r.next) < 12:
		r.grow(len(r.next) + 1 + r.pick(3))
		r.ok(r.b.AddPartitions(context.Background(), "q", len(r.next)))
	case op == 6: // it claims what it likes
		a.said.Claims = nil
		for p := range r.next {
			if r.pick(2) == 0 {
				a.said.Claims = append(a.said.Claims, int32(p))
			}
		}
		r.beat(a)
	case op < 12:
		r.publish()
	case op < 20:
		r.beat(a)
	case op < 26:
		r.receive(a)
	default:
		r.ack(a)
	}
}

// pass lets time pass in which those that are not silent send heartbeats.
func (r *assignedRun) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Until(end), testSession/4))
		for _, a := range r.members {
			r.beat(a)
		}
	}
}

func (r *assignedRun) join() {
	m := &Member{Member: om.Member{ID: fmt.Sprint("m", r.pick(5))}, Strategy: r.strategy.Name(), Session: testSession}
	c, err := r.b.NewReceiver(context.Background(), ReceiverConfig{Queue: "q", Group: "g", Start: om.Begin(), Lease: time.Hour, Member: m})
	r.ok(err)
	for i, a := range r.members {
		if a.r.joined.ID == m.ID && a.isFenced() { // the later one has taken over
			r.members = slices.Delete(r.members, i, i+1)
			if _, err := a.r.Heartbeat(context.Background(), Heartbeat{}); !errors.Is(err, om.CodeMemberFenced) {
				r.failf("the heartbeat of a fenced member: %v", err)
			}
			break
		}
	}
	r.members = append(r.members, &actor{r: c, held: map[int32]bool{}, leave: map[int32]bool{}, hand: map[int32]map[int64]uint64{}})
}

func (r *assignedRun) publish() {
	partition := int32(r.pick(len(r.next)))
	for range 1 + r.pick(20) {
		a := chunkOf(r.q, r.sequence, "")
		r.sequence++
		a.Partition = partition
		as := []Append{a}
		r.ok(errors.Join(r.b.Publish(context.Background(), as), as[0].Err))
	}
}

// beat is a heartbeat that waits for a millisecond.
func (r *assignedRun) beat(a *actor) {
	if a.quiet {
		return
	}
	for p := range a.leave {
		if len(a.hand[p]) == 0 || r.pick(4) == 0 { // what is in hand goes back
			delete(a.held, p)
			delete(a.hand, p)
			r.moves++
		}
	}
	a.said.Held = slices.Sorted(maps.Keys(a.held))
	maps.DeleteFunc(a.leave, func(p int32, _ bool) bool { return !a.held[p] })
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	was := a.isMember()
	got, err := a.r.Heartbeat(ctx, a.said)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return
	case errors.Is(err, om.CodeMemberExpired):
		if was {
			r.failf("a member that is there has expired: %v", err)
		}
		a.said = Heartbeat{}
		clear(a.held)
		clear(a.leave)
		clear(a.hand)
		return
	}
	r.ok(err)
	a.said.Version = got.Version
	for p := range a.held {
		if !slices.Contains(got.Partitions, p) {
			a.leave[p] = true
		}
	}
	for _, p := range got.Partitions {
		if !a.held[p] {
			a.held[p] = true
		}
	}
	if got.Generation == a.said.Generation {
		return
	}
	owners, err := r.strategy.Allocate(om.AllocationRequest{Queue: "q", Partitions: got.Total, Members: got.Members, Owners: got.Owners})
	r.ok(err)
	a.said.Generation, a.said.Claims = got.Generation, nil
	for p, id := range owners {
		if id == a.r.joined.ID {
			a.said.Claims = append(a.said.Claims, int32(p))
		}
	}
}

// receive checks that a member gets what it holds, and each message when all
// before it in the partition is settled or in its own hand.
func (r *assignedRun) receive(a *actor) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	spans, err := a.r.Receive(ctx, 1+r.pick(4))
	if ctx.Err() == nil {
		r.ok(err)
	}
	for _, s := range spans {
		if !a.held[s.Partition] || a.leave[s.Partition] {
			r.failf("%s got a message of partition %d, which it does not hold", a.r.joined.ID, s.Partition)
		}
		hand := a.hand[s.Partition]
		if hand == nil {
			hand = map[int64]uint64{}
			a.hand[s.Partition] = hand
		}
		for at := s.Base; at < s.Base+int64(s.Count); at++ {
			r.delivered++
			if at > r.next[s.Partition] || r.settled[s.Partition][at] {
				r.failf("partition %d: %d is delivered after %d", s.Partition, at, r.next[s.Partition]-1)
			}
			for before := range at {
				if _, own := hand[before]; !own && !r.settled[s.Partition][before] {
					r.failf("partition %d: %s got %d, and %d is neither settled nor in its hand", s.Partition, a.r.joined.ID, at, before)
				}
			}
			r.next[s.Partition] = max(r.next[s.Partition], at+1)
			hand[at] = s.Lease
		}
	}
}

// ack settles the first message that is in hand.
func (r *assignedRun) ack(a *actor) {
	for _, p := range slices.Sorted(maps.Keys(a.hand)) {
		if len(a.hand[p]) == 0 {
			continue
		}
		at := slices.Min(slices.Collect(maps.Keys(a.hand[p])))
		errs, err := a.r.Ack(context.Background(), []Receipts{{p, a.hand[p][at], at, at + 1}})
		r.ok(err)
		delete(a.hand[p], at)
		switch there := a.isMember(); {
		case !there && errs == nil && !r.settled[p][at]:
			r.failf("a member that was put out settles %d/%d", p, at)
		case !there:
		case errs != nil:
			r.failf("the ack of a member: %v", errs)
		default:
			r.settled[p][at] = true
		}
		return
	}
}

// check looks for a partition that two members hold.
func (r *assignedRun) check() {
	owner := map[int32]string{}
	for _, a := range r.members {
		if !a.isMember() {
			continue // it was put out and need not know
		}
		for p := range a.held {
			if other, taken := owner[p]; taken {
				r.failf("%s and %s hold partition %d", other, a.r.joined.ID, p)
			}
			owner[p] = a.r.joined.ID
		}
	}
}

// finish lets the silent ones be put out, and the others come to rest and settle
// all.
func (r *assignedRun) finish() {
	r.join()
	r.members[len(r.members)-1].quiet = false
	r.pass(2 * testSession)
	for quiet := 0; quiet < 10; quiet++ {
		before := r.delivered
		for _, a := range r.members {
			r.beat(a)
			r.receive(a)
			for range 100 {
				r.ack(a)
			}
		}
		r.check()
		if r.delivered > before {
			quiet = 0
		}
	}
	info := r.q.Groups()[0]
	for _, p := range info.Partitions {
		if p.Owner == "" || p.Lag != 0 {
			r.failf("partition %d: owner %q, %d are not settled", p.Partition, p.Owner, p.Lag)
		}
	}
	for p, n := range r.next {
		if end := r.q.PartitionInfos()[p].End; n != end {
			r.failf("partition %d: %d of %d were delivered", p, n, end)
		}
	}
}

// TestR140_claims: a claim in a generation that is over has no effect, and of two
// that claim the same partition the second waits until the first has given it up.
func TestR140_claims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		must(t, b.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 2}))
		q, _ := b.Queue("test", "q")
		member := func(id string) *Receiver {
			r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour, Member: &Member{Member: om.Member{ID: id}, Strategy: "s", Session: time.Minute}})
			must(t, err)
			return r
		}
		beat := func(r *Receiver, h Heartbeat) (got Membership) {
			t.Helper()
			got, err := r.Heartbeat(ctx, h)
			must(t, err)
			return got
		}
		owners := func(want string) {
			t.Helper()
			got := ""
			for _, p := range q.Groups()[0].Partitions {
				got += "," + p.Owner
			}
			if got[1:] != want {
				t.Fatalf("the owners are %q, want %q", got[1:], want)
			}
		}
		r1 := member("a")
		first := beat(r1, Heartbeat{})
		r2 := member("b")
		beat(r1, Heartbeat{Generation: first.Generation, Claims: []int32{0, 1}})
		owners(",")
		second := beat(r2, Heartbeat{})
		if second.Generation == first.Generation || len(second.Members) != 2 {
			t.Fatalf("%+v after %+v", second, first)
		}
		beat(r2, Heartbeat{Generation: second.Generation, Claims: []int32{0}})
		owners("b,")
		beat(r1, Heartbeat{Generation: second.Generation, Claims: []int32{0, 1}})
		owners("b,a")
		told := beat(r2, Heartbeat{Generation: second.Generation, Claims: []int32{0}, Held: []int32{0}})
		beat(r2, Heartbeat{Version: told.Version, Generation: second.Generation, Held: nil})
		owners("a,a")
	})
}

// TestR141_goesBackFirst: a partition whose messages are on their way back is
// nobody's until they are there.
func TestR141_goesBackFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var hold atomic.Pointer[chan struct{}]
		b, err := Open(Config{Store: store.Options{Memory: true}, Logger: slog.New(slog.DiscardHandler), OnCommit: func(int, time.Duration) {
			if c := hold.Load(); c != nil {
				<-*c
			}
		}})
		must(t, err)
		defer b.Close()
		must(t, b.CreateQueue(ctx, om.QueueConfig{Name: "q"}))
		q, _ := b.Queue("test", "q")
		as := []Append{chunkOf(q, 0, "0"), chunkOf(q, 1, "1")}
		must(t, b.Publish(ctx, as))
		member := func(id string) (*Receiver, Membership) {
			r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Start: om.Begin(), Lease: time.Hour, Member: &Member{Member: om.Member{ID: id}, Strategy: "s", Session: time.Minute}})
			must(t, err)
			got, err := r.Heartbeat(ctx, Heartbeat{})
			must(t, err)
			return r, got
		}
		beat := func(r *Receiver, h Heartbeat) Membership {
			got, err := r.Heartbeat(ctx, h)
			must(t, err)
			return got
		}
		first, told := member("a")
		told = beat(first, Heartbeat{Generation: told.Generation, Claims: []int32{0}})
		beat(first, Heartbeat{Generation: told.Generation, Claims: []int32{0}, Held: []int32{0}})
		spans, err := first.Receive(ctx, 1)
		must(t, err)
		second, _ := member("b")
		stop := make(chan struct{})
		hold.Store(&stop)
		sent := make(chan error, 1)
		go func() { sent <- b.Publish(ctx, []Append{chunkOf(q, 2, "2")}) }()
		synctest.Wait() // the committer waits
		closed := make(chan error, 1)
		go func() { closed <- first.Close(ctx) }()
		synctest.Wait()
		told = beat(second, Heartbeat{})
		told = beat(second, Heartbeat{Version: told.Version, Generation: told.Generation, Claims: []int32{0}})
		if len(told.Partitions) > 0 {
			t.Error("the partition has another owner before its message is back")
		}
		hold.Store(nil)
		close(stop)
		must(t, errors.Join(<-sent, <-closed))
		told = beat(second, Heartbeat{Version: told.Version, Generation: told.Generation, Claims: []int32{0}})
		beat(second, Heartbeat{Generation: told.Generation, Claims: []int32{0}, Held: []int32{0}})
		again, err := second.Receive(ctx, 1)
		must(t, err)
		if again[0].Base != spans[0].Base || again[0].Delivery != 2 {
			t.Errorf("after %+v comes %+v", spans[0], again[0])
		}
	})
}
