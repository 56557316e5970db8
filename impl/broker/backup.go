package broker

import (
	"context"
	"errors"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// Snapshot shows everything that the broker has stored as of one commit, while
// the broker goes on; see store.Snapshot. It must be closed before the broker.
type Snapshot struct{ shot *store.Snapshot }

// Part is a piece of a snapshot.
type Part = store.Part

// Summary tells what the parts of a snapshot hold in all.
type Summary = store.Summary

// Snapshot returns a snapshot: everything that was acknowledged before the call
// is in it.
func (b *Broker) Snapshot() (*Snapshot, error) {
	cmd := &takeSnapshot{}
	// Not bounded by a context: a snapshot that nobody gets is never closed.
	if err := b.submit(context.Background(), cmd); err != nil {
		return nil, errors.Join(err, cmd.close())
	}
	return &Snapshot{cmd.shot}, nil
}

// Commit returns the number of the commit.
func (s *Snapshot) Commit() uint64 { return s.shot.Commit() }

// StoreID returns the identity of the store, empty in memory.
func (s *Snapshot) StoreID() string { return s.shot.StoreID() }

// Bytes returns about how many bytes the snapshot has.
func (s *Snapshot) Bytes() int64 { return s.shot.Bytes() }

// Parts calls f with all parts in order; a part belongs to f while it runs. It
// gives CodeClosed when the broker is closed meanwhile, and CodeStorageCorrupt for
// damage.
func (s *Snapshot) Parts(ctx context.Context, f func(Part) error) (Summary, error) {
	var failed error
	sum, err := s.shot.Parts(ctx, func(p Part) error {
		failed = f(p)
		return failed
	})
	if failed != nil || ctx.Err() != nil {
		return sum, err
	}
	return sum, storeError(err, "backup", "")
}

// Close lets go of what the snapshot shows.
func (s *Snapshot) Close() error { return storeError(s.shot.Close(), "backup", "") }

// takeSnapshot changes nothing. As a command it sees the store between commits.
type takeSnapshot struct{ shot *store.Snapshot }

func (c *takeSnapshot) apply(b *Broker, _ *transaction) (err error) {
	c.shot, err = b.store.Snapshot()
	return storeError(err, "backup", "")
}

func (c *takeSnapshot) close() error {
	if c.shot == nil {
		return nil
	}
	return c.shot.Close()
}
