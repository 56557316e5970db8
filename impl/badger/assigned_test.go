package badger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// puller is a pull consumer in an assigned group, with what its listener hears.
type puller struct {
	om.PullConsumer
	mu    sync.Mutex
	calls []string
}

func (p *puller) hear(what string, ps []int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprint(what, ps))
}

func (p *puller) heard() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func pullers(t *testing.T, partitions int) (ap om.AccessPoint, join func(id string) *puller) {
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ap, err := oms.Open(ctx, "oms:badger://local/assigned?memory=true")
	check(err)
	t.Cleanup(func() { _ = ap.Close(context.WithoutCancel(ctx)) })
	check(ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: partitions}))
	return ap, func(id string) *puller {
		p := &puller{}
		c, err := ap.NewPullConsumer(ctx, om.WithGroup("g"), om.WithAllocation(allocation.Average()), om.WithMember(id, nil), om.WithLease(20*time.Second),
			om.WithOnError(func(error) {}), om.WithRebalanceListener(om.RebalanceListener{
				Assigned: func(_ string, ps []int32) { p.hear("+", ps) },
				Revoked:  func(_ string, ps []int32) { p.hear("-", ps) },
				Lost:     func(_ string, ps []int32) { p.hear("lost ", ps) },
			}))
		check(err)
		check(c.Bind(ctx, "q"))
		p.PullConsumer = c
		return p
	}
}

// receive returns the bodies that come within a second.
func (p *puller) receive(t *testing.T, max int) (ds []*om.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ds, err := p.ReceiveBatch(ctx, max)
	if err != nil && !errors.Is(err, om.ErrTimeout) {
		t.Fatal(err)
	}
	return ds
}

// TestAssignedPull: a partition of which a pull consumer has handed something out
// goes to another member when that is settled, or its lease is over.
func TestAssignedPull(t *testing.T) {
	for _, settles := range []bool{true, false} {
		t.Run(fmt.Sprintf("settles=%v", settles), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				ap, join := pullers(t, 1)
				b := join("b")
				producer, err := ap.NewProducer(ctx)
				if err == nil {
					_, err = producer.SendBatch(ctx, []*om.Message{om.NewMessage("q", []byte("0")), om.NewMessage("q", []byte("1"))})
				}
				if err != nil {
					t.Fatal(err)
				}
				held := b.receive(t, 1)
				if len(held) != 1 || string(held[0].Body) != "0" {
					t.Fatalf("%v", held)
				}
				a := join("a") // its id is first, so it is to have the partition
				if got := a.receive(t, 1); len(got) > 0 || len(b.heard()) != 1 {
					t.Fatalf("%v came, b heard %v", got, b.heard())
				}
				if got := b.receive(t, 1); len(got) > 0 {
					t.Fatalf("%v is handed out of a partition that is to be given up", got)
				}
				want, since := "1", time.Now()
				if settles {
					if err := held[0].Ack(ctx); err != nil {
						t.Fatal(err)
					}
				} else {
					want = "0"
					time.Sleep(20 * time.Second)
				}
				got := a.receive(t, 1)
				if len(got) != 1 || string(got[0].Body) != want || time.Since(since) > 22*time.Second {
					t.Fatalf("%v came, want %s", got, want)
				}
				if !slices.Equal(a.heard(), []string{"+[0]"}) || !slices.Equal(b.heard(), []string{"+[0]", "-[0]"}) {
					t.Errorf("they heard %v and %v", a.heard(), b.heard())
				}
			})
		})
	}
}

// TestAssignedFenced: a consumer whose id another one has taken says so, and has
// lost what it had.
func TestAssignedFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, join := pullers(t, 2)
		first := join("same")
		first.receive(t, 1)
		join("same").receive(t, 1)
		_, err := first.Receive(t.Context())
		if !errors.Is(err, om.CodeMemberFenced) {
			t.Errorf("receiving gives %v", err)
		}
		if !slices.Equal(first.heard(), []string{"+[0 1]", "lost [0 1]"}) {
			t.Errorf("it heard %v", first.heard())
		}
	})
}
