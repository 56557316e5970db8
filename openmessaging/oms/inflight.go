package oms

import (
	"context"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// inflight is a delivery with all that is needed to settle it. Deliveries that
// came together lie together, in one slab.
type inflight struct {
	om.Delivery
	src     *source
	slab    *slab   // of push consumers that keep leases
	tenure  *tenure // of the partition, in an assigned group
	receipt spi.Receipt
	lease   atomic.Int64  // when the lease ends, in nanoseconds since 1970
	settled atomic.Uint32 // the om.Action that settled it, 0 before
	phase   atomic.Uint32 // of push consumers
}

type slab struct {
	items []inflight
	open  atomic.Int64 // items that are not done
}

// leaseEnd returns when the lease of a message ends that was received at now.
// An instant that cannot be, by a clock that differs from this machine's,
// counts as unknown.
func leaseEnd(until, now time.Time, lease time.Duration) time.Time {
	if rest := until.Sub(now); !until.IsZero() && rest > 0 && rest <= lease {
		return until
	}
	return now.Add(lease)
}

func (f *inflight) leaseOver(now time.Time) bool { return f.lease.Load() <= now.UnixNano() }

// Settle implements openmessaging.Settler.
func (f *inflight) Settle(ctx context.Context, _ *om.Delivery, action om.Action, delay time.Duration, reason string) error {
	errs, _ := f.src.settle(ctx, settlement{action, delay, reason}, []*inflight{f})
	if errs != nil {
		return errs[0]
	}
	return nil
}

// ackAll acknowledges deliveries of any consumers with one call of the driver
// for each receiver. The errors are by the places of ds, nil when there are none.
func ackAll(ctx context.Context, ds []*om.Delivery) []error {
	var errs []error
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(ds))
		}
		errs[i] = err
	}
	found := make([]*inflight, 0, len(ds))
	var places []int // of found in ds; nil while they are the same
	for i, d := range ds {
		var f *inflight
		if d == nil {
			fail(i, badParameter("ack", "", "delivery %d is nil", i))
		} else if own, ok := d.Settler().(*inflight); ok {
			f = own
		} else if err := d.Ack(ctx); err != nil {
			fail(i, err)
		}
		if f == nil && places == nil {
			places = make([]int, i, len(ds))
			for k := range places {
				places[k] = k
			}
		}
		if f != nil {
			found = append(found, f)
			if places != nil {
				places = append(places, i)
			}
		}
	}
	for len(found) > 0 {
		var rest []*inflight
		var restPlaces []int
		found, rest, places, restPlaces = bySource(found, places)
		failed, _ := found[0].src.settle(ctx, settlement{action: om.Ack}, found)
		for k, err := range failed {
			if err == nil {
				continue
			}
			if places != nil {
				k = places[k]
			}
			fail(k, err)
		}
		found, places = rest, restPlaces
	}
	return errs
}

// bySource separates the deliveries of the first one's source from the rest.
func bySource(fs []*inflight, places []int) (same, rest []*inflight, samePlaces, restPlaces []int) {
	src, n := fs[0].src, 1
	for n < len(fs) && fs[n].src == src {
		n++
	}
	if n == len(fs) {
		return fs, nil, places, nil
	}
	for i, f := range fs {
		place := i
		if places != nil {
			place = places[i]
		}
		if f.src == src {
			same, samePlaces = append(same, f), append(samePlaces, place)
		} else {
			rest, restPlaces = append(rest, f), append(restPlaces, place)
		}
	}
	return same, rest, samePlaces, restPlaces
}
