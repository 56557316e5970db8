// Package allocation says which member of an assigned group gets which
// partitions of a queue.
//
// A [Strategy] runs in every member on the same [Request] and must come to the
// same result in each of them, so it reads no clock, no random source and no
// state of the process. The strategies of this package are such. All of them
// give every partition to one member, [Configured] alone may leave one to
// nobody; a member may get none, as it must where there are more members than
// partitions.
//
// What they differ in is balance and movement:
//
//   - [Average] and [AverageByCircle] balance to one partition and may move many
//     when a member comes or goes.
//   - [Sticky] balances to one partition and moves as few as that allows.
//   - [ConsistentHash] moves little, keeps every member below 1.25 times the mean,
//     and gives the same result after all history is lost.
//   - [RocketMQConsistentHash] gives what a consumer of Apache RocketMQ computes.
//   - [MachineRoom] keeps partitions in their room, [Configured] where they are told.
package allocation

import (
	"cmp"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// What the contract says of strategies.
type (
	Strategy = om.AllocationStrategy
	Request  = om.AllocationRequest
	Member   = om.Member
)

// idsOf returns the members' IDs, sorted.
func idsOf(r Request) []string {
	out := make([]string, len(r.Members))
	for i, m := range r.Members {
		out[i] = m.ID
	}
	slices.Sort(out)
	return out
}

// builtin is a strategy of this package; allocate gets a request that was
// checked.
type builtin struct {
	name     string
	allocate func(r Request) ([]string, error)
}

func (b builtin) Name() string { return b.name }

func (b builtin) Allocate(r Request) ([]string, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	return b.allocate(r)
}

// Average gives each member, sorted by ID, a block of neighbouring partitions;
// the first Partitions mod members ones get one more.
func Average() Strategy {
	return builtin{"average", func(r Request) ([]string, error) {
		ids, out := idsOf(r), make([]string, 0, r.Partitions)
		for i, id := range ids {
			out = append(out, slices.Repeat([]string{id}, share(r.Partitions, len(ids), i))...)
		}
		return out, nil
	}}
}

// share is what the i-th of n members gets of some partitions.
func share(partitions, n, i int) int {
	if i < partitions%n {
		return partitions/n + 1
	}
	return partitions / n
}

// AverageByCircle deals the partitions to the members, sorted by ID, one by one.
func AverageByCircle() Strategy {
	return builtin{"average-by-circle", func(r Request) ([]string, error) {
		ids, out := idsOf(r), make([]string, r.Partitions)
		for p := range out {
			out[p] = ids[p%len(ids)]
		}
		return out, nil
	}}
}

// Sticky balances to one partition, and moves no more than that needs.
func Sticky() Strategy {
	return builtin{"sticky", func(r Request) ([]string, error) {
		ids := idsOf(r)
		had := loads(ids, r.Owners)
		slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(had[b], had[a]) })
		room := make(map[string]int, len(ids))
		for i, id := range ids {
			room[id] = share(r.Partitions, len(ids), i)
		}
		out := make([]string, r.Partitions)
		for p, id := range r.Owners {
			if room[id] > 0 {
				out[p] = id
				room[id]--
			}
		}
		for p := range out {
			if out[p] != "" {
				continue
			}
			for room[ids[0]] == 0 {
				ids = ids[1:]
			}
			out[p] = ids[0]
			room[ids[0]]--
		}
		return out, nil
	}}
}

// loads counts the partitions of each member; owners that are no members do
// not count.
func loads(ids, owners []string) map[string]int {
	out := make(map[string]int, len(ids))
	for _, id := range ids {
		out[id] = 0
	}
	for _, id := range owners {
		if n, member := out[id]; member {
			out[id] = n + 1
		}
	}
	return out
}

// MachineRoom gives the partitions of a room to the members whose label has the
// room as its value, by the strategy inner, which runs on each room alone. A room
// without members is shared by all. roomOf tells the room of a partition; it
// must be the same in all members. A member without the label, and an empty
// room, are refused with CodeBadParameter.
func MachineRoom(label string, roomOf func(partition int) string, inner Strategy) Strategy {
	return builtin{"machine-room/" + inner.Name(), func(r Request) ([]string, error) {
		members := map[string][]Member{}
		for _, m := range r.Members {
			room := m.Labels[label]
			if room == "" {
				return nil, r.Refuse("the member %q has no label %q that tells its room", m.ID, label)
			}
			members[room] = append(members[room], m)
		}
		partitions := map[string][]int{} // "" stands for rooms without members
		for p := range r.Partitions {
			room := roomOf(p)
			if room == "" {
				return nil, r.Refuse("partition %d has no room", p)
			}
			if members[room] == nil {
				room = ""
			}
			partitions[room] = append(partitions[room], p)
		}
		members[""] = r.Members
		out := make([]string, r.Partitions)
		for room, ps := range partitions {
			if err := allocateSome(inner, r, members[room], ps, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	}}
}

// allocateSome allocates some of the partitions to some of the members.
func allocateSome(s Strategy, r Request, members []Member, partitions []int, out []string) error {
	part := Request{Queue: r.Queue, Partitions: len(partitions), Members: members, Owners: make([]string, len(partitions))}
	for i, p := range partitions {
		if p < len(r.Owners) {
			part.Owners[i] = r.Owners[p]
		}
	}
	owners, err := s.Allocate(part)
	if err == nil {
		err = part.CheckResult(owners)
	}
	if err != nil {
		return err
	}
	for i, p := range partitions {
		out[p] = owners[i]
	}
	return nil
}

// Configured gives each member the partitions that are listed for its ID. A
// partition that is listed for nobody who is there, or not at all, goes to
// nobody. One that is listed twice, or is negative, is refused with
// CodeBadParameter; one that the queue does not have yet is not.
func Configured(partitions map[string][]int) Strategy {
	lists := make(map[string][]int, len(partitions))
	for id, ps := range partitions {
		lists[id] = slices.Clone(ps)
	}
	return builtin{"configured", func(r Request) ([]string, error) {
		out, listed := make([]string, r.Partitions), map[int]bool{}
		here := loads(idsOf(r), nil)
		for id, ps := range lists {
			_, member := here[id]
			for _, p := range ps {
				if p < 0 || listed[p] {
					return nil, r.Refuse("partition %d is listed twice or negative", p)
				}
				listed[p] = true
				if member && p < r.Partitions {
					out[p] = id
				}
			}
		}
		return out, nil
	}}
}
