package batch

import (
	"context"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Heartbeat is what a member of an assigned group says to the broker.
type Heartbeat struct {
	Version    uint64
	Generation int64
	Claims     []int32
	Held       []int32
}

// Membership is what the broker answers.
type Membership struct {
	Version    uint64
	Generation int64
	Partitions []int32
	Total      int // of the queue's partitions; with Members and Owners in a generation that the member has not claimed in
	Members    []om.Member
	Owners     []string
}

// Member is a member of an assigned group: it runs the strategy and claims what
// is its own. Its methods are not called concurrently.
type Member struct {
	cfg  *spi.MemberConfig
	said Heartbeat
}

// NewMember returns the member of a receiver, nil for a receiver that is none.
func NewMember(cfg *spi.MemberConfig) *Member {
	if cfg == nil {
		return nil
	}
	return &Member{cfg: cfg}
}

// Reset has it begin anew: the broker knows nothing of it.
func (m *Member) Reset() { m.said = Heartbeat{} }

// Heartbeat is spi.Assignee.Heartbeat; beat says it to the broker. When the
// strategy fails the member keeps what it has and claims nothing more, and the
// error is returned once for each generation.
func (m *Member) Heartbeat(ctx context.Context, queue string, held []int32, beat func(context.Context, Heartbeat) (Membership, error)) (spi.Assignment, error) {
	if m == nil {
		return spi.Assignment{}, om.NewError(om.CodeBadParameter, "heartbeat", queue, "the receiver is no member of an assigned group")
	}
	m.said.Held = held
	for {
		got, err := beat(ctx, m.said)
		if errors.Is(err, om.CodeMemberExpired) {
			m.Reset()
		}
		if err != nil {
			return spi.Assignment{}, err
		}
		m.said.Version = got.Version
		if got.Generation == m.said.Generation {
			return spi.Assignment{Generation: got.Generation, Partitions: got.Partitions}, nil
		}
		m.said.Generation = got.Generation
		m.said.Claims, err = m.claims(om.AllocationRequest{
			Queue: om.JoinQueueName(om.SplitQueueName(queue, om.DefaultNamespace)), Partitions: got.Total, Members: got.Members, Owners: got.Owners,
		})
		if err != nil {
			m.said.Claims = held
			return spi.Assignment{}, om.NewError(om.CodeBadParameter, "allocate", queue, "the strategy %q: %w", m.cfg.Strategy.Name(), err)
		}
	}
}

// claims returns what is the member's own.
func (m *Member) claims(r om.AllocationRequest) (own []int32, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.Refuse("it panicked: %v", v)
		}
	}()
	owners, err := m.cfg.Strategy.Allocate(r)
	if err == nil {
		err = r.CheckResult(owners)
	}
	if err != nil {
		return nil, err
	}
	for p, id := range owners {
		if id == m.cfg.ID {
			own = append(own, int32(p))
		}
	}
	return own, nil
}
