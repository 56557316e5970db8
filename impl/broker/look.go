package broker

import (
	"errors"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// look reads the next record of a partition and makes its messages ready, as far
// as they are to be seen. Of messages with keys it looks at no more than so many,
// to the end of their chunk: what is looked at early waits for an earlier one of
// its key, and then is a hole in what is taken. The caller takes what it finds,
// or leaves it to others.
func (r *Receiver) look(p *progress, seen *recordReader, keyed int) error {
	expired, err := r.lookAt(p, seen, keyed)
	if len(expired.offsets) > 0 {
		r.group.buryNow(expired)
	}
	return err
}

// lookAt is look; it leaves it to the caller to bury what has expired.
func (r *Receiver) lookAt(p *progress, seen *recordReader, keyed int) (gone dead, err error) {
	q := r.group.queue
	log := q.list()[p.partition].log
	q.mu.Lock()
	at, to, generation, selectors := p.next, q.list()[p.partition].end, p.generation, r.group.selectors()
	q.mu.Unlock()
	rec, err := seen.record(q.b.store, log, at)
	var s sifted
	if err == nil {
		s, err = sift(rec, at, to, keyed, r.group.name, selectors)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	p.looking = false
	if generation != p.generation || selectors != r.group.selectors() || errors.Is(err, store.ErrDropped) {
		return dead{}, nil // a seek, another filter or retention was faster
	}
	if err != nil {
		return dead{}, storeError(err, "receive", q.name)
	}
	q.urgent = q.urgent || len(s.urgent) > 0
	expired := p.unsettled(s.expired)
	if often := p.offer(min(s.end, to), s); len(often) > 0 {
		r.group.buryLater(p, often)
	}
	if q.buriesExpired() {
		gone, expired = newDead(p, expired), nil
	}
	if len(s.left)+len(expired) > 0 {
		q.b.commits.enqueueLazy(r.group.pass(p, s.left, expired))
	}
	return gone, nil
}
