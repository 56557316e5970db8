package outbox

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// BatchSender is what a relay sends by; every openmessaging.Producer is one.
type BatchSender interface {
	SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error)
}

// RelayOptions are the settings of a [Relay]; zero values stand for the
// defaults that the fields name.
type RelayOptions struct {
	// Poll is how often the relay looks for messages that nobody told it of by
	// Wake. Default 500 ms.
	Poll time.Duration
	// Lease is for how long a relay that has died or lost the database keeps
	// others from publishing. At least 100 ms. Default 10 s.
	Lease time.Duration
	// Logger is told of failed sends, of messages that are set aside, and of
	// errors of the database. Default slog.Default().
	Logger *slog.Logger
}

// Relay publishes what an outbox holds. Of all relays of a database, in however
// many processes, one works and the others wait to take its place.
type Relay struct {
	outbox *Outbox
	sender BatchSender
	opts   RelayOptions
	wake   chan struct{}
	limit  int // of rows in the next batch
}

// The pauses after a send in which nothing was accepted, or a failure of the
// database: from the first to the last, doubled each time.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// How long a batch that is on its way has to be finished when Run is stopped.
const grace = 10 * time.Second

// NewRelay returns a relay that publishes what o holds by s, to be run with
// [Relay.Run]. Error: 1418 for options out of range.
func NewRelay(o *Outbox, s BatchSender, opts RelayOptions) (*Relay, error) {
	opts.Poll = cmp.Or(opts.Poll, 500*time.Millisecond)
	opts.Lease = cmp.Or(opts.Lease, 10*time.Second)
	switch {
	case opts.Poll < time.Millisecond:
		return nil, om.NewError(om.CodeBadParameter, "open", "relay", "Poll %v is shorter than a millisecond", opts.Poll)
	case opts.Lease < 100*time.Millisecond:
		return nil, om.NewError(om.CodeBadParameter, "open", "relay", "the lease %v is shorter than 100 ms", opts.Lease)
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Relay{outbox: o, sender: s, opts: opts, wake: make(chan struct{}, 1), limit: maxRows}, nil
}

// Wake has the relay look for messages at once instead of at its next poll: call
// it after a transaction that wrote to the outbox was committed. It does not
// block and may be called at any time, by any goroutine.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends, and then returns nil: a batch that is on its
// way is finished before, within 10 s. What is committed is published in the
// order of writing, per queue and message key, and per queue for messages
// without a key, and then removed from the outbox. What the broker refuses for
// good is set aside with its error and does not block others; see
// [Outbox.Failed]. Everything else is tried again, with pauses of up to 5 s.
//
// It returns an error when the sender is closed. It must not be called again
// while it runs.
func (r *Relay) Run(ctx context.Context) error {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		l, err := r.outbox.acquire(ctx, r.opts.Lease)
		if l != nil {
			err = r.lead(ctx, l)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, om.ErrClosed):
			return err
		case err == nil || errors.Is(err, errLost): // another relay works
			pause = r.opts.Lease / 4
		default:
			r.opts.Logger.Warn("the outbox cannot be read; the relay tries again", "error", err)
			pause = min(max(2*pause, minPause), maxPause)
		}
		r.sleep(ctx, pause)
	}
	return nil
}

// lead publishes for as long as the relay has the lease.
func (r *Relay) lead(ctx context.Context, l *lease) error {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := l.release(last); err != nil {
			r.opts.Logger.Warn("the relay's lease was not given back; it ends by itself", "error", err)
		}
	}()
	pause := time.Duration(0)
	for ctx.Err() == nil {
		done, err := r.pass(ctx, l)
		switch {
		case errors.Is(err, errLost), errors.Is(err, om.ErrClosed):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.opts.Logger.Warn("the relay makes no progress and tries again", "error", err)
			pause = min(max(2*pause, minPause), maxPause)
			r.sleep(ctx, pause)
		case done == 0:
			pause = 0
			r.await(ctx)
		default:
			pause = 0
		}
		if l.left() <= l.length/2 {
			if err := l.renew(ctx, r.outbox.db); err != nil && (errors.Is(err, errLost) || l.left() <= 0) {
				return err
			}
		}
	}
	return nil
}

// await blocks until the next poll or Wake, but never for long enough to lose
// the lease.
func (r *Relay) await(ctx context.Context) {
	t := time.NewTimer(min(r.opts.Poll, r.opts.Lease/4))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-t.C:
	}
}

func (r *Relay) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
