package mutant

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/spi"
)

var assignedMutants = []Mutant{
	heartbeating("everybody-has-all", "R140", "is given to b, and a has it", func(ctx context.Context, r *beating, held []int32) (spi.Assignment, error) {
		if len(held) > 0 {
			<-ctx.Done()
			return spi.Assignment{}, ctx.Err()
		}
		return spi.Assignment{Generation: 1, Partitions: []int32{0, 1, 2, 3}}, nil
	}),
	joining("added-partitions-unowned", "R140", "added partitions: not within", func(m *spi.MemberConfig) { m.Strategy = shortsighted{m.Strategy} }),
	// What is to be given up goes to others while its messages are handled.
	heartbeating("gives-up-early", "R141", "partition", func(ctx context.Context, r *beating, held []int32) (spi.Assignment, error) {
		maps.DeleteFunc(r.gone, func(p int32, _ bool) bool { return !slices.Contains(held, p) })
		gone := func(p int32) bool { return r.gone[p] }
		if len(r.gone) > 0 {
			time.Sleep(time.Millisecond) // the group may want to give it back at once
		}
		held = slices.DeleteFunc(slices.Clone(held), gone)
		a, err := r.Assignee.Heartbeat(ctx, held)
		if err != nil {
			return a, err
		}
		early := false
		for _, p := range held {
			if !slices.Contains(a.Partitions, p) {
				r.gone[p], early = true, true
			}
		}
		if early {
			a, err = r.Assignee.Heartbeat(ctx, slices.DeleteFunc(held, gone))
		}
		a.Partitions = slices.DeleteFunc(slices.Clone(a.Partitions), gone)
		return a, err
	}),
	joining("dead-members-stay", "R142", "a member holds", func(m *spi.MemberConfig) { m.Session = time.Hour }),
	{"ids-made-unique", "R143", "a member holds", func(p *parts) {
		var mu sync.Mutex
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			if cfg.Member != nil {
				mu.Lock()
				defer mu.Unlock()
				m := *cfg.Member
				m.ID += "-" + time.Now().String()
				cfg.Member = &m
			}
			return c.NewReceiver(ctx, cfg)
		}
	}},
	joining("labels-lost", "R144", "machine-room/average", func(m *spi.MemberConfig) { m.Labels = nil }),
	joining("strategy-passed-over", "R144", "average-by-circle, two members: not within", func(m *spi.MemberConfig) {
		m.Strategy = renamed{allocation.Average(), m.Strategy.Name()}
	}),
	joining("owners-forgotten", "R144", "sticky, two members again: not within", func(m *spi.MemberConfig) {
		m.Strategy = forgetful{m.Strategy}
	}),
	joining("strategies-mixed", "R145", "a member with another strategy: got success", func(m *spi.MemberConfig) {
		m.Strategy = renamed{m.Strategy, "any"}
	}),
	{"kinds-mixed", "R145", "to share an assigned group: got success", func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			r, err := c.NewReceiver(ctx, cfg)
			if om.CodeOf(err) == om.CodeBadParameter && cfg.Member == nil {
				cfg.Group += "-beside"
				return c.NewReceiver(ctx, cfg)
			}
			return r, err
		}
	}},
	{"owners-untold", "R146", "owners of the partitions", func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn { return reticent{spi.ConnWrapper{Conn: c}} }
	}},
}

// joining changes what members are made of.
func joining(name, kills, says string, change func(*spi.MemberConfig)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			if cfg.Member != nil {
				m := *cfg.Member
				change(&m)
				cfg.Member = &m
			}
			return c.NewReceiver(ctx, cfg)
		}
	}}
}

// heartbeating changes heartbeats.
func heartbeating(name, kills, says string, beat func(context.Context, *beating, []int32) (spi.Assignment, error)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.receiver = func(ctx context.Context, c spi.Conn, cfg spi.ReceiverConfig) (spi.Receiver, error) {
			r, err := c.NewReceiver(ctx, cfg)
			if err != nil || cfg.Member == nil {
				return r, err
			}
			a, _ := spi.As[spi.Assignee](r)
			return &beating{ReceiverWrapper: spi.ReceiverWrapper{Receiver: r}, Assignee: a, beat: beat, gone: map[int32]bool{}}, nil
		}
	}}
}

type beating struct {
	spi.ReceiverWrapper
	spi.Assignee
	beat func(context.Context, *beating, []int32) (spi.Assignment, error)
	gone map[int32]bool
}

func (r *beating) Heartbeat(ctx context.Context, held []int32) (spi.Assignment, error) {
	return r.beat(ctx, r, held)
}

// renamed is a strategy under another name.
type renamed struct {
	om.AllocationStrategy
	name string
}

func (r renamed) Name() string { return r.name }

// forgetful is a strategy that is not told who had what.
type forgetful struct{ om.AllocationStrategy }

func (f forgetful) Allocate(r om.AllocationRequest) ([]string, error) {
	r.Owners = nil
	return f.AllocationStrategy.Allocate(r)
}

// shortsighted is a strategy that sees no more than four partitions.
type shortsighted struct{ om.AllocationStrategy }

func (s shortsighted) Allocate(r om.AllocationRequest) ([]string, error) {
	owners, err := s.AllocationStrategy.Allocate(r)
	for p := range owners {
		if p > 3 {
			owners[p] = ""
		}
	}
	return owners, err
}

// reticent does not tell who has what.
type reticent struct{ spi.ConnWrapper }

func (r reticent) Groups(ctx context.Context, queue string) ([]om.GroupInfo, error) {
	d, _ := spi.As[spi.Describer](r.Conn)
	infos, err := d.Groups(ctx, queue)
	for i := range infos {
		for k := range infos[i].Partitions {
			infos[i].Partitions[k].Owner = ""
		}
	}
	return infos, err
}

func (r reticent) Partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	d, _ := spi.As[spi.Describer](r.Conn)
	return d.Partitions(ctx, queue)
}
