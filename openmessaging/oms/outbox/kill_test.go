package outbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// The steps at which a child kills itself.
const (
	beforeCommit  = "after Write, before commit"
	afterCommit   = "after commit"
	beforePublish = "after the relay has read, before it publishes"
	beforeMark    = "after publishing, before the rows are removed"
	afterMark     = "after the rows are removed"
)

var steps = []string{beforeCommit, afterCommit, beforePublish, beforeMark, afterMark}

// What a child is told by its environment.
const (
	stepVariable   = "OUTBOX_STEP"
	roundVariable  = "OUTBOX_ROUND"
	afterVariable  = "OUTBOX_AFTER" // how often it passes the step before
	pathVariable   = "OUTBOX_PATH"
	driverVariable = "OUTBOX_DRIVER"
	dsnVariable    = "OUTBOX_DSN"
	jobVariable    = "OUTBOX_JOB" // joined or empty
)

// TestKill kills a process that books and publishes, at each step, again and
// again. Then what a consumer with an inbox has seen is what is booked: nothing
// is lost, nothing comes twice, nothing that was not committed.
func TestKill(t *testing.T) {
	for _, kind := range sqlserver.Kinds {
		t.Run(kind, func(t *testing.T) { killRounds(t, newSource(t, kind), om.Deduplication{}) })
	}
}

// TestKillDeduplicated: in a queue that deduplicates nothing is there twice in
// the first place.
func TestKillDeduplicated(t *testing.T) {
	killRounds(t, newSource(t, "SQLite"), om.Deduplication{Window: 24 * time.Hour})
}

func killRounds(t *testing.T, s source, once om.Deduplication) {
	rounds := 2 * len(steps)
	if *roundsFlag > 0 {
		rounds = *roundsFlag
	}
	db := s.open(t)
	ob := prepared(t, db, outbox.Options{})
	ok(t, inbox.Migrate(t.Context(), db, inbox.Options{}))
	execute(t, db, "CREATE TABLE booked (name VARCHAR(100) NOT NULL)")
	execute(t, db, "CREATE TABLE effects (name VARCHAR(100) NOT NULL)")
	dir := t.TempDir()
	ap := open(t, dir)
	ok(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "booked", Partitions: 1, Deduplication: once}))
	ok(t, ap.Close(t.Context()))
	for i := range rounds {
		step := steps[i%len(steps)]
		s.runChild(t, db, dir, i, step, "")
	}
	execute(t, db, "UPDATE oms_outbox_relay SET expires_at = 0")
	ap = open(t, dir)
	passedOver := drain(t, db, ob, ap)
	count := func(from string) (n int) {
		ok(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+from).Scan(&n))
		return n
	}
	equal(t, "booked and without effect", count("booked WHERE name NOT IN (SELECT name FROM effects)"), 0)
	equal(t, "effect without being booked", count("effects WHERE name NOT IN (SELECT name FROM booked)"), 0)
	equal(t, "effects", count("effects"), count("booked"))
	equal(t, "outbox", stats(t, ob), outbox.Stats{})
	t.Logf("%d kills; %d booked; %d messages published twice took effect once", rounds, count("booked"), passedOver)
	if once.Window > 0 {
		equal(t, "messages that are there twice", passedOver, 0)
	} else if passedOver == 0 {
		t.Error("no kill had a message published twice: the test shows nothing")
	}
}

// runChild runs a child until it kills itself.
func (s source) runChild(t *testing.T, db *sql.DB, dir string, round int, step, job string) {
	t.Helper()
	// The lease of the child that was killed has ended.
	execute(t, db, "UPDATE oms_outbox_relay SET expires_at = 0")
	var stderr bytes.Buffer
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), stepVariable+"="+step, roundVariable+"="+strconv.Itoa(round), afterVariable+"="+strconv.Itoa(rand.IntN(6)),
		pathVariable+"="+dir, driverVariable+"="+s.driver, dsnVariable+"="+s.dsn, jobVariable+"="+job)
	child.Stderr = &stderr
	err := child.Run()
	if child.ProcessState == nil || child.ProcessState.Exited() {
		t.Fatalf("round %d, %s: the child was not killed: %v\n%s", round+1, step, err, stderr.Bytes())
	}
}

func open(t testing.TB, dir string) om.AccessPoint {
	t.Helper()
	ap, err := oms.Open(t.Context(), badger.URL(dir))
	ok(t, err)
	t.Cleanup(func() { ok(t, ap.Close(context.Background())) })
	return ap
}

// drain publishes what is left, consumes everything with an inbox and returns
// how many messages it passed over. Per key they must ascend.
func drain(t *testing.T, db *sql.DB, ob *outbox.Outbox, ap om.AccessPoint) (passedOver int) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	producer, err := ap.NewProducer(ctx)
	ok(t, err)
	write(t, db, ob, msg("booked", "", "end"))
	run(t, relay(t, ob, producer, outbox.RelayOptions{}))
	ib, err := inbox.New(ctx, db, inbox.Options{})
	ok(t, err)
	consumer, err := ap.NewPullConsumer(ctx)
	ok(t, err)
	ok(t, consumer.Bind(ctx, "booked"))
	last := map[string]int{}
	for {
		d, err := consumer.Receive(ctx)
		ok(t, err)
		seen := true
		ok(t, ib.Process(ctx, d, func(ctx context.Context, tx *sql.Tx) error {
			seen = false
			if string(d.Body) == "end" {
				return nil
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO effects (name) VALUES ('"+string(d.Body)+"')")
			return err
		}))
		if string(d.Body) == "end" {
			return passedOver
		}
		if seen {
			passedOver++
			continue
		}
		var round, n int
		_, err = fmt.Sscanf(string(d.Body), "%d-%d", &round, &n)
		ok(t, err)
		if at := round<<20 + n; at < last[d.Ext.MessageKey] {
			t.Errorf("%s came after %d of the same key", d.Body, last[d.Ext.MessageKey])
		} else {
			last[d.Ext.MessageKey] = at
		}
	}
}

// work is what a child works with.
type work struct {
	db     *sql.DB
	ob     *outbox.Outbox
	ap     om.AccessPoint
	killer *killer
	relay  *outbox.Relay
	failed chan error  // of the relay
	rest   func() bool // reports whether transform has more to do; nil until it is killed
}

// child does its job until it is killed.
func child() error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	w, err := begin(ctx)
	if err != nil {
		return err
	}
	if os.Getenv(jobVariable) == joinedJob {
		return w.transform(ctx)
	}
	for n := 0; ctx.Err() == nil; n++ {
		if err := book(ctx, w.db, w.ob, w.killer, n); err != nil {
			return err
		}
		w.published(ctx, n)
	}
	return errors.Join(<-w.failed, ctx.Err())
}

// begin opens everything and has the relay run.
func begin(ctx context.Context) (w *work, err error) {
	after, err := strconv.Atoi(os.Getenv(afterVariable))
	if err != nil {
		return nil, err
	}
	w = &work{failed: make(chan error, 1)}
	if w.db, err = sql.Open(os.Getenv(driverVariable), os.Getenv(dsnVariable)); err != nil {
		return nil, err
	}
	if w.ob, err = outbox.New(ctx, w.db, outbox.Options{}); err != nil {
		return nil, err
	}
	if w.ap, err = oms.Open(ctx, badger.URL(os.Getenv(pathVariable))); err != nil {
		return nil, err
	}
	producer, err := w.ap.NewProducer(ctx)
	if err != nil {
		return nil, err
	}
	w.killer = &killer{BatchSender: producer, step: os.Getenv(stepVariable), sent: make(chan struct{}, 1)}
	w.killer.left.Store(int64(after))
	if w.relay, err = outbox.NewRelay(w.ob, w.killer, outbox.RelayOptions{}); err != nil {
		return nil, err
	}
	go func() { w.failed <- w.relay.Run(ctx) }()
	return w, nil
}

// published wakes the relay, and lets it keep up.
func (w *work) published(ctx context.Context, n int) {
	w.relay.Wake()
	if n%5 == 4 {
		select {
		case <-w.killer.sent:
		case <-ctx.Done():
		}
	}
}

// book books something and writes its message; every seventh is rolled back.
func book(ctx context.Context, db *sql.DB, ob *outbox.Outbox, k *killer, n int) error {
	name := os.Getenv(roundVariable) + "-" + strconv.Itoa(n)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO booked (name) VALUES ('"+name+"')"); err != nil {
		return err
	}
	if err := ob.Write(ctx, tx, msg("booked", strconv.Itoa(n%3), name)); err != nil {
		return err
	}
	k.pass(beforeCommit)
	if n%7 == 6 {
		return nil
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	k.pass(afterCommit)
	return nil
}

// killer ends the process at a step.
type killer struct {
	outbox.BatchSender
	step   string
	left   atomic.Int64
	marked bool          // a batch was marked before this one
	sent   chan struct{} // tells of batches
}

func (k *killer) SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
	if k.marked {
		k.pass(afterMark)
	}
	k.pass(beforePublish)
	results, err := k.BatchSender.SendBatch(ctx, ms)
	k.pass(beforeMark)
	k.marked = true
	select {
	case k.sent <- struct{}{}:
	default:
	}
	return results, err
}

// pass ends the process as kill -9 does when it is time.
func (k *killer) pass(step string) {
	if step != k.step || k.left.Add(-1) >= 0 {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}
