package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// TestOneOfSeveralWorks: of relays that run at once one sends at a time, and
// nothing comes twice while they stop and start.
func TestOneOfSeveralWorks(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		var b broker
		var mu sync.Mutex
		sending := map[int]bool{}
		var stops []func()
		for i := range 3 {
			mine := &broker{}
			mine.before = func(ctx context.Context, ms []*om.Message) {
				mu.Lock()
				sending[i] = true
				mu.Unlock()
				_, _ = b.SendBatch(ctx, ms)
			}
			stops = append(stops, run(t, relay(t, ob, mine, outbox.RelayOptions{Poll: time.Millisecond, Lease: time.Second})))
		}
		var want []string
		for range 20 {
			body := fmt.Sprint(len(want))
			want = append(want, body)
			write(t, db, ob, msg("q", "", body))
		}
		b.waitFor(t, 20)
		mu.Lock()
		equal(t, "relays that have sent", len(sending), 1)
		var worker int
		for worker = range sending {
		}
		mu.Unlock()
		stops[worker]() // another one takes its place
		want = append(want, "last")
		write(t, db, ob, msg("q", "", "last"))
		b.waitFor(t, len(want))
		if !slices.Equal(b.bodies(), want) {
			t.Errorf("published: %q", b.bodies())
		}
		mu.Lock()
		equal(t, "relays that have sent", len(sending), 2)
		mu.Unlock()
	})
}

// TestStalledRelayChangesNothing: one whose lease another has taken while it was
// sending neither removes nor sets aside.
func TestStalledRelayChangesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		write(t, db, ob, msg("q", "", "good"), msg("q", "", "bad"))
		stalled, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		first := broker{refuse: func(m *om.Message) error {
			if string(m.Body) == "bad" {
				return om.NewError(om.CodeDestinationNotFound, "send", "q", "")
			}
			return nil
		}}
		first.before = func(context.Context, []*om.Message) {
			once.Do(func() {
				close(stalled)
				<-goOn
			})
		}
		stopFirst := run(t, relay(t, ob, &first, outbox.RelayOptions{Lease: time.Hour}))
		<-stalled
		execute(t, db, "UPDATE oms_outbox_relay SET expires_at = 0") // time passes in the database
		holding := make(chan struct{})
		second := broker{whole: func([]*om.Message) error { return om.NewError(om.CodeStorageBusy, "send", "q", "") }}
		var told sync.Once
		second.before = func(context.Context, []*om.Message) { told.Do(func() { close(holding) }) }
		stopSecond := run(t, relay(t, ob, &second, outbox.RelayOptions{Lease: time.Hour}))
		<-holding
		close(goOn)
		first.wait(t, "the stalled send", func() bool { return first.calls > 0 })
		stopFirst()
		equal(t, "stats", stats(t, ob).Waiting, 2)
		equal(t, "set aside", stats(t, ob).Failed, 0)
		second.mu.Lock()
		second.whole = nil
		second.mu.Unlock()
		second.waitFor(t, 2)
		stopSecond()
		equal(t, "ids", om.DeduplicationID(first.got[0]), om.DeduplicationID(second.got[0]))
		equal(t, "stats", stats(t, ob), outbox.Stats{})
	})
}

// TestLeaseIsKeptWhileSending: a send that takes longer than the lease does not
// lose it.
func TestLeaseIsKeptWhileSending(t *testing.T) {
	db := newSource(t, "SQLite").open(t)
	ob := prepared(t, db, outbox.Options{})
	write(t, db, ob, msg("q", "", "slow"))
	renewed := func() (n int64) {
		ok(t, db.QueryRowContext(t.Context(), "SELECT beats FROM oms_outbox_relay").Scan(&n))
		return n
	}
	var b broker
	b.before = func(ctx context.Context, _ []*om.Message) {
		for from := renewed(); renewed() < from+5 && ctx.Err() == nil; {
		}
	}
	stop := run(t, relay(t, ob, &b, outbox.RelayOptions{Lease: time.Second}))
	b.waitFor(t, 1)
	stop()
	equal(t, "stats", stats(t, ob), outbox.Stats{})
}

// TestStoppedRelayFinishes: a batch that is on its way is marked before Run
// returns.
func TestStoppedRelayFinishes(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		write(t, db, ob, msg("q", "", "1"))
		ctx, cancel := context.WithCancel(t.Context())
		b := broker{before: func(context.Context, []*om.Message) { cancel() }}
		ok(t, relay(t, ob, &b, outbox.RelayOptions{}).Run(ctx))
		equal(t, "published", len(b.got), 1)
		equal(t, "stats", stats(t, ob), outbox.Stats{})
		// The lease was given back: the next one begins at once.
		next := broker{}
		write(t, db, ob, msg("q", "", "2"))
		run(t, relay(t, ob, &next, outbox.RelayOptions{Lease: time.Hour}))
		next.waitFor(t, 1)
	})
}
