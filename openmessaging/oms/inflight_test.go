package oms

import (
	"testing"
	"time"
)

func TestLeaseEnd_trusts_only_plausible_instants(t *testing.T) {
	now, lease := time.Unix(1000, 0), 10*time.Second
	for until, want := range map[time.Time]time.Time{
		{}:                       now.Add(lease),
		now.Add(7 * time.Second): now.Add(7 * time.Second),
		now.Add(lease):           now.Add(lease),
		now.Add(time.Minute):     now.Add(lease), // a clock that is ahead
		now.Add(-time.Minute):    now.Add(lease), // a clock that is behind
	} {
		if got := leaseEnd(until, now, lease); !got.Equal(want) {
			t.Errorf("%v: got %v, want %v", until, got, want)
		}
	}
}
