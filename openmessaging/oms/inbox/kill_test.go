package inbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
)

// The steps of Process at which a child kills itself.
const (
	afterInsert  = "after insert, before the effect"
	beforeCommit = "after the effect, before commit"
	beforeAck    = "after commit, before acknowledgement"
)

var steps = []string{afterInsert, beforeCommit, beforeAck}

// What a child is told by its environment.
const (
	stepVariable   = "INBOX_STEP"
	afterVariable  = "INBOX_AFTER" // messages that it handles before
	pathVariable   = "INBOX_PATH"
	driverVariable = "INBOX_DRIVER"
	dsnVariable    = "INBOX_DSN"
)

const (
	deadline = time.Minute
	mostRun  = 4 // messages that a child handles at most before its end
)

// TestKill kills a consumer at each step of Process, again and again, and finds
// the effect of each message once.
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
	prepared(t, db, inbox.Options{})
	dir := t.TempDir()
	total := rounds*(mostRun+1) + 10
	publish(t, dir, total)
	for i := range rounds {
		step := steps[i%len(steps)]
		var stderr bytes.Buffer
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), stepVariable+"="+step, afterVariable+"="+strconv.Itoa(rand.IntN(mostRun+1)),
			pathVariable+"="+dir, driverVariable+"="+s.driver, dsnVariable+"="+s.dsn)
		child.Stderr = &stderr
		err := child.Run()
		if child.ProcessState == nil || child.ProcessState.Exited() {
			t.Fatalf("round %d, %s: the child was not killed: %v\n%s", i+1, step, err, stderr.Bytes())
		}
	}
	before := count(t, db, "effects")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	again, err := consume(ctx, db, dir, "", 0, total)
	ok(t, err)
	equal(t, "messages with an effect", count(t, db, "(SELECT DISTINCT name FROM effects) AS x"), total)
	equal(t, "effects", count(t, db, "effects"), total)
	t.Logf("%d kills; %d messages took effect before the last round, %d deliveries were passed over in it", rounds, before, again)
	if again == 0 {
		t.Error("no kill had a message delivered again that had taken effect: the test shows nothing")
	}
}

// publish stores numbered messages.
func publish(t *testing.T, dir string, n int) {
	ctx := t.Context()
	ap, err := oms.Open(ctx, badger.URL(dir))
	ok(t, err)
	ok(t, ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "numbers", Partitions: 1}))
	p, err := ap.NewProducer(ctx)
	ok(t, err)
	var ms []*om.Message
	for i := range n {
		ms = append(ms, om.NewMessage("numbers", []byte(strconv.Itoa(i))))
	}
	_, err = p.SendBatch(ctx, ms)
	ok(t, err)
	ok(t, ap.Close(ctx))
}

func consumingChild() error {
	db, err := sql.Open(os.Getenv(driverVariable), os.Getenv(dsnVariable))
	if err != nil {
		return err
	}
	after, err := strconv.Atoi(os.Getenv(afterVariable))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	_, err = consume(ctx, db, os.Getenv(pathVariable), os.Getenv(stepVariable), after, -1)
	return err
}

// consume processes messages, and after some of them kills itself at a step. It
// ends when the last of total messages is acknowledged. It returns how many
// deliveries were passed over.
func consume(ctx context.Context, db *sql.DB, dir, step string, after, total int) (again int, err error) {
	ap, err := oms.Open(ctx, badger.URL(dir))
	if err != nil {
		return 0, err
	}
	defer ap.Close(context.WithoutCancel(ctx))
	ib, err := inbox.New(ctx, db, inbox.Options{})
	if err != nil {
		return 0, err
	}
	consumer, err := ap.NewPullConsumer(ctx)
	if err != nil {
		return 0, err
	}
	if err := consumer.Bind(ctx, "numbers"); err != nil {
		return 0, err
	}
	for handled := 0; ; {
		d, err := consumer.Receive(ctx)
		if err != nil {
			return again, err
		}
		killing := ""
		if handled == after {
			killing = step
		}
		seen := true
		watched := om.NewDelivery(d.Message, d.Partition, d.Offset, killer{d.Settler(), killing})
		err = ib.Process(ctx, &watched, func(ctx context.Context, tx *sql.Tx) error {
			seen = false
			kill(killing == afterInsert)
			err := effect(string(d.Body))(ctx, tx)
			kill(killing == beforeCommit)
			return err
		})
		if err != nil {
			return again, err
		}
		if seen {
			again++
		} else {
			handled++
		}
		if string(d.Body) == fmt.Sprint(total-1) {
			return again, nil
		}
	}
}

// killer ends the process before an acknowledgement.
type killer struct {
	om.Settler
	step string
}

func (k killer) Settle(ctx context.Context, d *om.Delivery, a om.Action, delay time.Duration, reason string) error {
	kill(k.step == beforeAck)
	return k.Settler.Settle(ctx, d, a, delay, reason)
}

// kill ends the process as kill -9 does.
func kill(now bool) {
	if now {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {}
	}
}
