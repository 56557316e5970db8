package openmessaging_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	. "github.com/openmessaging/openmessaging-go/openmessaging"
)

// settling is what a Settler was asked.
type settling struct {
	Offset int64
	Action string
	Delay  time.Duration
	Reason string
}

type settler struct {
	asked []settling
	err   error
}

func (s *settler) Settle(_ context.Context, d *Delivery, a Action, delay time.Duration, reason string) error {
	s.asked = append(s.asked, settling{d.Offset, a.String(), delay, reason})
	return s.err
}

func TestDeliverySettles(t *testing.T) {
	s := &settler{err: NewError(CodeStaleReceipt, "ack", "q", "")}
	d := NewDelivery(NewMessage("q", nil), 2, 7, s)
	if d.Partition != 2 || d.Settler() != Settler(s) {
		t.Errorf("%+v", d)
	}
	ctx := t.Context()
	for _, err := range []error{d.Ack(ctx), d.Nack(ctx, 0), d.Nack(ctx, time.Second), d.Extend(ctx, time.Minute), d.Reject(ctx, "bad")} {
		if !errors.Is(err, CodeStaleReceipt) {
			t.Errorf("the settler's answer is lost: %v", err)
		}
	}
	want := []settling{{7, "ack", 0, ""}, {7, "nack", 0, ""}, {7, "nack", time.Second, ""}, {7, "extend", time.Minute, ""}, {7, "reject", 0, "bad"}}
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Error(diff)
	}
	if Action(0).String() != "settle" {
		t.Error(Action(0).String())
	}
}

func TestDeliveryRefusesBadTimes(t *testing.T) {
	s := &settler{}
	d := NewDelivery(NewMessage("q", nil), 0, 0, s)
	for _, err := range []error{d.Nack(t.Context(), -1), d.Extend(t.Context(), 0), d.Extend(t.Context(), -1)} {
		if !errors.Is(err, CodeBadParameter) {
			t.Error(err)
		}
	}
	if len(s.asked) != 0 {
		t.Errorf("the settler was asked %v", s.asked)
	}
}

func TestDeliveryWithoutConsumer(t *testing.T) {
	d := NewDelivery(NewMessage("q", nil), 0, 0, nil)
	ctx := t.Context()
	for _, err := range []error{d.Ack(ctx), d.Nack(ctx, 0), d.Extend(ctx, time.Second), d.Reject(ctx, ""), NewBatch([]*Delivery{&d}, nil).Ack(ctx)} {
		if !errors.Is(err, ErrUnsupported) {
			t.Error(err)
		}
	}
	if err := NewBatch(nil, nil).Ack(ctx); err != nil {
		t.Error(err)
	}
}

func TestR073_batch_acks(t *testing.T) {
	var ds []*Delivery
	for i := range 3 {
		d := NewDelivery(NewMessage("q", nil), 0, int64(i), nil)
		ds = append(ds, &d)
	}
	var acked []*Delivery
	b := NewBatch(ds, func(_ context.Context, ds []*Delivery) error {
		acked = append(acked, ds...)
		return nil
	})
	same := cmp.Comparer(func(a, b *Delivery) bool { return a == b })
	if err := b.AckOnly(t.Context(), ds[1]); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(ds[1:2], acked, same); diff != "" {
		t.Error(diff)
	}
	acked = nil
	if err := b.Ack(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(ds, acked, same); diff != "" {
		t.Error(diff)
	}
	acked = nil
	if err := b.AckOnly(t.Context()); err != nil || acked != nil {
		t.Errorf("nothing to acknowledge: %v %v", acked, err)
	}
}
