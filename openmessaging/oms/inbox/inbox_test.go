package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
)

// settled counts how deliveries are settled.
type settled struct {
	mu         sync.Mutex
	acks       int
	nacks      []time.Duration
	failAck    error
	withoutCap bool
}

func (s *settled) Settle(_ context.Context, d *om.Delivery, a om.Action, delay time.Duration, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case a == om.Ack && s.failAck != nil:
		return s.failAck
	case a == om.Ack:
		s.acks++
	case s.withoutCap:
		return om.NewError(om.CodeUnsupported, "nack", d.Destination, "")
	default:
		s.nacks = append(s.nacks, delay)
	}
	return nil
}

func (s *settled) delivery(id string) *om.Delivery {
	m := om.NewMessage("payments", nil)
	m.MessageID = id
	d := om.NewDelivery(m, 0, 0, s)
	return &d
}

func TestOncePerGroup(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{Group: "billing", Window: time.Hour})
		other := prepared(t, db, inbox.Options{Group: "Billing"})
		var s settled
		for range 3 {
			ok(t, ib.Process(t.Context(), s.delivery("1"), effect("one")))
		}
		ok(t, ib.Process(t.Context(), s.delivery("2"), effect("two")))
		ok(t, other.Process(t.Context(), s.delivery("1"), effect("other")))
		equal(t, "acknowledged", s.acks, 5)
		equal(t, "one", count(t, db, "effects WHERE name = 'one'"), 1)
		equal(t, "all", count(t, db, "effects"), 3)
	})
}

func TestFailureLeavesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{NackDelay: time.Minute})
		var s settled
		boom := errors.New("boom")
		err := ib.Process(t.Context(), s.delivery("1"), func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(effect("one")(ctx, tx), boom)
		})
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		equal(t, "given back", len(s.nacks), 1)
		equal(t, "pause", s.nacks[0], time.Minute)
		func() {
			defer func() { equal(t, "panic", recover(), any(boom)) }()
			_ = ib.Process(t.Context(), s.delivery("1"), func(context.Context, *sql.Tx) error { panic(boom) })
		}()
		s.withoutCap = true
		equal(t, "error", ib.Process(t.Context(), s.delivery("1"), func(context.Context, *sql.Tx) error { return boom }), boom)
		equal(t, "effects", count(t, db, "effects"), 0)
		equal(t, "ids", count(t, db, "oms_inbox"), 0)
		equal(t, "acknowledged", s.acks, 0)
		ok(t, ib.Process(t.Context(), s.delivery("1"), effect("one")))
		equal(t, "effects", count(t, db, "effects"), 1)
	})
}

func TestFailedAckIsMadeGoodByRedelivery(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{})
		stale := om.NewError(om.CodeStaleReceipt, "ack", "payments", "")
		s := settled{failAck: stale}
		if err := ib.Process(t.Context(), s.delivery("1"), effect("one")); !errors.Is(err, om.CodeStaleReceipt) {
			t.Fatal(err)
		}
		s.failAck = nil
		ok(t, ib.Process(t.Context(), s.delivery("1"), effect("one")))
		equal(t, "effects", count(t, db, "effects"), 1)
		equal(t, "acknowledged", s.acks, 1)
		equal(t, "given back", len(s.nacks), 0)
	})
}

func TestEndedContextGivesBack(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{})
		var s settled
		ctx, cancel := context.WithCancel(t.Context())
		err := ib.Process(ctx, s.delivery("1"), func(ctx context.Context, tx *sql.Tx) error {
			cancel()
			return effect("one")(ctx, tx)
		})
		if err == nil {
			t.Fatal("committed under a context that has ended")
		}
		equal(t, "given back", len(s.nacks), 1)
		equal(t, "effects", count(t, db, "effects"), 0)
	})
}

// TestIDs: equal means the same bytes, whatever they are.
func TestIDs(t *testing.T) {
	long := strings.Repeat("x", 300)
	ids := []string{"a", "A", "a ", " a", "ä", "a\u0308", "\U0001F600", "a\x00b", "a\xff", "%", "'", "?", "$1", long, long + "y", strings.Repeat("ü", 127), strings.Repeat("ü", 128)}
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{Group: "grüße"})
		tx, err := db.BeginTx(t.Context(), nil)
		ok(t, err)
		defer tx.Rollback()
		for _, again := range []bool{false, true} {
			for _, id := range ids {
				seen, err := ib.Seen(t.Context(), tx, id)
				ok(t, err)
				equal(t, fmt.Sprintf("%q", id), seen, again)
			}
		}
		if _, err := ib.Seen(t.Context(), tx, ""); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("an empty id: %v", err)
		}
		ok(t, tx.Commit())
		equal(t, "ids", count(t, db, "oms_inbox"), len(ids))
	})
}

func TestDeduplicationIDComesBeforeMessageID(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{})
		var s settled
		for _, id := range []string{"1", "2"} {
			d := s.delivery(id)
			d.Properties[om.PropertyDeduplicationID] = om.String("same")
			ok(t, ib.Process(t.Context(), d, effect("one")))
		}
		equal(t, "effects", count(t, db, "effects"), 1)
		equal(t, "acknowledged", s.acks, 2)
	})
}

// TestConcurrentDeliveries: of many deliveries of one message at once one takes
// effect, and one that fails leaves it to another.
func TestConcurrentDeliveries(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{})
		var s settled
		var all sync.WaitGroup
		boom := errors.New("boom")
		var first sync.Once
		for range 8 {
			all.Go(func() {
				for { // each error is a redelivery; InnoDB ends some that wait as deadlocks
					err := ib.Process(t.Context(), s.delivery("1"), func(ctx context.Context, tx *sql.Tx) (err error) {
						first.Do(func() { err = boom })
						return errors.Join(err, effect("one")(ctx, tx))
					})
					if err == nil || t.Context().Err() != nil {
						return
					}
					if !errors.Is(err, boom) && !strings.Contains(err.Error(), "Deadlock") {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		equal(t, "effects", count(t, db, "effects"), 1)
		equal(t, "acknowledged", s.acks, 8)
	})
}

// TestWindow: ids go when they are older than the window, and not before, and
// those of other groups stay.
func TestWindow(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ib := prepared(t, db, inbox.Options{Group: "a", Window: time.Hour})
		other := prepared(t, db, inbox.Options{Group: "b"})
		var s settled
		const many = 1300
		store := func(ib *inbox.Inbox, first, n int) {
			t.Helper()
			tx, err := db.BeginTx(t.Context(), nil)
			ok(t, err)
			defer tx.Rollback()
			for i := range n {
				_, err := ib.Seen(t.Context(), tx, fmt.Sprint(first+i))
				ok(t, err)
			}
			ok(t, tx.Commit())
		}
		store(ib, 0, many)
		store(other, 0, 1)
		execute(t, db, fmt.Sprintf("UPDATE oms_inbox SET seen_at = seen_at - %d", time.Hour.Milliseconds()+1))
		store(ib, many, 10)
		execute(t, db, fmt.Sprintf("UPDATE oms_inbox SET seen_at = seen_at - %d", time.Minute.Milliseconds()))
		for range 256 { // a turn of cleaning
			ok(t, ib.Process(t.Context(), s.delivery(fmt.Sprint(many)), effect("one")))
		}
		equal(t, "ids after one turn", count(t, db, "oms_inbox"), many-512+10+1)
		n, err := ib.Clean(t.Context())
		ok(t, err)
		equal(t, "removed", n, many-512)
		equal(t, "ids", count(t, db, "oms_inbox"), 10+1)
		equal(t, "effects", count(t, db, "effects"), 0)
		ok(t, ib.Process(t.Context(), s.delivery("0"), effect("one")))
		equal(t, "effects after the window", count(t, db, "effects"), 1)
	})
}

func TestMigrate(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		_, err := inbox.New(t.Context(), db, inbox.Options{})
		if !errors.Is(err, om.CodeStorageError) || !strings.Contains(err.Error(), "run inbox.Migrate first") {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := inbox.Migrate(t.Context(), db, inbox.Options{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		ok(t, inbox.Migrate(t.Context(), db, inbox.Options{}))
		_, err = inbox.New(t.Context(), db, inbox.Options{})
		ok(t, err)
		execute(t, db, "UPDATE oms_schema SET version = 99")
		for _, err := range []error{inbox.Migrate(t.Context(), db, inbox.Options{}), func() error { _, err := inbox.New(t.Context(), db, inbox.Options{}); return err }()} {
			if !errors.Is(err, om.CodeStorageError) || !strings.Contains(err.Error(), "use the newer program") {
				t.Error(err)
			}
		}
	})
}

func TestOptions(t *testing.T) {
	db := newSource(t, "SQLite").open(t)
	ok(t, inbox.Migrate(t.Context(), db, inbox.Options{Dialect: "sqlite"}))
	for part, o := range map[string]inbox.Options{
		"shorter than a second": {Window: time.Millisecond},
		"is negative":           {NackDelay: -1},
		"of 1 to 255 bytes":     {Group: strings.Repeat("x", 256)},
		"there are postgresql":  {Dialect: "oracle"},
	} {
		if _, err := inbox.New(t.Context(), db, o); !errors.Is(err, om.CodeBadParameter) || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
