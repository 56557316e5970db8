package outbox_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

func TestCommittedIsPublished(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		full := msg("orders", "käse", "a\x00\xff")
		full.Ext.CorrelationID, full.Ext.TraceID, full.Ext.Priority = "c", "t", 7
		full.Ext.Partition = om.Some(int32(0))
		full.Ext.ExpireAt = time.Now().Add(time.Hour).UTC()
		full.Properties = om.Properties{
			"s": om.String("\U0001F600\x00ü"), "b": om.Binary([]byte{0, 255}), "h": om.Short(-1), "i": om.Integer(2), "l": om.Long(1 << 62),
			"f": om.Float(0.1), "d": om.Double(0.1), "t": om.Bool(true), "o": om.Object(om.Properties{"x": om.Long(1)}),
		}
		want := full.Clone()
		write(t, db, ob, full, msg("orders", "", ""))
		if !full.Properties.Equal(want.Properties) || full.Ext != want.Ext {
			t.Error("the caller's message is changed")
		}
		tx, err := db.BeginTx(t.Context(), nil)
		ok(t, err)
		ok(t, ob.Write(t.Context(), tx, msg("orders", "", "rolled back")))
		ok(t, tx.Rollback())
		equal(t, "waiting", stats(t, ob).Waiting, 2)

		var b broker
		stop := run(t, relay(t, ob, &b, outbox.RelayOptions{}))
		b.waitFor(t, 2)
		stop()
		equal(t, "left", stats(t, ob), outbox.Stats{})
		got := b.got[0]
		if len(om.DeduplicationID(got)) < 20 || om.DeduplicationID(got) == om.DeduplicationID(b.got[1]) {
			t.Errorf("ids %q, %q", om.DeduplicationID(got), om.DeduplicationID(b.got[1]))
		}
		delete(got.Properties, om.PropertyDeduplicationID)
		if !got.Properties.Equal(want.Properties) || got.Ext != want.Ext || string(got.Body) != "a\x00\xff" || got.Destination != "orders" {
			t.Errorf("%+v", got)
		}
		equal(t, "messages", len(b.got), 2)
		equal(t, "empty body", len(b.got[1].Body), 0)
	})
}

func TestBadMessageWritesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		tx, err := db.BeginTx(t.Context(), nil)
		ok(t, err)
		defer tx.Rollback()
		good := msg("q", "", "good")
		number := msg("q", "", "")
		number.Properties[om.PropertyDeduplicationID] = om.Long(1)
		invalid := msg("q", "", "")
		invalid.Properties["x"] = om.Value{}
		for _, c := range []struct {
			m    *om.Message
			code om.Code
		}{{nil, om.CodeBadParameter}, {msg("", "", ""), om.CodeDestinationNotFound}, {number, om.CodeMalformedMessage}, {invalid, om.CodeMalformedMessage}} {
			if err := ob.Write(t.Context(), tx, good, c.m, good); !errors.Is(err, c.code) {
				t.Errorf("%+v: %v", c.m, err)
			}
		}
		ok(t, ob.Write(t.Context(), tx))
		ok(t, tx.Commit())
		equal(t, "waiting", stats(t, ob).Waiting, 0)
	})
}

// TestOrderOfWriting writes batches larger than a statement and than a batch of
// the relay.
func TestOrderOfWriting(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		var b broker
		r := relay(t, ob, &b, outbox.RelayOptions{Poll: time.Hour})
		run(t, r)
		var want []string
		for _, n := range []int{1, 2350, 3} {
			var ms []*om.Message
			for range n {
				body := fmt.Sprint(len(want))
				want = append(want, body)
				ms = append(ms, msg("q", "", body))
			}
			write(t, db, ob, ms...)
			r.Wake()
		}
		b.waitFor(t, len(want))
		if !slices.Equal(b.bodies(), want) {
			t.Error("the order is another")
		}
	})
}

func TestLargeMessages(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		var b broker
		var most int
		b.whole = func(ms []*om.Message) error {
			size := 0
			for _, m := range ms[:len(ms)-1] {
				size += len(m.Body)
			}
			most = max(most, size)
			return nil
		}
		body := strings.Repeat("x", 1<<20)
		for range 4 {
			write(t, db, ob, msg("q", "", body), msg("q", "", "small"), msg("q", "", body))
		}
		run(t, relay(t, ob, &b, outbox.RelayOptions{}))
		b.waitFor(t, 12)
		if most > 4<<20 {
			t.Errorf("%d bytes in a batch", most)
		}
	})
}

// TestRefusedForGood: what the broker never takes blocks nobody, is listed,
// counted, and goes when it is retried.
func TestRefusedForGood(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		for _, atomic := range []bool{false, true} {
			ob := prepared(t, db, outbox.Options{})
			b := broker{atomic: atomic}
			b.refuse = func(m *om.Message) error {
				switch string(m.Body) {
				case "missing":
					return om.NewError(om.CodeDestinationNotFound, "send", m.Destination, "no\x00such queue")
				case "large":
					return om.NewError(om.CodeBodyTooLarge, "send", m.Destination, "")
				}
				return nil
			}
			write(t, db, ob, msg("q", "k", "1"), msg("q", "k", "missing"), msg("q", "k", "2"), msg("q", "k", "large"), msg("q", "k", "3"))
			execute(t, db, "UPDATE oms_outbox SET header = '{' WHERE id = (SELECT m FROM (SELECT MAX(id) AS m FROM oms_outbox) AS x)")
			write(t, db, ob, msg("q", "k", "4"))
			stop := run(t, relay(t, ob, &b, outbox.RelayOptions{}))
			b.waitFor(t, 3)
			stop()
			equal(t, "published", fmt.Sprint(b.bodies()), "[1 2 4]")
			equal(t, "stats", stats(t, ob), outbox.Stats{Failed: 3})
			failed, err := ob.Failed(t.Context(), 10)
			ok(t, err)
			equal(t, "listed", len(failed), 3)
			if f := failed[0]; f.Message == nil || string(f.Message.Body) != "missing" || !strings.Contains(f.Reason, "destination not found (1404)") || time.Since(f.At).Abs() > time.Hour {
				t.Errorf("%+v", f)
			}
			if f := failed[2]; f.Message != nil || !strings.Contains(f.Reason, "cannot be read") {
				t.Errorf("%+v", f)
			}
			b.refuse = nil
			n, err := ob.Retry(t.Context(), failed[0].ID, -1)
			ok(t, err)
			equal(t, "retried", n, 1)
			stop = run(t, relay(t, ob, &b, outbox.RelayOptions{}))
			b.waitFor(t, 4)
			stop()
			n, err = ob.Retry(t.Context())
			ok(t, err)
			equal(t, "retried", n, 2)
			stop = run(t, relay(t, ob, &b, outbox.RelayOptions{}))
			b.waitFor(t, 5)
			stop()
			equal(t, "published", fmt.Sprint(b.bodies()), "[1 2 4 missing large]")
			equal(t, "stats", stats(t, ob), outbox.Stats{Failed: 1})
			execute(t, db, "DELETE FROM oms_outbox_failed")
		}
	})
}

// TestBusyBrokerIsAskedAgain: nothing is set aside or overtaken because the
// broker cannot be reached or is broken, whatever it answers.
func TestBusyBrokerIsAskedAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		ob := prepared(t, db, outbox.Options{})
		var b broker
		failures := []error{
			om.NewError(om.CodeServiceUnavailable, "send", "q", ""), om.NewError(om.CodeStorageError, "send", "q", "the disk is gone"),
			om.NewError(om.CodeUnauthorized, "send", "q", ""), errors.New("a broken pipe"),
		}
		next := func() error {
			if len(failures) == 0 {
				return nil
			}
			err := failures[0]
			failures = failures[1:]
			return err
		}
		b.whole = func([]*om.Message) error { return next() }
		write(t, db, ob, msg("q", "k", "1"), msg("q", "k", "2"))
		stop := run(t, relay(t, ob, &b, outbox.RelayOptions{}))
		b.waitFor(t, 2)
		stop()
		equal(t, "published", fmt.Sprint(b.bodies()), "[1 2]")
		equal(t, "stats", stats(t, ob), outbox.Stats{})
	})
}

func TestClosedProducerEndsTheRelay(t *testing.T) {
	db := newSource(t, "SQLite").open(t)
	ob := prepared(t, db, outbox.Options{})
	b := broker{whole: func([]*om.Message) error { return om.NewError(om.CodeClosed, "send", "q", "") }}
	write(t, db, ob, msg("q", "", "1"))
	if err := relay(t, ob, &b, outbox.RelayOptions{}).Run(t.Context()); !errors.Is(err, om.ErrClosed) {
		t.Error(err)
	}
	equal(t, "waiting", stats(t, ob).Waiting, 1)
}

func TestMigrate(t *testing.T) {
	everywhere(t, func(t *testing.T, db *sql.DB) {
		if _, err := outbox.New(t.Context(), db, outbox.Options{}); !errors.Is(err, om.CodeStorageError) || !strings.Contains(err.Error(), "run outbox.Migrate first") {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := outbox.Migrate(t.Context(), db, outbox.Options{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		write(t, db, prepared(t, db, outbox.Options{}), msg("q", "", "kept"))
		equal(t, "waiting", stats(t, prepared(t, db, outbox.Options{})).Waiting, 1)
		execute(t, db, "UPDATE oms_schema SET version = 99")
		if err := outbox.Migrate(t.Context(), db, outbox.Options{}); !errors.Is(err, om.CodeStorageError) || !strings.Contains(err.Error(), "use the newer program") {
			t.Error(err)
		}
	})
}

func TestOptions(t *testing.T) {
	db := newSource(t, "SQLite").open(t)
	ob := prepared(t, db, outbox.Options{})
	if _, err := outbox.New(t.Context(), db, outbox.Options{Notify: true}); !errors.Is(err, om.CodeBadParameter) {
		t.Error(err)
	}
	for _, o := range []outbox.RelayOptions{{Poll: 1}, {Lease: time.Millisecond}} {
		if _, err := outbox.NewRelay(ob, &broker{}, o); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
