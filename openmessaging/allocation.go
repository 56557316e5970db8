package openmessaging

import (
	"maps"
	"time"
)

// AllocationStrategy says which member of an assigned group gets which
// partitions of a queue. Package allocation has strategies; one's own implements
// the interface. Its methods may be called concurrently.
//
// It runs in every member on the same request and must come to the same result
// in each of them, so it reads no clock, no random source and no state of the
// process. Should members disagree in spite of that, a partition stays with one
// member at a time: a provider gives it to no second one.
type AllocationStrategy interface {
	// Name identifies the strategy: all members of a group must use the same.
	Name() string
	// Allocate returns the ID of the member that gets each partition, "" for
	// nobody; the slice belongs to the caller. The same request must give the
	// same result in every process. After an error everybody keeps what he has.
	Allocate(r AllocationRequest) ([]string, error)
}

// Member is one consumer of an assigned group.
type Member struct {
	ID     string // unique in the group, not empty, at most 255 bytes
	Labels map[string]string
}

// AllocationRequest is what there is to allocate. A strategy must not change it.
type AllocationRequest struct {
	Queue      string   // "namespace://queue"
	Partitions int      // of the queue, from 1; they are numbered from 0
	Members    []Member // in any order; at least one
	// Owners holds the ID of the member that each partition had before, "" for
	// none. It is shorter than Partitions after some were added, and empty in a
	// new group. It may name members that are gone.
	Owners []string
}

// Check refuses a request that cannot be allocated: without members or
// partitions, with more owners than partitions, or with an ID that is empty or
// there twice. The error is CodeBadParameter.
func (r AllocationRequest) Check() error {
	switch {
	case r.Partitions < 1:
		return r.Refuse("there are %d partitions, it takes one at least", r.Partitions)
	case len(r.Owners) > r.Partitions:
		return r.Refuse("%d partitions had owners, and there are %d", len(r.Owners), r.Partitions)
	case len(r.Members) == 0:
		return r.Refuse("there are no members")
	}
	seen := make(map[string]bool, len(r.Members))
	for _, m := range r.Members {
		if m.ID == "" || seen[m.ID] {
			return r.Refuse("the member id %q is empty or there twice", m.ID)
		}
		seen[m.ID] = true
	}
	return nil
}

// CheckResult refuses what a strategy must not return for the request: a slice
// of another length than there are partitions, or the ID of nobody that is a
// member. The error is CodeBadParameter.
func (r AllocationRequest) CheckResult(owners []string) error {
	if len(owners) != r.Partitions {
		return r.Refuse("the strategy allocated %d partitions, and there are %d", len(owners), r.Partitions)
	}
	known := make(map[string]bool, len(r.Members))
	for _, m := range r.Members {
		known[m.ID] = true
	}
	for p, id := range owners {
		if id != "" && !known[id] {
			return r.Refuse("the strategy gave partition %d to %q, who is no member", p, id)
		}
	}
	return nil
}

// Refuse returns an error that says why the request cannot be allocated, with
// CodeBadParameter.
func (r AllocationRequest) Refuse(format string, args ...any) error {
	return NewError(CodeBadParameter, "allocate", r.Queue, format, args...)
}

// RebalanceListener is told which partitions a consumer of an assigned group
// has. Any may be nil. Calls of one consumer's listener do not overlap; the
// slices belong to the listener and ascend. A listener must not stop or close its
// consumer, nor unbind queues of it: that waits for the listener.
type RebalanceListener struct {
	// Assigned is called before the first message of the partitions is handled
	// or handed out. The consumer receives nothing until it returns; handlers of
	// other partitions go on.
	Assigned func(queue string, partitions []int32)
	// Revoked is called when the partitions are to go to other members or the
	// queue is unbound: what was handed out of them is settled or its lease is
	// over, no handler runs with it, and nobody else has them before Revoked
	// returns. A pull consumer that stops or unbinds the queue gives back what it
	// had handed out; a push consumer whose stop is cut off may still have handlers.
	Revoked func(queue string, partitions []int32)
	// Lost is called when the member's session has ended against its will:
	// others may have the partitions already, and handlers may still run. What
	// they acknowledge is stale. Nil calls Revoked instead.
	Lost func(queue string, partitions []int32)
}

// GroupMember tells of a member of an assigned group.
type GroupMember struct {
	Member
	Partitions    []int32 // that it holds, ascending
	LastHeartbeat time.Time
	User          string // who is logged in; empty where nobody is or it is not known
	Address       string // of the client; empty where it is not known
}

// WithAllocation makes the consumer a member of an assigned group: each
// partition of a queue goes to one member, as the strategy says. Without it the
// group is shared: any member takes any message. Consumers of both kinds, or of
// different strategies, cannot be in one group at the same time: who comes later
// is refused with 1418. Capability CapAssigned.
func WithAllocation(s AllocationStrategy) ConsumerOption {
	return func(c *ConsumerConfig) { c.Allocation = s }
}

// WithMember gives the member of an assigned group an id and labels; see
// [ConsumerConfig.Member].
func WithMember(id string, labels map[string]string) ConsumerOption {
	labels = maps.Clone(labels)
	return func(c *ConsumerConfig) { c.Member = Member{ID: id, Labels: labels} }
}

// WithSession sets for how long a member of an assigned group may be silent.
func WithSession(d time.Duration) ConsumerOption { return func(c *ConsumerConfig) { c.Session = d } }

// WithRebalanceListener sets who is told which partitions the consumer has.
func WithRebalanceListener(l RebalanceListener) ConsumerOption {
	return func(c *ConsumerConfig) { c.Rebalance = l }
}
