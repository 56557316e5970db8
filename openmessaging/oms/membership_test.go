package oms_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
)

// TestR144_listener_hears_in_order: the listener hears that it has a partition
// before it hears that it has it no more, however soon after the other that
// comes, and the partition is not given up before it has heard both.
func TestR144_listener_hears_in_order(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rounds = 500
		f := newFake("q")
		var begun, early int
		var told []string
		var last []int32
		revoking := false
		f.onHeartbeat = func(ctx context.Context, held []int32) ([]int32, error) {
			up := len(held) < len(last)
			last = held
			switch {
			case len(held) == 0 && begun < rounds:
				begun, revoking = begun+1, false
				return []int32{0}, nil
			case up:
				if len(told) < 2*begun {
					early++
				}
				return nil, nil
			case len(held) > 0 && !revoking:
				revoking = true
				return nil, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c := puller(t, open(t, f), []string{"q"}, om.WithAllocation(allocation.Average()), om.WithMember("a", nil), om.WithRebalanceListener(om.RebalanceListener{
			Assigned: func(_ string, ps []int32) { told = append(told, "assigned") },
			Revoked:  func(_ string, ps []int32) { told = append(told, "revoked") },
		}))
		synctest.Wait()
		ok(t, c.Close(t.Context()))
		equal(t, "given up before the listener knew", early, 0)
		if want := slices.Repeat([]string{"assigned", "revoked"}, rounds); !slices.Equal(told, want) {
			t.Errorf("heard %d times, want %d, in turn: %q", len(told), len(want), told[:min(len(told), 20)])
		}
	})
}
