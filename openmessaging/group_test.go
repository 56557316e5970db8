package openmessaging_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func TestBackoff(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	for name, c := range map[string]struct{ got, want om.Backoff }{
		"doubles":         {om.ExponentialBackoff(s, 5*s), om.Backoff{s, 2 * s, 4 * s, 5 * s}},
		"ends on a power": {om.ExponentialBackoff(s, 4*s), om.Backoff{s, 2 * s, 4 * s}},
		"one step":        {om.ExponentialBackoff(m, m), om.Backoff{m}},
		"no overflow":     {om.ExponentialBackoff(1<<62, 1<<63-1), om.Backoff{1 << 62, 1<<63 - 1}},
		"default":         {om.DefaultBackoff, om.Backoff{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 5 * m}},
		"rocketmq":        {om.RocketMQBackoff, om.Backoff{10 * s, 30 * s, m, 2 * m, 3 * m, 4 * m, 5 * m, 6 * m, 7 * m, 8 * m, 9 * m, 10 * m, 20 * m, 30 * m, h, 2 * h}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	b := om.Backoff{1, 2, 3}
	for deliveries, want := range []time.Duration{1, 1, 2, 3, 3, 3} {
		if got := b.After(deliveries); got != want {
			t.Errorf("after delivery %d: %v, want %v", deliveries, got, want)
		}
	}
	if om.Backoff(nil).After(3) != 0 {
		t.Error("an empty backoff waits")
	}
}

func TestGroupConfigComplete(t *testing.T) {
	given := om.Backoff{time.Millisecond + 1}
	got, err := om.GroupConfig{Backoff: given}.Complete("op", "q")
	if want := (om.GroupConfig{MaxDeliveries: 16, Backoff: om.Backoff{2 * time.Millisecond}}); err != nil || !cmp.Equal(got, want) || given[0] != time.Millisecond+1 {
		t.Errorf("%v %v, given %v", got, err, given)
	}
	got, err = om.GroupConfig{}.Complete("op", "q")
	if err != nil || !cmp.Equal(got.Backoff, om.DefaultBackoff) {
		t.Errorf("%v %v", got, err)
	}
	if got.Backoff[0] = time.Hour; om.DefaultBackoff[0] != 0 {
		t.Error("what is returned shares memory with the default")
	}
	for _, bad := range []om.GroupConfig{{MaxDeliveries: -1}, {MaxDeliveries: 1001}, {Backoff: om.Backoff{-1}}, {Backoff: om.Backoff{1 << 62}}, {Backoff: make(om.Backoff, 101)}} {
		if _, err := bad.Complete("op", "q"); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
