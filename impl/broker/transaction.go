package broker

import (
	"context"
	"errors"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Prepare stores a message that stays hidden until its transaction is committed,
// and returns the transaction's id when that is durable: the id of the message.
// a has a chunk of one message; group is that of the producers who may end the
// transaction and are asked what became of it; zero fields of check are those of
// the queue, or the defaults.
func (b *Broker) Prepare(ctx context.Context, a Append, group string, check om.TransactionCheck) (id string, err error) {
	const op = "prepare"
	if err := checkName(op, "producer group", group); err != nil {
		return "", err
	}
	if check, err = checkTransaction(op, a.Queue.name, check); err != nil {
		return "", err
	}
	p, err := b.newPublish(&a)
	if err != nil {
		return "", err
	}
	if p.count != 1 {
		return "", om.NewError(om.CodeBadParameter, op, a.Queue.name, "%d messages cannot be prepared at once; a transaction is of one, see SendTransacted", p.count)
	}
	if err := b.pending.Acquire(ctx, int64(len(a.Chunk))); err != nil {
		return "", err
	}
	c := &prepare{publish: p, group: group, check: check}
	c.pending = pending{cmd: c, bytes: len(a.Chunk), done: make(chan error, 1)}
	b.commits.enqueue(&c.pending)
	finish := func(err error) error {
		b.pending.Release(int64(len(a.Chunk)))
		return err
	}
	select {
	case err := <-c.done:
		return halfID{p.producer, p.sequence}.text(), finish(err)
	case <-ctx.Done():
		go func() { _ = finish(<-c.done) }()
		return "", ctx.Err()
	}
}

// checkTransaction refuses settings that are out of range.
func checkTransaction(op, queue string, c om.TransactionCheck) (om.TransactionCheck, error) {
	for what, d := range map[string]time.Duration{"first check": c.After, "next checks": c.Every} {
		if d != 0 && (d < MinCheckTime || d > MaxCheckTime) {
			return c, om.NewError(om.CodeBadParameter, op, queue, "the time %v before the %s of a transaction is not in %v to %v", d, what, MinCheckTime, MaxCheckTime)
		}
	}
	if c.Max < 0 || c.Max > MaxChecks {
		return c, om.NewError(om.CodeBadParameter, op, queue, "%d checks of a transaction are not in 1 to %d", c.Max, MaxChecks)
	}
	return c, nil
}

// prepare stores a half message.
type prepare struct {
	publish
	group string
	check om.TransactionCheck
}

func (c *prepare) apply(b *Broker, tx *transaction) error {
	q, h := c.queue, b.halves
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return notFound("prepare", q.name)
	}
	if err := b.fenced(c.epoch, "prepare", q.name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	id := halfID{c.producer, c.sequence}
	if h.open[id] != nil {
		return om.NewError(om.CodeBadRequest, "prepare", q.name, "the producer has prepared a message with the number %d before", c.sequence)
	}
	if h.limit > 0 && h.bytes+int64(len(c.chunk)) > h.limit {
		return om.NewError(om.CodeStorageBusy, "prepare", q.name,
			"open transactions take up %d bytes, a quarter of what the store may hold; end some, or give it more", h.bytes)
	}
	if h.log == 0 {
		h.log = b.newLog(tx)
		tx.batch.Put(keyHalfLog, encode(h.log))
	}
	d := q.record.Check
	r := halfRecord{
		Offset: h.next, Size: len(c.chunk), Target: q.list()[c.partition].log, Group: c.group, Prepared: tx.now,
		Next:   tx.now + firstOf(c.check.After, d.After, DefaultCheckAfter).Milliseconds(),
		Every:  firstOf(c.check.Every, d.Every, DefaultCheckEvery).Milliseconds(),
		Checks: firstOf(c.check.Max, d.Max, DefaultChecks),
	}
	x := &half{id: id, record: r}
	h.insert(x)
	h.keep(x, c.chunk)
	tx.batch.Append(h.log, h.next, 1, c.chunk)
	h.next++
	tx.batch.Put(id.key(), encode(r))
	tx.checks = true
	return nil
}

// firstOf returns the first value that is not zero.
func firstOf[T comparable](values ...T) (v T) {
	for _, v = range values {
		var none T
		if v != none {
			break
		}
	}
	return v
}

// EndTransaction commits a prepared message or rolls it back, and returns when
// that is durable. Ending it again in the same way is no error; in the other way
// it gives CodeTransactionState, and so does a transaction that was rolled back
// after the last check. group is that of the transaction, or empty for somebody
// who decides by hand, also about parked ones; epoch is that of the producer, and
// one that has passed gives CodeProducerFenced. A transaction that is not there,
// or is another group's, gives CodeTransactionNotExists.
func (b *Broker) EndTransaction(ctx context.Context, id, group string, epoch Epoch, verdict om.TxVerdict) error {
	op := "commit"
	if verdict == om.TxRollback {
		op = "rollback"
	}
	at, err := parseHalfID(op, id)
	if err != nil {
		return err
	}
	for {
		c := &endTransaction{id: at, op: op, group: group, epoch: epoch, verdict: verdict}
		if x, open := b.halves.get(at); open && verdict == om.TxCommit && (group == "" || group == x.record.Group) {
			if err := b.readHalf(c, &x); err != nil {
				return err
			}
		}
		if err := b.submit(ctx, c); err != nil || !c.moved {
			return err
		}
	}
}

// readHalf makes the publication of a half message.
func (b *Broker) readHalf(c *endTransaction, x *half) error {
	b.mu.RLock()
	owner, ok := b.logs[x.record.Target]
	b.mu.RUnlock()
	if !ok {
		return om.NewError(om.CodeDestinationNotFound, c.op, c.id.text(), "the queue was deleted, and the prepared message with it")
	}
	data, err := b.halfChunk(x, new(recordReader))
	if err != nil {
		return storeError(err, c.op, owner.queue.name)
	}
	c.offset = x.record.Offset
	c.half, err = b.newPublish(&Append{Queue: owner.queue, Partition: int32(owner.partition), Chunk: data})
	c.half.divided = -1 // the queue may have grown
	return err
}

// endTransaction exposes or discards a half message.
type endTransaction struct {
	id      halfID
	op      string
	group   string
	epoch   Epoch
	verdict om.TxVerdict

	half   publish // of a commit
	offset int64   // from where it was read
	moved  bool    // it is not there any more: read it again
}

func (c *endTransaction) apply(b *Broker, tx *transaction) error {
	h := b.halves
	if err := b.fenced(c.epoch, c.op, c.id.text()); err != nil {
		return err
	}
	h.mu.Lock()
	x := h.open[c.id]
	h.mu.Unlock()
	if x == nil || c.group != "" && x.record.Group != c.group {
		return c.ended(b, tx, x != nil)
	}
	if x.record.Parked && c.group != "" {
		if c.verdict == om.TxRollback {
			return nil
		}
		return om.NewError(om.CodeTransactionState, c.op, c.id.text(), "it was rolled back after the last check; somebody must commit it by hand")
	}
	if c.verdict == om.TxCommit {
		if c.moved = c.half.queue == nil || c.offset != x.record.Offset; c.moved {
			return nil
		}
		stored, err := c.half.check(b, tx)
		if err != nil {
			return err
		}
		if !stored {
			c.half.store(b, tx)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(x)
	tx.batch.Delete(c.id.key())
	tx.batch.PutIndex(c.id.tombKey(), encode(tomb{c.verdict, x.record.Group}))
	return nil
}

// tomb is what is left of a transaction that has ended.
type tomb struct {
	Verdict om.TxVerdict
	Group   string
}

// ended is the answer about a transaction that is not open.
func (c *endTransaction) ended(b *Broker, tx *transaction, foreign bool) (err error) {
	var t tomb
	key := c.id.tombKey()
	accept := func(_ string, value []byte) bool {
		err = decode("index of transactions", value, &t)
		return true
	}
	if _, value, ok := tx.batch.Floor(key, key); ok {
		accept(key, value)
	} else if _, e := b.store.Floor(key, key, accept); e != nil {
		err = e
	}
	switch {
	case err != nil:
		return storeError(err, c.op, c.id.text())
	case foreign || t.Verdict == om.TxUnknown || c.group != "" && t.Group != c.group:
		return noTransaction(c.op, c.id.text())
	case t.Verdict != c.verdict:
		return om.NewError(om.CodeTransactionState, c.op, c.id.text(), "the transaction has been ended the other way")
	}
	return nil
}

// Transaction is an open transaction, or one that was parked.
type Transaction struct {
	om.TransactionInfo
	Chunk []byte // of the message; nil when retention has dropped it
}

// Transactions lists up to limit transactions that have not ended, fewer where
// their messages are big, of one queue
// or of all when its name is empty, the oldest first.
func (b *Broker) Transactions(queue string, limit int) ([]Transaction, error) {
	const op = "list transactions"
	var only *Queue
	if queue != "" {
		var err error
		if only, err = b.Queue(op, queue); err != nil {
			return nil, err
		}
	}
	if limit < 1 || limit > MaxTransactions {
		return nil, om.NewError(om.CodeBadParameter, op, queue, "%d transactions are not in 1 to %d", limit, MaxTransactions)
	}
	found := b.halves.oldest(func(target uint64) bool { return only == nil || b.owns(only, target) }, limit)
	b.awaitDurable()
	var out []Transaction
	bytes := 0
	var reader recordReader
	for _, x := range found {
		t, err := b.describeHalf(&x, &reader)
		if err != nil {
			return nil, err
		}
		if bytes += len(t.Chunk); bytes > receiveBytes && len(out) > 0 {
			break
		}
		out = append(out, t)
	}
	return out, nil
}

// TransactionCounts tells how many transactions are open, and how many parked.
func (b *Broker) TransactionCounts() (open, parked int) {
	b.halves.mu.Lock()
	defer b.halves.mu.Unlock()
	return len(b.halves.open) - b.halves.parked, b.halves.parked
}

// Transaction tells of a transaction that has not ended.
func (b *Broker) Transaction(id string) (Transaction, error) {
	const op = "show transaction"
	at, err := parseHalfID(op, id)
	if err != nil {
		return Transaction{}, err
	}
	x, open := b.halves.get(at)
	b.awaitDurable()
	if !open {
		return Transaction{}, noTransaction(op, id)
	}
	return b.describeHalf(&x, new(recordReader))
}

// awaitDurable has what was found in memory be on disk when it is told. Where the
// store refuses it returns all the same.
func (b *Broker) awaitDurable() { _ = b.Ping(b.ctx) }

func (b *Broker) owns(q *Queue, log uint64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.logs[log].queue == q
}

func (b *Broker) describeHalf(x *half, reader *recordReader) (t Transaction, err error) {
	r := &x.record
	b.mu.RLock()
	owner := b.logs[r.Target]
	b.mu.RUnlock()
	t.TransactionInfo = om.TransactionInfo{
		ID: x.id.text(), ProducerGroup: r.Group, Prepared: time.UnixMilli(r.Prepared).UTC(), Checks: r.Asked, Parked: r.Parked,
	}
	if !r.Parked {
		t.NextCheck = time.UnixMilli(r.Next).UTC()
	}
	if owner.queue != nil {
		t.Queue = owner.queue.name
	}
	if t.Chunk, err = b.halfChunk(x, reader); err != nil && !errors.Is(err, store.ErrDropped) {
		return t, storeError(err, "show transaction", t.ID)
	}
	return t, nil
}
