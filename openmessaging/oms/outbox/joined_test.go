package outbox_test

import (
	"context"
	"database/sql"
	"strconv"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// joinedJob is the job of a child that consumes with an inbox, changes the database
// and publishes with an outbox, all of it in one transaction.
const joinedJob = "joined"

// The steps besides those of the relay at which it kills itself.
const (
	afterEffect = "after the effect and Write, before commit"
	beforeAck   = "after commit, before the acknowledgement"
)

var joinedSteps = []string{afterEffect, beforeAck, beforePublish, beforeMark}

// TestKillJoined kills a process that consumes, books and publishes in one SQL
// transaction, at each step, again and again. Each message is booked once, and
// one message tells of each.
func TestKillJoined(t *testing.T) {
	for _, kind := range sqlserver.Kinds {
		t.Run(kind, func(t *testing.T) { killJoined(t, newSource(t, kind)) })
	}
}

func killJoined(t *testing.T, s source) {
	rounds := 2 * len(joinedSteps)
	if *roundsFlag > 0 {
		rounds = *roundsFlag
	}
	db := s.open(t)
	ob := prepared(t, db, outbox.Options{})
	ok(t, inbox.Migrate(t.Context(), db, inbox.Options{}))
	execute(t, db, "CREATE TABLE booked (name VARCHAR(100) NOT NULL)")
	dir, total := t.TempDir(), 40*rounds
	ap := open(t, dir)
	for _, name := range []string{"in", "out"} {
		ok(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: name, Partitions: 1}))
	}
	p, err := ap.NewProducer(t.Context())
	ok(t, err)
	var ms []*om.Message
	for i := range total {
		ms = append(ms, msg("in", "", strconv.Itoa(i)))
	}
	_, err = p.SendBatch(t.Context(), ms)
	ok(t, err)
	ok(t, ap.Close(t.Context()))
	for i := range rounds {
		s.runChild(t, db, dir, i, joinedSteps[i%len(joinedSteps)], joinedJob)
	}
	execute(t, db, "UPDATE oms_outbox_relay SET expires_at = 0")
	ap = open(t, dir)
	producer, err := ap.NewProducer(t.Context())
	ok(t, err)
	r := relay(t, ob, producer, outbox.RelayOptions{})
	run(t, r)
	w := &work{db: db, ob: ob, ap: ap, killer: &killer{}, relay: r}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	w.rest = func() bool { return count(t, db, "booked") < total }
	ok(t, w.transform(ctx))
	equal(t, "booked", count(t, db, "booked"), total)
	equal(t, "booked once", count(t, db, "(SELECT DISTINCT name FROM booked) AS x"), total)
	told, stored := tellings(ctx, t, ap, total)
	for i := range total {
		if n := len(told[strconv.Itoa(i)]); n != 1 {
			t.Errorf("%d messages tell of %d", n, i)
		}
	}
	t.Logf("%d kills; %d messages consumed, booked and told of once; %d were published twice with the same deduplication id", rounds, total, stored-total)
	if stored == total {
		t.Error("no kill had a message published twice: the test shows nothing")
	}
}

func count(t *testing.T, db *sql.DB, from string) (n int) {
	t.Helper()
	ok(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+from).Scan(&n))
	return n
}

// tellings consumes the messages that were published until those of all are
// there. It returns the deduplication ids of each body, and how many messages
// there were.
func tellings(ctx context.Context, t *testing.T, ap om.AccessPoint, total int) (told map[string]map[string]bool, stored int) {
	t.Helper()
	consumer, err := ap.NewPullConsumer(ctx)
	ok(t, err)
	ok(t, consumer.Bind(ctx, "out"))
	told = map[string]map[string]bool{}
	for len(told) < total {
		ds, err := consumer.ReceiveBatch(ctx, 1000)
		ok(t, err)
		ok(t, consumer.Ack(ctx, ds...))
		for _, d := range ds {
			if told[string(d.Body)] == nil {
				told[string(d.Body)] = map[string]bool{}
			}
			told[string(d.Body)][om.DeduplicationID(d.Message)] = true
			stored++
		}
	}
	return told, stored
}

// transform consumes, books and writes until there is nothing more.
func (w *work) transform(ctx context.Context) error {
	ib, err := inbox.New(ctx, w.db, inbox.Options{})
	if err != nil {
		return err
	}
	consumer, err := w.ap.NewPullConsumer(ctx)
	if err != nil {
		return err
	}
	if err := consumer.Bind(ctx, "in"); err != nil {
		return err
	}
	for n := 0; w.rest == nil || w.rest(); n++ {
		d, err := consumer.Receive(ctx)
		if err != nil {
			return err
		}
		watched := om.NewDelivery(d.Message, d.Partition, d.Offset, acking{d.Settler(), w.killer})
		err = ib.Process(ctx, &watched, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO booked (name) VALUES ('"+string(d.Body)+"')"); err != nil {
				return err
			}
			if err := w.ob.Write(ctx, tx, msg("out", "", string(d.Body))); err != nil {
				return err
			}
			w.killer.pass(afterEffect)
			return nil
		})
		if err != nil {
			return err
		}
		if w.rest == nil {
			w.published(ctx, n)
		}
	}
	return nil
}

// acking comes to the step before an acknowledgement.
type acking struct {
	om.Settler
	killer *killer
}

func (a acking) Settle(ctx context.Context, d *om.Delivery, action om.Action, delay time.Duration, reason string) error {
	a.killer.pass(beforeAck)
	return a.Settler.Settle(ctx, d, action, delay, reason)
}
