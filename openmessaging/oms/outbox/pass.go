package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"
)

// Bounds of one batch. A single larger message goes alone.
const (
	maxRows  = 1000
	maxBytes = 4 << 20
)

// batch is some of what waits, in the order of writing.
type batch struct {
	ids []int64
	ms  []*om.Message
	// done are the rows of what is published, aside those of what is refused
	// for good, with the reasons.
	done  []int64
	aside []refusal
	// cause is why a message is neither.
	cause error
}

type refusal struct {
	id     int64
	reason error
}

// pass publishes one batch and returns how many rows are out of the way. An
// error says that there are none although some wait.
func (r *Relay) pass(ctx context.Context, l *lease) (done int, err error) {
	b, err := r.fetch(ctx)
	if err != nil || len(b.ids)+len(b.aside) == 0 {
		return 0, err
	}
	if l.left() <= l.length/2 { // also after a pause of this process
		if err := l.renew(ctx, r.outbox.db); err != nil {
			return 0, err
		}
	}
	work, end := graceful(ctx)
	defer end()
	r.publish(work, l, b)
	if err := r.mark(work, l, b); err != nil {
		return 0, err
	}
	if done = len(b.done) + len(b.aside); done == 0 || errors.Is(b.cause, om.ErrClosed) {
		return done, b.cause
	}
	return done, nil
}

// graceful returns a context that ends some time after ctx.
func graceful(ctx context.Context) (context.Context, func()) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := time.AfterFunc(math.MaxInt64, cancel)
	stop := context.AfterFunc(ctx, func() { t.Reset(grace) })
	return later, func() {
		stop()
		t.Stop()
		cancel()
	}
}

// fetch reads the next batch. Where it holds large messages the next read asks
// for fewer, because drivers may read ahead.
func (r *Relay) fetch(ctx context.Context) (*batch, error) {
	rows, err := r.outbox.db.QueryContext(ctx, fmt.Sprintf("SELECT id, header, body FROM oms_outbox ORDER BY id LIMIT %d", r.limit))
	if err != nil {
		return nil, dialect.Failure("read", "outbox", err)
	}
	defer rows.Close()
	b, bytes := &batch{}, 0
	for bytes < maxBytes && rows.Next() {
		var id int64
		var header string
		var body []byte
		if err := rows.Scan(&id, &header, &body); err != nil {
			return nil, dialect.Failure("read", "outbox", err)
		}
		bytes += len(header) + len(body)
		m, err := decode(header, body)
		if err != nil {
			b.aside = append(b.aside, refusal{id, fmt.Errorf("the row cannot be read: %w", err)})
			continue
		}
		b.ids, b.ms = append(b.ids, id), append(b.ms, m)
	}
	if bytes < maxBytes {
		r.limit = min(2*r.limit, maxRows)
	} else {
		r.limit = max(1, len(b.ids)+len(b.aside))
	}
	return b, dialect.Failure("read", "outbox", rows.Err())
}

// publish sends the batch while it holds the lease, and sorts it by what became
// of it.
func (r *Relay) publish(ctx context.Context, l *lease, b *batch) {
	if len(b.ms) == 0 {
		return
	}
	held, end := l.hold(ctx)
	defer end()
	r.send(held, b, 0, len(b.ms))
	// A driver that stores all or nothing may refuse all because of one.
	if len(b.done)+len(b.aside) > 0 || len(b.ms) == 1 || om.Retryable(b.cause) || waits(b.cause) {
		return
	}
	for i := range b.ms {
		settled := len(b.done) + len(b.aside)
		if r.send(held, b, i, i+1); len(b.done)+len(b.aside) == settled {
			return // nothing overtakes it
		}
	}
}

// send sends the messages from i up to end.
func (r *Relay) send(ctx context.Context, b *batch, i, end int) {
	_, err := r.sender.SendBatch(ctx, b.ms[i:end])
	var each *om.BatchError
	if err != nil && !errors.As(err, &each) && end-i > 1 {
		b.cause = err
		return
	}
	sure := end-i == 1 || each == nil || each.Failed() < end-i
	for k := i; k < end; k++ {
		reason := err
		if each != nil {
			reason = each.At(k - i)
		}
		switch {
		case reason == nil:
			b.done = append(b.done, b.ids[k])
		case refused(reason, sure):
			b.aside = append(b.aside, refusal{b.ids[k], reason})
		case b.cause == nil || om.Retryable(b.cause):
			b.cause = reason
		}
	}
}

// refused reports whether an error says that the broker will never take this
// message. A bad request may be the fault of its neighbours, unless it is sure
// that it is not.
func refused(err error, sure bool) bool {
	switch om.CodeOf(err) {
	case om.CodeBadParameter, om.CodeForbidden:
		return true
	case om.CodeBadRequest:
		return sure
	}
	return errors.Is(err, om.ErrMessageFormat) || errors.Is(err, om.ErrDestination) || errors.Is(err, om.ErrUnsupported)
}

// waits reports whether an error concerns no single message although it is not
// retryable.
func waits(err error) bool { return om.CodeOf(err) != om.CodeBadRequest && !refused(err, true) }

// mark removes what is published and sets aside what is refused, in one
// transaction that shows that the lease is still there. What is published must
// not be sent again because the database was busy: so it tries until the end of
// its context.
func (r *Relay) mark(ctx context.Context, l *lease, b *batch) error {
	if len(b.done)+len(b.aside) == 0 {
		return nil
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := r.markOnce(ctx, l, b)
		if err == nil || errors.Is(err, errLost) {
			return err
		}
		r.opts.Logger.Warn("what is published could not be marked; the relay tries again", "messages", len(b.done), "error", err)
		if r.sleep(ctx, pause); ctx.Err() != nil {
			return err
		}
	}
}

func (r *Relay) markOnce(ctx context.Context, l *lease, b *batch) error {
	tx, err := r.outbox.db.BeginTx(ctx, nil)
	if err != nil {
		return dialect.Failure("mark", "outbox", err)
	}
	defer tx.Rollback()
	if err := l.renew(ctx, tx); err != nil {
		return err
	}
	gone := b.done
	for _, a := range b.aside {
		if err := r.outbox.setAside(ctx, tx, a.id, a.reason); err != nil {
			return dialect.Failure("mark", "outbox", err)
		}
		gone = append(gone, a.id)
	}
	if err := remove(ctx, tx, gone); err != nil {
		return dialect.Failure("mark", "outbox", err)
	}
	if err := tx.Commit(); err != nil {
		return dialect.Failure("mark", "outbox", err)
	}
	for _, a := range b.aside {
		r.opts.Logger.Warn("a message of the outbox was refused for good and is set aside", "id", a.id, "error", a.reason)
	}
	return nil
}

func remove(ctx context.Context, tx *sql.Tx, ids []int64) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM oms_outbox WHERE id IN ("+list(ids)+")")
	return err
}
