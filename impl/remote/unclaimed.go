package remote

import (
	"context"
	"slices"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	"github.com/openmessaging/openmessaging-go/spi"
)

// unclaimed is what the server was asked for and nobody waits for now: polls whose
// caller has gone, and the poll for the batch after one that was full. A caller
// that takes big batches settles each before it asks for the next; so the next one
// is on its way meanwhile. The next receive claims what is unclaimed before it asks
// for more, which keeps the order. What is not claimed soon goes back unseen, for
// other receivers of the group. The receiver's lock guards it.
type unclaimed struct {
	polls []*poll
	kept  []spi.Received // what was more than the caller wanted
	timer *time.Timer
}

const (
	// aheadFrom is how many messages make a big batch.
	aheadFrom = 64
	// keepFor is for how long anything stays unclaimed.
	keepFor = 50 * time.Millisecond
)

// claim returns messages that were kept, or else a poll to wait for.
func (r *receiver) claim(ctx context.Context, limit int) ([]spi.Received, *poll, error) {
	r.mu.Lock()
	u := &r.unclaimed
	if n := min(limit, len(u.kept)); n > 0 {
		defer r.mu.Unlock()
		out := u.kept[:n:n]
		u.kept = u.kept[n:]
		return out, nil, nil
	}
	for len(u.polls) > 0 {
		p := u.polls[0]
		u.polls = slices.Delete(u.polls, 0, 1)
		if !p.link.isBroken() {
			r.mu.Unlock()
			return nil, p, nil
		}
	}
	r.mu.Unlock()
	l, err := r.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, err := l.poll(limit)
	return nil, p, err
}

// leave leaves a poll or messages for the next receive.
func (r *receiver) leave(p *poll, kept []spi.Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &r.unclaimed
	if p != nil {
		if r.ended {
			p.drop()
			return
		}
		u.polls = append(u.polls, p)
	}
	u.kept = append(kept, u.kept...)
	if u.timer == nil {
		u.timer = time.AfterFunc(keepFor, func() { r.dropUnclaimed() })
	} else {
		u.timer.Reset(keepFor)
	}
}

// pollAhead asks for the batch after that of p, where nothing is left.
func (r *receiver) pollAhead(p *poll) {
	r.mu.Lock()
	n := len(r.unclaimed.polls) + len(r.unclaimed.kept)
	r.mu.Unlock()
	if n > 0 {
		return
	}
	if next, err := p.link.poll(p.limit); err == nil {
		r.leave(next, nil)
	}
}

// dropUnclaimed gives back what nobody has claimed, and returns the polls that it
// has ended.
func (r *receiver) dropUnclaimed() []*poll {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &r.unclaimed
	for _, p := range u.polls {
		p.drop()
	}
	if len(u.kept) > 0 && r.link != nil {
		receipts := make([]spi.Receipt, len(u.kept))
		for i := range u.kept {
			receipts[i] = u.kept[i].Receipt
		}
		_, _ = batch.Settle("return", r.cfg.Queue, receipts, func(ranges []batch.Range) ([]error, error) {
			r.link.giveBack(travelling(ranges))
			return nil, nil
		})
	}
	polls := u.polls
	u.polls, u.kept = nil, nil
	return polls
}

// travelling returns the form of ranges that travels.
func travelling(ranges []batch.Range) []*wirepb.Range {
	slab := make([]wirepb.Range, len(ranges))
	out := make([]*wirepb.Range, len(ranges))
	for i, v := range ranges {
		w := &slab[i]
		w.Partition, w.Lease, w.From, w.To = v.Partition, v.Lease, v.From, v.To
		out[i] = w
	}
	return out
}

// dropUnclaimed gives back what all receivers have unclaimed, and waits until the
// server takes nothing more for them: a group is to move.
func (c *conn) dropUnclaimed(ctx context.Context) {
	c.mu.Lock()
	var receivers []*receiver
	for r := range c.receivers {
		receivers = append(receivers, r)
	}
	c.mu.Unlock()
	for _, r := range receivers {
		r.flush(ctx)
	}
}

// flush gives back what is unclaimed, and waits until the server takes nothing
// more for the polls that are ended.
func (r *receiver) flush(ctx context.Context) {
	for _, p := range r.dropUnclaimed() {
		select {
		case <-p.over:
		case <-p.link.broken:
		case <-ctx.Done():
		}
	}
}
