package broker

import (
	"slices"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// pending is a command on its way through the committer.
type pending struct {
	cmd   command
	bytes int        // of payload, for gathering and the free-space guard
	done  chan error // buffered; nil when nobody waits
	err   error
}

func (p *pending) answer(err error) {
	if p.done != nil {
		p.done <- err
	}
}

// committer is the one goroutine that changes durable state. While it commits,
// the next commands gather.
type committer struct {
	b *Broker

	mu      sync.Mutex
	wake    *sync.Cond
	queue   []*pending
	queued  int // bytes of the queue
	lazy    int // as long as all of the queue may wait for others: how many these are
	stopped bool

	// Those who were just answered often come back at once. Under load the
	// next commit waits a little for them: as many as expected, no longer than
	// patience, which is what the last one took.
	expected int
	patience time.Duration
	hurry    *time.Timer // ends the wait
	hurried  bool
	answered int           // by the last commit
	came     int           // commands since then
	ended    time.Time     // when it had answered
	back     time.Duration // after which half of them are back, smoothed

	idle *time.Timer // ends the wait of lazy commands

	tx           transaction
	retainFailed bool
}

const (
	// maxPatience bounds how long a commit waits for more commands.
	maxPatience = time.Millisecond
	// lazyWait bounds how long lazy commands wait for others.
	lazyWait = 100 * time.Millisecond
	// bigCommit is the payload from which a commit does not wait.
	bigCommit = 3 << 20
)

func newCommitter(b *Broker) *committer {
	c := &committer{b: b}
	c.wake = sync.NewCond(&c.mu)
	c.hurry = time.AfterFunc(maxPatience, func() {
		c.mu.Lock()
		c.hurried = true
		c.wake.Signal()
		c.mu.Unlock()
	})
	c.idle = time.AfterFunc(lazyWait, func() {
		c.mu.Lock()
		c.lazy = 0
		c.wake.Signal()
		c.mu.Unlock()
	})
	return c
}

// submit enqueues a command whose answer somebody may wait for.
func (c *committer) submit(cmd command) *pending {
	p := &pending{cmd: cmd, done: make(chan error, 1)}
	c.enqueue(p)
	return p
}

// enqueue hands commands over, to be committed together where they fit; after
// stop they are answered with errClosed.
func (c *committer) enqueue(ps ...*pending) {
	if len(ps) == 0 {
		return
	}
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		for _, p := range ps {
			p.answer(errClosed)
		}
		return
	}
	first := c.lazy == len(c.queue)
	c.queue = append(c.queue, ps...)
	for _, p := range ps {
		c.queued += p.bytes
	}
	if half := (c.answered + 1) / 2; c.came < half && c.came+len(ps) >= half {
		c.noteBack()
	}
	c.came += len(ps)
	c.lazy = 0
	if first || !c.waits() {
		c.wake.Signal()
	}
	c.mu.Unlock()
}

// enqueueLazy hands over a command that nobody waits for. It goes along with
// the next one, or alone after a while.
func (c *committer) enqueueLazy(cmd command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	if c.lazy == len(c.queue) {
		if c.lazy == 0 {
			c.idle.Reset(lazyWait)
		}
		c.lazy++
	}
	c.queue = append(c.queue, &pending{cmd: cmd})
}

// stop ends run after it has committed what is in the queue.
func (c *committer) stop() {
	c.mu.Lock()
	c.stopped = true
	c.wake.Signal()
	c.mu.Unlock()
	c.hurry.Stop()
	c.idle.Stop()
}

// waits reports whether the next commit waits for more. A commit that is big
// enough does not: while it is written, those who come next encode. Nor does one
// without payload for those who take nearly as long to come back: while it is
// written, they work on what they received.
func (c *committer) waits() bool {
	return len(c.queue) < c.expected && (c.queued > 0 || c.back < c.patience/4*3) && c.queued < bigCommit && !c.stopped
}

// noteBack notes that half of those who were answered are back.
func (c *committer) noteBack() { c.back += (time.Since(c.ended) - c.back) / 16 }

// gather blocks for commands and takes as many as one commit may hold.
func (c *committer) gather(group []*pending) []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.lazy == len(c.queue) && !(c.stopped && c.lazy > 0) {
		if c.stopped {
			return nil
		}
		c.wake.Wait()
	}
	if c.waits() {
		c.hurried = false
		c.hurry.Reset(c.patience)
		for c.waits() && !c.hurried {
			c.wake.Wait()
		}
		c.hurry.Stop()
	}
	bytes, n := 0, 0
	for n < len(c.queue) && n < commitCommands && (n == 0 || bytes+c.queue[n].bytes <= commitBytes) {
		bytes += c.queue[n].bytes
		n++
	}
	c.queued -= bytes
	group = append(group[:0], c.queue[:n]...)
	c.lazy = 0
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	return group
}

func (c *committer) run() {
	var group []*pending
	for {
		if group = c.gather(group); group == nil {
			return
		}
		began := time.Now()
		rest := c.commit(group)
		c.retain()
		c.mu.Lock()
		if c.came < (c.answered+1)/2 {
			c.noteBack()
		}
		c.answered, c.came, c.ended = len(group), 0, time.Now()
		for _, p := range rest {
			c.queued += p.bytes
		}
		c.queue = append(rest, c.queue...)
		c.expected = min(len(group)+len(c.queue), commitCommands)
		c.patience = min(time.Since(began), maxPatience)
		c.mu.Unlock()
	}
}

// commit applies a group of commands, writes what they change, and answers.
// What would make the commit too big is returned, for the next one.
func (c *committer) commit(group []*pending) (rest []*pending) {
	if err := c.b.store.Err(); err != nil {
		c.refuse(group, err)
		return nil
	}
	c.admit(group)
	c.tx.begin(time.Now().UnixMilli())
	for i, p := range group {
		if i > 0 && c.tx.full() {
			group, rest = group[:i], slices.Clone(group[i:])
			break
		}
		if p.err == nil {
			p.err = p.cmd.apply(c.b, &c.tx)
		}
	}
	c.tx.encodeDirty()
	if !c.tx.batch.Empty() {
		began := time.Now()
		if _, err := c.b.store.Commit(&c.tx.batch); err != nil {
			c.refuse(append(group, rest...), err)
			return nil
		}
		if c.b.told != nil {
			c.b.told(len(group), time.Since(began))
		}
	}
	for _, g := range c.tx.grown {
		c.b.ahead.add(g.queue, g.partition, g.queue.reveal(g.partition, c.tx.now))
	}
	if c.tx.timed {
		c.b.timers.wake()
	}
	if c.tx.checks {
		signal(c.b.halves.changed)
	}
	for _, p := range group {
		p.answer(p.err)
	}
	return rest
}

// refuse answers all commands with an error of the store.
func (c *committer) refuse(group []*pending, err error) {
	for _, p := range group {
		p.answer(storeError(err, "commit", ""))
	}
}

// admit refuses the commands for which the disk has no room, before any of
// them changes anything. What takes space is refused first; acknowledgements
// and the like may still use half of the reserve.
func (c *committer) admit(group []*pending) {
	const small = 256 // about what a command without payload writes
	bytes := len(group) * small
	for _, p := range group {
		bytes += p.bytes
	}
	err := c.b.store.Room(bytes, false)
	if err == nil {
		return
	}
	urgent := c.b.store.Room(len(group)*small, true)
	for _, p := range group {
		if p.bytes > 0 {
			p.err = storeError(err, "send", "")
		} else {
			p.err = storeError(urgent, "commit", "")
		}
	}
}

// retain drops what is over the limits of size and age.
func (c *committer) retain() {
	if c.b.store.Err() != nil {
		return
	}
	expired, ok, err := c.b.store.Expired(time.Now())
	if err != nil && !c.retainFailed {
		c.b.log.Error("retention failed; it is tried again after each commit", "error", err)
	}
	c.retainFailed = err != nil
	if !ok || !c.b.timers.clear(expired.Starts) || !c.b.halves.clear(expired.Starts) {
		return
	}
	for cmd := (&trim{Starts: expired.Starts, more: true}); cmd.more; {
		p := &pending{cmd: cmd, done: make(chan error, 1)}
		c.commit([]*pending{p})
		if <-p.done != nil {
			return
		}
	}
	c.b.store.Drop(expired)
}

// transaction is what a group of commands changes.
type transaction struct {
	now       int64 // milliseconds since 1970 UTC; never runs backwards
	batch     store.Batch
	dirty     map[*progress]bool // to be encoded once, at the end
	slots     map[*slot]bool     // as dirty
	delayed   map[*Queue]bool    // those whose number of delayed messages has changed
	dirtySize int                // about the bytes of these
	grown     []grown            // what receivers see after the commit
	due       int64              // when what is appended is due; 0 is at once
	timed     bool               // slots have changed
	checks    bool               // there are more transactions to check
}

// grown is a partition with new messages.
type grown struct {
	queue     *Queue
	partition *partition
}

func (t *transaction) grow(q *Queue, p *partition) {
	if !p.growing {
		p.growing = true
		t.grown = append(t.grown, grown{q, p})
	}
}

func (t *transaction) begin(now int64) {
	t.batch.Reset()
	t.now = max(t.now, now)
	t.batch.StoredAt = t.now
	if t.dirty == nil {
		t.dirty, t.slots, t.delayed = make(map[*progress]bool), make(map[*slot]bool), make(map[*Queue]bool)
	}
	clear(t.dirty)
	clear(t.slots)
	clear(t.delayed)
	t.dirtySize, t.timed, t.checks = 0, false, false
	t.grown = t.grown[:0]
}

// touch notes that a progress has changed.
func (t *transaction) touch(p *progress) {
	if !t.dirty[p] {
		t.dirty[p] = true
		t.dirtySize += progressBytes + 3*9*(len(p.settled)+len(p.counts))
	}
}

// full reports whether the commit should take no further command. One more
// always fits: see the limits.
func (t *transaction) full() bool {
	return t.batch.Bytes() > commitBytes || t.batch.Inline()+t.dirtySize > commitInline
}

// delays notes that the number of a queue's delayed messages has changed.
func (t *transaction) delays(q *Queue) {
	if !t.delayed[q] {
		t.delayed[q] = true
		t.dirtySize += slotBytes
	}
}

func (t *transaction) encodeDirty() {
	for p := range t.dirty {
		if p.group.removed {
			continue
		}
		t.batch.Put(p.key(), p.encode())
	}
	for s := range t.slots {
		t.batch.Put(s.key(), encode(s.record))
	}
	for q := range t.delayed {
		if q.deleted || q.delayed == 0 {
			t.batch.Delete(q.delayedKey())
		} else {
			t.batch.Put(q.delayedKey(), encode(q.delayed))
		}
	}
}

// command changes durable state. apply is called by the committer alone; an
// error means that it changed nothing. It must be deterministic.
type command interface {
	apply(b *Broker, tx *transaction) error
}

// ping changes nothing.
type ping struct{}

func (*ping) apply(*Broker, *transaction) error { return nil }

// retainTick gives retention by age its turn: it writes something, so that a
// bucket that is old enough is left.
type retainTick struct{}

func (*retainTick) apply(b *Broker, tx *transaction) error {
	b.ids.put(tx)
	return nil
}

// notFound is the answer to what names something that is not there any more.
func notFound(op, queue string) error {
	return om.NewError(om.CodeDestinationNotFound, op, queue, "no queue has that name; create it first")
}
