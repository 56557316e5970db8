package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// expiry knows the queues that expire. Broker.mu guards the fields.
type expiry struct {
	queues  map[*Queue]bool
	replies map[string]int // how many reply queues a user has
	changed chan struct{}
}

func newExpiry() *expiry {
	return &expiry{queues: make(map[*Queue]bool), replies: make(map[string]int), changed: make(chan struct{}, 1)}
}

// addExpiring and forgetExpiring are told of every queue; Broker.mu is held.
func (b *Broker) addExpiring(q *Queue) {
	if q.record.Expires > 0 {
		b.expiry.queues[q] = true
		signal(b.expiry.changed)
	}
	if om.IsReplyQueue(q.name) {
		b.expiry.replies[q.record.Owner]++
	}
}

func (b *Broker) forgetExpiring(q *Queue) {
	delete(b.expiry.queues, q)
	if om.IsReplyQueue(q.name) {
		if b.expiry.replies[q.record.Owner]--; b.expiry.replies[q.record.Owner] == 0 {
			delete(b.expiry.replies, q.record.Owner)
		}
	}
}

func (b *Broker) replyQueues(owner string) int { return b.expiry.replies[owner] }

// MadeReplyQueue reports whether a user made the reply queue of that name.
func (b *Broker) MadeReplyQueue(user, name string) bool {
	if !om.IsReplyQueue(name) {
		return false
	}
	q, err := b.Queue("describe queue", name)
	return err == nil && q.record.Owner == user
}

// checkExpires holds the rules of queues that expire and of reply queues.
func checkExpires(op, full string, c om.QueueConfig) error {
	bad := func(format string, args ...any) error {
		return om.NewError(om.CodeBadParameter, op, full, format, args...)
	}
	switch {
	case c.Expires != 0 && (c.Expires < MinExpires || c.Expires > MaxExpires):
		return bad("it cannot expire after %v; that is 0 for never, or %v to %v", c.Expires, MinExpires, MaxExpires)
	case !om.IsReplyQueue(full):
		return nil
	}
	namespace, name := om.SplitQueueName(full, "")
	switch {
	case namespace != om.DefaultNamespace || len(strings.TrimPrefix(name, om.ReplyQueuePrefix)) < om.ReplyTokenLength:
		return bad("the name of a reply queue is %q and %d signs at least that nobody can guess, in the namespace %q; choose a name of another beginning for a queue that is none", om.ReplyQueuePrefix, om.ReplyTokenLength, om.DefaultNamespace)
	case c.Expires == 0 || c.Expires > MaxReplyExpires:
		return bad("a reply queue must expire, after %v at most", MaxReplyExpires)
	case c.Partitions > 1 || c.Deduplication != (om.Deduplication{}) || c.DeadLetterExpired || c.TransactionCheck != (om.TransactionCheck{}) || len(c.Description) > MaxNameLength:
		return bad("a reply queue has one partition and no setting but that it expires")
	}
	return nil
}

// use notes durably that somebody has sent to a queue that expires, or received
// from it. An eighth of Expires is the grain, so that a busy queue writes eight
// times in it; receivers are looked at as often. What is noted may therefore be a
// quarter of Expires old when the process dies. Queue.mu is held.
func (q *Queue) use(tx *transaction) {
	if r := &q.record; r.Expires > 0 && tx.now-r.Used >= r.Expires/8 {
		r.Used = tx.now
		tx.batch.Put(r.key(), encode(*r))
	}
}

// inUse reports whether a receiver is open. Queue.mu is held.
func (q *Queue) inUse() bool {
	for _, g := range q.groups {
		if len(g.receivers) > 0 {
			return true
		}
	}
	return false
}

// useQueues notes a use.
type useQueues struct{ queues []*Queue }

func (c *useQueues) apply(_ *Broker, tx *transaction) error {
	for _, q := range c.queues {
		q.mu.Lock()
		deleted := q.deleted
		if !deleted {
			q.use(tx)
		}
		q.mu.Unlock()
		if deleted && len(c.queues) == 1 {
			return notFound("bind", q.name)
		}
	}
	return nil
}

// expireQueue deletes a queue unless it has been used since the decision.
type expireQueue struct {
	queue *Queue
	used  int64
	done  bool // the answer
}

func (c *expireQueue) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q := c.queue; !q.deleted && q.record.Used == c.used {
		q.remove(tx)
		c.done = true
	}
	return nil
}

// runExpiry deletes queues that nobody uses, until ctx ends. It looks at all
// that expire eight times in the shortest of their times. A queue goes five
// quarters of its time after the last use that was noted: after its time, and
// before half as much again.
func (b *Broker) runExpiry(ctx context.Context) {
	opened := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if wait := b.expiryStep(ctx, opened); wait > 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-b.expiry.changed:
		case <-ctx.Done():
		}
	}
}

const (
	// maxLook is the longest pause between two looks.
	maxLook = time.Minute
	// maxReturn is the longest time that users have to come back after a start.
	maxReturn = time.Minute
	// usesAtOnce bounds the queues that one command notes.
	usesAtOnce = 64
)

// expiryStep looks at all queues that expire and returns when to look again, 0
// when there are none.
func (b *Broker) expiryStep(ctx context.Context, opened time.Time) (next time.Duration) {
	now := time.Now()
	var used []*Queue
	var gone []*expireQueue
	b.mu.RLock()
	for q := range b.expiry.queues {
		expires := time.Duration(q.record.Expires) * time.Millisecond
		if look := min(expires/8, maxLook); next == 0 || look < next {
			next = look
		}
		q.mu.Lock()
		idle := now.Sub(time.UnixMilli(q.record.Used))
		switch {
		case q.inUse():
			if idle >= expires/8 {
				used = append(used, q)
			}
		case idle >= expires+expires/4 && now.Sub(opened) >= min(expires/4, maxReturn):
			gone = append(gone, &expireQueue{queue: q, used: q.record.Used})
		}
		q.mu.Unlock()
	}
	b.mu.RUnlock()
	for some := range slices.Chunk(used, usesAtOnce) {
		b.commits.enqueueLazy(&useQueues{some})
	}
	for _, c := range gone {
		b.expireLogged(ctx, c)
	}
	return next
}

func (b *Broker) expireLogged(ctx context.Context, c *expireQueue) {
	err := b.submit(ctx, c)
	switch {
	case err == nil && c.done:
		b.log.Info("a queue that nobody used was deleted", "queue", c.queue.name, "expires", time.Duration(c.queue.record.Expires)*time.Millisecond)
	case err != nil && ctx.Err() == nil:
		b.log.Error("a queue that nobody uses cannot be deleted; it is tried again", "queue", c.queue.name, "error", err)
	}
}
