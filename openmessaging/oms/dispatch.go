package oms

import (
	"github.com/openmessaging/openmessaging-go/spi"
)

// dispatch sends what the buffer holds, one call of the driver at a time.
func (r *sendRun) dispatch() {
	defer close(r.done)
	var scratch shipment
	for s := r.buffer.take(r.ctx, &scratch); s != nil; s = r.buffer.take(r.ctx, &scratch) {
		if len(s.msgs) > 0 {
			r.ship(s)
		}
		r.buffer.unload(s)
	}
}

func (r *sendRun) ship(s *shipment) {
	outs, whole := r.deliver(s.ctx, s.msgs, func(outs []spi.Outcome, again []int) []int {
		return r.finishEarly(s, outs, again)
	})
	if r.atomicBatch && whole == nil && len(s.parcels) > 1 && failed(outs) {
		r.shipOneByOne(s)
		return
	}
	at := 0
	for _, pc := range s.parcels {
		r.finish(pc, outs[at:at+len(pc.msgs)])
		at += len(pc.msgs)
	}
}

// finishEarly finishes the parcels none of whose messages is tried again, and
// keeps of those to be tried again the ones that somebody waits for.
func (r *sendRun) finishEarly(s *shipment, outs []spi.Outcome, again []int) []int {
	var wanted []int
	at, k := 0, 0
	for _, pc := range s.parcels {
		end, from := at+len(pc.msgs), k
		for k < len(again) && again[k] < end {
			k++
		}
		switch {
		case k == from && !r.atomicBatch:
			r.finish(pc, outs[at:end])
		case !pc.claimed.Load():
			wanted = append(wanted, again[from:k]...)
		}
		at = end
	}
	return wanted
}

// shipOneByOne gives parcels that failed together a call each: with an atomic
// driver the failure of one is the failure of all.
func (r *sendRun) shipOneByOne(s *shipment) {
	for _, pc := range s.parcels {
		if pc.claimed.Load() {
			continue
		}
		outs, _ := r.deliver(s.ctx, pc.msgs, nil)
		r.finish(pc, outs)
	}
}

func (r *sendRun) finish(pc *parcel, outs []spi.Outcome) {
	if pc.claim() {
		r.buffer.drop(pc)
		pc.finish(outs, nil)
	}
}

func failed(outs []spi.Outcome) bool {
	for i := range outs {
		if outs[i].Err != nil {
			return true
		}
	}
	return false
}
