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
)

// TestKill kills a process that books and publishes, at each step, again and
// again. Then what a consumer with an inbox has seen is what is booked: nothing
// is lost, nothing comes twice, nothing that was not committed.
func TestKill(t *testing.T) {
	for _, kind := range sqlserver.Kinds {
		t.Run(kind, func(t *testing.T) { killRounds(t, newSource(t, kind)) })
	}
}

func killRounds(t *testing.T, s source) {
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
	ok(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "booked", Partitions: 1}))
	ok(t, ap.Close(t.Context()))
	for i := range rounds {
		step := steps[i%len(steps)]
		// The lease of the child that was killed has ended.
		execute(t, db, "UPDATE oms_outbox_relay SET expires_at = 0")
		var stderr bytes.Buffer
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), stepVariable+"="+step, roundVariable+"="+strconv.Itoa(i), afterVariable+"="+strconv.Itoa(rand.IntN(6)),
			pathVariable+"="+dir, driverVariable+"="+s.driver, dsnVariable+"="+s.dsn)
		child.Stderr = &stderr
		err := child.Run()
		if child.ProcessState == nil || child.ProcessState.Exited() {
			t.Fatalf("round %d, %s: the child was not killed: %v\n%s", i+1, step, err, stderr.Bytes())
		}
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
	if passedOver == 0 {
		t.Error("no kill had a message published twice: the test shows nothing")
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

func publishingChild() error {
	step, dir := os.Getenv(stepVariable), os.Getenv(pathVariable)
	after, err := strconv.Atoi(os.Getenv(afterVariable))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	db, err := sql.Open(os.Getenv(driverVariable), os.Getenv(dsnVariable))
	if err != nil {
		return err
	}
	ob, err := outbox.New(ctx, db, outbox.Options{})
	if err != nil {
		return err
	}
	ap, err := oms.Open(ctx, badger.URL(dir))
	if err != nil {
		return err
	}
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	k := &killer{BatchSender: producer, step: step, sent: make(chan struct{}, 1)}
	k.left.Store(int64(after))
	r, err := outbox.NewRelay(ob, k, outbox.RelayOptions{})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- r.Run(ctx) }()
	for n := 0; ctx.Err() == nil; n++ {
		if err := book(ctx, db, ob, k, n); err != nil {
			return err
		}
		r.Wake()
		if n%5 == 4 { // the relay keeps up
			select {
			case <-k.sent:
			case <-ctx.Done():
			}
		}
	}
	return errors.Join(<-failed, ctx.Err())
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
