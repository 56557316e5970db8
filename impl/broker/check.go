package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const (
	// MaxTransactions is how many transactions one call lists; CodeBadParameter.
	MaxTransactions = 1000
	// checkTime is how long a checker may take; then it does not know.
	checkTime = 10 * time.Second
	// checksAtOnce bounds the questions to a group of producers that are not
	// answered, so that one whose checkers hang holds up no other, and what one
	// command notes of them.
	checksAtOnce = 256
	// looksAtOnce bounds the transactions that are looked at in one hold of the
	// lock that commits need, too.
	looksAtOnce = 1024
	// checkPause is between two such commands, so that many checks at one time do
	// not crowd out what is sent: there are up to 5,000 a second.
	checkPause = 50 * time.Millisecond
)

// Checker asks a producer what became of a transaction. ctx bounds it.
type Checker func(ctx context.Context, t Transaction) om.TxVerdict

// checkers are those of a group of producers; they are asked in turn.
type checkers struct {
	list    []*checker
	turn    int
	busy    int      // questions that are not answered
	waiting halfHeap // transactions whose time has come, until there are fewer of these
}

// checker is one producer that may be asked.
type checker struct {
	ask   Checker
	epoch Epoch
}

// AddChecker has check asked about transactions of a group of producers, from
// now until remove is called; a call that runs then goes on. A producer whose
// epoch has passed is not asked, its answer is not obeyed, and here it gives
// CodeProducerFenced. check is called concurrently, and must return when its
// context ends.
func (b *Broker) AddChecker(group string, epoch Epoch, check Checker) (remove func(), err error) {
	if err := b.fenced(epoch, "check", group); err != nil {
		return nil, err
	}
	h := b.halves
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.checkers[group]
	if c == nil {
		c = &checkers{}
		h.checkers[group] = c
		for _, x := range h.open { // those that nobody could be asked about
			if x.record.Group == group && x.in == &h.due && x.wake > x.record.Next {
				h.at(x, x.record.Next)
			}
		}
		signal(h.changed)
	}
	entry := &checker{check, epoch}
	c.list = append(c.list, entry)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		c.list = slices.DeleteFunc(c.list, func(e *checker) bool { return e == entry })
		if len(c.list) > 0 || h.checkers[group] != c {
			return
		}
		delete(h.checkers, group)
		for len(c.waiting) > 0 {
			h.at(c.waiting[0], c.waiting[0].wake)
		}
	}, nil
}

// next returns the checker of the group whose turn it is, nil when there is none
// that is not fenced off; mu is held.
func (c *checkers) next(fenced func(Epoch) bool) *checker {
	if c == nil {
		return nil
	}
	for range c.list {
		c.turn++
		if e := c.list[c.turn%len(c.list)]; !fenced(e.epoch) {
			return e
		}
	}
	return nil
}

// runChecks has producers asked about transactions whose time has come, until
// ctx ends.
func (b *Broker) runChecks(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait, err := b.checkStep(ctx)
		if err != nil && ctx.Err() == nil {
			b.log.Error("transactions cannot be checked; it is tried again every second", "error", err)
			wait = time.Second
		}
		if wait <= 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-b.halves.changed:
		case <-ctx.Done():
		}
	}
}

// question is a transaction about which somebody is asked.
type question struct {
	*half
	group *checkers
	to    *checker // nil when it has ended meanwhile
}

// checkStep does what is to do now and returns how long there is nothing more.
func (b *Broker) checkStep(ctx context.Context) (time.Duration, error) {
	if err := b.rescueHalves(ctx); err != nil {
		return 0, err
	}
	c := &noteChecks{now: time.Now().UnixMilli()}
	wait := b.halves.take(c, b.isFenced)
	if len(c.ask)+len(c.park) == 0 {
		return wait, nil
	}
	if err := b.submit(ctx, c); err != nil {
		b.halves.putBack(c)
		return 0, err
	}
	var reader recordReader
	for _, q := range c.ask {
		t, open, err := b.asked(q, &reader)
		if err != nil {
			b.log.Error("a transaction cannot be checked", "transaction", q.id.text(), "error", err)
		}
		if !open {
			b.halves.answered(q.group)
			continue
		}
		b.done.Go(func() {
			defer b.halves.answered(q.group)
			b.ask(ctx, q.to, t)
		})
	}
	if len(c.ask)+len(c.park) == checksAtOnce {
		select {
		case <-time.After(checkPause):
		case <-ctx.Done():
		}
	}
	return 0, nil
}

// asked returns what to ask; open is false when there is nothing to ask any more.
func (b *Broker) asked(q question, reader *recordReader) (t Transaction, open bool, err error) {
	x, open := b.halves.get(q.id)
	if q.to == nil || !open {
		return t, false, nil
	}
	t, err = b.describeHalf(&x, reader)
	return t, err == nil, err
}

// take takes what is due: questions, and what is to be parked. What nobody can be
// asked about waits.
func (h *halves) take(c *noteChecks, fenced func(Epoch) bool) (wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range looksAtOnce {
		if len(h.due) == 0 {
			return time.Hour
		}
		if len(c.ask)+len(c.park) == checksAtOnce {
			return 0
		}
		x := h.due[0]
		if x.wake > c.now {
			return time.Duration(x.wake-c.now) * time.Millisecond
		}
		h.decide(x, c, fenced)
	}
	return 0
}

// decide decides about a transaction that is due; mu is held.
func (h *halves) decide(x *half, c *noteChecks, fenced func(Epoch) bool) {
	r, group := &x.record, h.checkers[x.record.Group]
	if r.Checks == 0 {
		c.park = append(c.park, x)
		h.at(x, c.now+r.Every)
		return
	}
	switch to := group.next(fenced); {
	case to == nil && c.now >= r.Next+MaxOpenTransaction.Milliseconds():
		c.park = append(c.park, x)
		h.at(x, c.now+r.Every)
	case to == nil:
		h.at(x, min(c.now+r.Every, r.Next+MaxOpenTransaction.Milliseconds()))
	case group.busy == checksAtOnce:
		h.move(x, &group.waiting)
	default:
		group.busy++
		c.ask = append(c.ask, question{x, group, to})
		h.at(x, c.now+r.Every)
	}
}

// answered notes that a question is over, and has the next of the group asked.
func (h *halves) answered(c *checkers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.busy--
	if len(c.waiting) > 0 {
		h.at(c.waiting[0], c.waiting[0].wake)
		signal(h.changed)
	}
}

// putBack has what was taken taken again.
func (h *halves) putBack(c *noteChecks) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range c.ask {
		q.group.busy--
		c.park = append(c.park, q.half)
	}
	for _, x := range c.park {
		if h.open[x.id] == x && !x.record.Parked {
			h.at(x, x.record.Next)
		}
	}
}

// ask asks a producer and does what it says.
func (b *Broker) ask(ctx context.Context, to *checker, t Transaction) {
	within, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	verdict := to.ask(within, t)
	if verdict != om.TxCommit && verdict != om.TxRollback {
		return
	}
	if err := b.EndTransaction(ctx, t.ID, t.ProducerGroup, to.epoch, verdict); err != nil && ctx.Err() == nil {
		b.log.Warn("a producer's answer about a transaction cannot be obeyed", "transaction", t.ID, "error", err)
	}
}

// noteChecks counts questions before they are asked, and parks transactions
// after the last one.
type noteChecks struct {
	now  int64
	ask  []question
	park []*half
}

func (c *noteChecks) apply(b *Broker, tx *transaction) error {
	h := b.halves
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range c.ask {
		x := c.ask[i].half
		if h.open[x.id] != x {
			c.ask[i].to = nil
			continue
		}
		h.unkeep(x)
		x.record.Checks--
		x.record.Asked++
		x.record.Next = c.now + x.record.Every
		h.at(x, x.record.Next)
		tx.batch.Put(x.id.key(), encode(x.record))
	}
	for _, x := range c.park {
		if h.open[x.id] == x && !x.record.Parked {
			h.remove(x)
			x.record.Parked = true
			h.insert(x)
			tx.batch.Put(x.id.key(), encode(x.record))
		}
	}
	return nil
}

// oldest returns transactions whose target is wanted, the oldest first.
func (h *halves) oldest(wanted func(target uint64) bool, limit int) []half {
	h.mu.Lock()
	var all []half
	for _, x := range h.open {
		all = append(all, *x)
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b half) int {
		return cmp.Or(cmp.Compare(a.record.Prepared, b.record.Prepared), cmp.Compare(a.record.Offset, b.record.Offset))
	})
	all = slices.DeleteFunc(all, func(x half) bool { return !wanted(x.record.Target) })
	return all[:min(limit, len(all))]
}

// rescueHalves moves half messages that retention is about to drop to the end of
// their log; parked ones are forgotten. Many go along in one commit.
func (b *Broker) rescueHalves(ctx context.Context) error {
	for {
		found := b.halves.endangered()
		if len(found) == 0 {
			return nil
		}
		moves := make([]*pending, 0, len(found))
		var reader recordReader
		for _, x := range found {
			c := &moveHalf{half: x, offset: x.record.Offset}
			if !x.record.Parked {
				var err error
				if c.chunk, err = b.halfChunk(&half{record: x.record}, &reader); err != nil {
					if _, open := b.halves.get(x.id); !open {
						continue // it has ended meanwhile
					}
					return errors.Join(err, await(ctx, moves))
				}
			}
			moves = append(moves, b.commits.submit(c))
		}
		if err := await(ctx, moves); err != nil {
			return err
		}
	}
}

// rescueBytes bounds the half messages that are moved at once.
const rescueBytes = 4 << 20

// endangered returns some of the half messages that retention is about to drop.
// They are as the committer has left them: only this goroutine has them changed.
func (h *halves) endangered() (found []*half) {
	h.mu.Lock()
	defer h.mu.Unlock()
	bytes := 0
	for _, x := range h.open {
		if x.record.Offset < h.rescue && bytes < rescueBytes && len(found) < looksAtOnce {
			found = append(found, x)
			bytes += x.record.Size
		}
	}
	if len(found) == 0 {
		h.rescue = 0
	}
	slices.SortFunc(found, func(a, b *half) int { return cmp.Compare(a.record.Offset, b.record.Offset) })
	return found
}

// moveHalf stores a half message anew, or forgets it.
type moveHalf struct {
	half   *half
	offset int64
	chunk  []byte // nil to forget it
}

func (c *moveHalf) apply(b *Broker, tx *transaction) error {
	h, x := b.halves, c.half
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.open[x.id] != x || x.record.Offset != c.offset:
	case x.record.Parked:
		h.remove(x)
		tx.batch.Delete(x.id.key())
		b.log.Warn("retention drops a transaction that nobody has ended", "transaction", x.id.text())
	case c.chunk != nil:
		tx.batch.Append(h.log, h.next, 1, c.chunk)
		x.record.Offset = h.next
		h.next++
		tx.batch.Put(x.id.key(), encode(x.record))
	}
	return nil
}
