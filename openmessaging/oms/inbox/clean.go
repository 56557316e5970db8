package inbox

import (
	"context"

	"github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"
)

// Every so many calls Process removes old ids, up to twice as many as came
// since, so that the table does not grow beyond what the window holds.
const (
	callsPerRemoval = 256
	removed         = 2 * callsPerRemoval
)

func (b *Inbox) removeSome(ctx context.Context) {
	if b.calls.Add(1)%callsPerRemoval != 0 {
		return
	}
	if _, err := b.removeBatch(ctx); err != nil && ctx.Err() == nil {
		b.opts.Logger.Warn("old ids of the inbox were not removed; the next turn tries again", "group", b.opts.Group, "error", err)
	}
}

// removeBatch removes some ids that are older than the window, and returns how
// many.
func (b *Inbox) removeBatch(ctx context.Context) (int64, error) {
	result, err := b.db.ExecContext(ctx, b.remove, b.opts.Group, b.opts.Window.Milliseconds(), removed)
	if err != nil {
		return 0, dialect.Failure("clean", "inbox", err)
	}
	n, err := result.RowsAffected()
	return n, dialect.Failure("clean", "inbox", err)
}

// Clean removes the group's ids that are older than the window, in batches of
// their own transactions, and returns how many there were. Process does so by
// itself, a batch at a time. Error: 1501.
func (b *Inbox) Clean(ctx context.Context) (removedIDs int64, err error) {
	for {
		n, err := b.removeBatch(ctx)
		removedIDs += n
		if err != nil || n == 0 {
			return removedIDs, err
		}
	}
}
