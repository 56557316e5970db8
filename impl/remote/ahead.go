package remote

import (
	"context"
	"time"
)

// A caller that takes big batches one after the other settles each before it asks
// for the next. So while it does, the next batch is on its way already. What is
// not asked for soon goes back unseen, for other receivers of the group.
const (
	// aheadFrom is how many messages make a big batch.
	aheadFrom = 64
	// aheadFor is for how long a batch is kept.
	aheadFor = 50 * time.Millisecond
)

// ahead is the poll that was made before anybody asked. The receiver's lock
// guards it.
type ahead struct {
	poll  *poll
	timer *time.Timer
}

// nextPoll returns the poll ahead where it fits, else a new one.
func (r *receiver) nextPoll(ctx context.Context, limit int) (*poll, error) {
	r.mu.Lock()
	p := r.ahead.poll
	r.ahead.poll = nil
	r.mu.Unlock()
	if p != nil {
		select {
		case <-p.link.broken:
		default:
			if p.limit <= limit {
				return p, nil
			}
			p.cancel()
		}
	}
	l, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return l.poll(limit)
}

// pollAhead asks for the batch after that of p.
func (r *receiver) pollAhead(p *poll) {
	if p.limit < aheadFrom {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ahead.poll != nil || r.ended {
		return
	}
	next, err := p.link.poll(p.limit)
	if err != nil {
		return
	}
	r.ahead.poll = next
	if r.ahead.timer == nil {
		r.ahead.timer = time.AfterFunc(aheadFor, r.dropAhead)
	} else {
		r.ahead.timer.Reset(aheadFor)
	}
}

// dropAhead gives the batch ahead back.
func (r *receiver) dropAhead() {
	r.mu.Lock()
	p := r.ahead.poll
	r.ahead.poll = nil
	r.mu.Unlock()
	if p == nil {
		return
	}
	select {
	case <-p.link.broken: // with the stream
	default:
		p.cancel()
	}
}

// dropAheads gives back what all receivers have ahead, before a group moves.
func (c *conn) dropAheads() {
	c.mu.Lock()
	receivers := make([]*receiver, 0, len(c.receivers))
	for r := range c.receivers {
		receivers = append(receivers, r)
	}
	c.mu.Unlock()
	for _, r := range receivers {
		r.dropAhead()
	}
}
