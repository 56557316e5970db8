package mutant

import (
	"context"
	"fmt"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var deduplicationMutants = []Mutant{
	renaming("deduplication-missing", "R130", "result of a message with an id that is known", func(*parts) func(id string) string {
		var suffix locked[int]
		return func(id string) string { return fmt.Sprint(id, next(&suffix)) }
	}),
	renaming("deduplication-per-sender", "R130", "one of another producer", func(p *parts) func(id string) string {
		var suffix locked[int]
		p.sender = func(s spi.Sender) spi.Sender {
			next(&suffix)
			return s
		}
		return func(id string) string { return fmt.Sprint(id, suffix.get()) }
	}),
	{"duplicate-not-told", "R130", "result of a message with an id that is known", func(p *parts) {
		p.send = func(ctx context.Context, s spi.Sender, ms []*om.Message) ([]spi.Outcome, error) {
			outs, err := s.Send(ctx, ms)
			for i := range outs {
				outs[i].Duplicate = false
			}
			return outs, err
		}
	}},
	renaming("deduplication-forgotten-on-restart", "R131", "before Restart", func(p *parts) func(id string) string {
		var suffix locked[int]
		restart := p.faults.Restart
		p.faults.Restart = func(ctx context.Context) error {
			next(&suffix)
			return restart(ctx)
		}
		return func(id string) string { return fmt.Sprint(id, suffix.get()) }
	}),
}

// renaming changes the ids by which messages are known.
func renaming(name, kills, says string, make func(*parts) func(id string) string) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		rename := make(p)
		p.write = func(m *om.Message) {
			if id := m.Properties.GetString(om.PropertyDeduplicationID, ""); id != "" {
				m.Properties[om.PropertyDeduplicationID] = om.String(rename(id))
			}
		}
	}}
}

func next(l *locked[int]) (n int) {
	l.do(func(v *int) {
		*v++
		n = *v
	})
	return n
}
