package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// steps are where a process with transactions is killed. The record of a commit
// is durable from between during-commit and before-exposure on.
var steps = []string{"after-half", "before-commit", "during-commit", "before-exposure", "after-commit", "during-check", "after-last-check"}

const (
	transactionRounds  = 3  // of each step in CI
	transactionWorkers = 16 // transactions of a process at once
)

// TestCrashMatrix kills a process with open transactions at each step, and looks
// at the store after it: nothing is visible before its commit, or after its
// rollback, nothing is lost after its commit, and nothing is there twice.
func TestCrashMatrix(t *testing.T) {
	rounds := transactionRounds
	if *roundsFlag > 0 {
		rounds = *roundsFlag
	}
	first := seed(t)
	lines := make([]string, len(steps))
	t.Run("steps", func(t *testing.T) {
		for i, step := range steps {
			t.Run(step, func(t *testing.T) {
				t.Parallel()
				m := &matrix{dir: t.TempDir(), rnd: newRand(first, uint64(i)), state: map[int]string{}}
				for round := range rounds {
					if err := m.round(t.Context(), step, round); err != nil {
						t.Fatalf("round %d: %v", round+1, err)
					}
				}
				lines[i] = m.line(step, rounds)
			})
		}
	})
	t.Logf("\n%-16s %5s %12s %9s %11s %9s %7s\n%s", "killed", "kills", "transactions", "committed", "rolled back", "undecided", "by hand", strings.Join(lines, "\n"))
}

// matrix is a store that is killed at one step again and again.
type matrix struct {
	dir   string
	rnd   *rand.Rand
	state map[int]string // the last that was said of a transaction, by its number

	undecided, hand int // by the kill; ended by hand after it
}

// line is the matrix's line of a step.
func (m *matrix) line(step string, rounds int) string {
	count := map[string]int{}
	for _, became := range m.state {
		count[became]++
	}
	return fmt.Sprintf("%-16s %5d %12d %9d %11d %9d %7d", step, rounds, len(m.state), count["committed"], count["rolled"], m.undecided, m.hand)
}

// round lets a child work until it is killed, and looks at what it has left.
func (m *matrix) round(ctx context.Context, step string, round int) error {
	c, err := startChild("transactions", "FAULTS_PATH="+m.dir, "FAULTS_STEP="+step, fmt.Sprintf("FAULTS_SEED=%d", m.rnd.Uint64()),
		fmt.Sprintf("FAULTS_FIRST=%d", (round+1)*1_000_000), fmt.Sprintf("FAULTS_AFTER=%d", 20+m.rnd.IntN(300)))
	if err != nil {
		return err
	}
	kill := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
	in := bufio.NewScanner(c.out)
	for in.Scan() {
		var word string
		var n int
		if _, err := fmt.Sscan(in.Text(), &word, &n); err != nil || word == "error" {
			_ = c.Process.Kill()
			_ = c.Wait()
			return fmt.Errorf("the child said %q", in.Text())
		}
		m.state[n] = word
	}
	_ = c.Wait()
	if !kill.Stop() || c.ProcessState.Exited() {
		return fmt.Errorf("the child did not come to %s: %s", step, c.tail())
	}
	return m.verify(ctx)
}

// verify compares the store with what was said, and ends by hand what is open.
func (m *matrix) verify(ctx context.Context) error {
	c, err := connect(ctx, m.dir)
	if err != nil {
		return err
	}
	defer c.Close(context.Background())
	visible, err := countBodies(ctx, c)
	if err != nil {
		return err
	}
	admin := optional[spi.TransactionAdmin](c)
	list, err := admin.Transactions(ctx, "q", 1000)
	if err != nil {
		return err
	}
	open := map[int]om.TransactionInfo{}
	for _, x := range list {
		n, err := strconv.Atoi(string(x.Message.Body))
		if _, twice := open[n]; err != nil || twice {
			return fmt.Errorf("the transaction %s of %q is listed twice, or its message is wrong", x.ID, x.Message.Body)
		}
		open[n] = x
	}
	for n, state := range m.state {
		x, isOpen := open[n]
		if err := m.judge(state, visible[n], isOpen, x.Parked); err != nil {
			return fmt.Errorf("transaction %d, of which was said %q: %w", n, state, err)
		}
		delete(visible, n)
		delete(open, n)
		if isOpen {
			verdict, became := om.TxCommit, "committed"
			if m.rnd.IntN(2) == 0 {
				verdict, became = om.TxRollback, "rolled"
			}
			for range 2 {
				if err := admin.EndTransaction(ctx, x.ID, verdict); err != nil {
					return err
				}
			}
			m.hand++
			m.state[n] = became
		}
	}
	if len(visible)+len(open) > 0 {
		return fmt.Errorf("there is what nobody has prepared: %v, %v", visible, open)
	}
	return m.settle(ctx, c)
}

// settle notes how undecided transactions have ended.
func (m *matrix) settle(ctx context.Context, c spi.Conn) error {
	visible, err := countBodies(ctx, c)
	if err != nil {
		return err
	}
	for n, state := range m.state {
		if visible[n] > 1 {
			return fmt.Errorf("transaction %d is visible %d times", n, visible[n])
		}
		switch {
		case visible[n] == 1:
			m.state[n] = "committed"
		case state == "committed":
			return fmt.Errorf("transaction %d was committed by hand and is not there", n)
		default:
			m.state[n] = "rolled"
		}
	}
	return nil
}

// judge says what is wrong with a transaction of which something was said last.
func (m *matrix) judge(state string, visible int, open, parked bool) error {
	if visible > 1 {
		return fmt.Errorf("its message is there %d times", visible)
	}
	if visible == 1 && open {
		return errors.New("its message is there, and it is open")
	}
	switch state {
	case "preparing":
		m.undecided++
		if visible > 0 {
			return errors.New("its message is there before the commit")
		}
	case "prepared", "asked", "parked":
		// A check counts before the checker is asked, so that parked may come first.
		if visible > 0 || !open || !parked && state == "parked" {
			return fmt.Errorf("its message is there: %v, it is open: %v, parked: %v", visible > 0, open, parked)
		}
	case "committing":
		m.undecided++
		if visible == 0 && !open {
			return errors.New("its message is lost")
		}
	case "deciding":
		if visible > 0 || !open {
			return errors.New("it has ended before the record of its commit was made")
		}
	case "committed", "exposing":
		if visible == 0 {
			return errors.New("its message is lost")
		}
	case "rolling", "rolled":
		if visible > 0 {
			return errors.New("its message is there after the rollback")
		}
		if open && state == "rolled" {
			return errors.New("it is open after the rollback")
		}
	default:
		return errors.New("nobody says so")
	}
	return nil
}

// countBodies counts the messages of queue q by their numbers.
func countBodies(ctx context.Context, c spi.Conn) (map[int]int, error) {
	all := map[int]int{}
	for at := int64(0); ; {
		ds, err := optional[spi.Streamer](c).ReadAt(ctx, "q", 0, at, 1000)
		if err != nil || len(ds) == 0 {
			return all, err
		}
		for _, d := range ds {
			n, err := strconv.Atoi(string(d.Message.Body))
			if err != nil {
				return nil, err
			}
			all[n]++
			at = d.Offset + 1
		}
	}
}

// transactionsChild prepares, commits and rolls back until it comes to
// FAULTS_STEP, after FAULTS_AFTER transactions, and kills itself there. It prints
// a word and the transaction's number before and after each call of the broker.
func transactionsChild() error {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(os.Getenv(name), 10, 64)
		return n
	}
	go func() {
		waitForParent()
		os.Exit(2)
	}()
	ctx := context.Background()
	w := &transactions{step: os.Getenv("FAULTS_STEP"), left: new(atomic.Int64), next: new(atomic.Int64)}
	w.left.Store(int64(number("FAULTS_AFTER")))
	w.next.Store(int64(number("FAULTS_FIRST")))
	b, err := broker.Open(broker.Config{Store: store.Options{Path: os.Getenv("FAULTS_PATH")}, Logger: quiet, OnCommit: w.committed})
	if err != nil {
		return err
	}
	if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil && !errors.Is(err, om.CodeDestinationExists) {
		return err
	}
	w.broker = b
	if w.queue, err = b.Queue("test", "q"); err != nil {
		return err
	}
	if _, err := b.AddChecker("g", broker.Epoch{}, w.check); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i := range transactionWorkers {
		wg.Go(func() {
			rnd := newRand(number("FAULTS_SEED"), uint64(i))
			for {
				if err := w.one(ctx, rnd); err != nil {
					w.fail("transaction", err)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

type transactions struct {
	events
	broker *broker.Broker
	queue  *broker.Queue
	step   string
	left   *atomic.Int64 // transactions until it comes to the step
	next   *atomic.Int64

	calls    sync.RWMutex // held while something is on its way to the store; whole by a commit that goes alone
	exposing atomic.Bool  // the next commit of the store is that one
}

func (w *transactions) say(word string, n int64) { w.print(fmt.Sprintln(word, n)) }

// is reports whether it is time and this is the step.
func (w *transactions) is(step string) bool { return step == w.step && w.left.Load() <= 0 }

// at kills the process when it is time and this is the step.
func (w *transactions) at(step string) {
	if w.is(step) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// committed is told when a commit is durable, and before anybody else is.
func (w *transactions) committed(int, time.Duration) {
	if w.exposing.Load() {
		w.at("before-exposure")
	}
}

func (w *transactions) check(_ context.Context, x broker.Transaction) om.TxVerdict {
	m, err := batch.Prepared(x.Chunk, x.Queue)
	if err != nil {
		w.fail("check", err)
		return om.TxUnknown
	}
	n, _ := strconv.ParseInt(string(m.Body), 10, 64)
	w.say("asked", n)
	w.at("during-check")
	return om.TxUnknown
}

func (w *transactions) prepare(ctx context.Context, n int64, check om.TransactionCheck) (id string, err error) {
	w.calls.RLock()
	defer w.calls.RUnlock()
	m := message("q", 0, strconv.AppendInt(nil, n, 10))
	var c chunk.Builder
	c.Reset(uint64(n), 0, m.BornHost, m.Version, m.BornAt)
	c.Add(m)
	return w.broker.Prepare(ctx, broker.Append{Queue: w.queue, Chunk: c.Finish()}, "g", check)
}

func (w *transactions) end(ctx context.Context, id string, verdict om.TxVerdict) error {
	w.calls.RLock()
	defer w.calls.RUnlock()
	return w.broker.EndTransaction(ctx, id, "g", broker.Epoch{}, verdict)
}

// commit commits, or comes to a step of it.
func (w *transactions) commit(ctx context.Context, n int64, id string, rnd *rand.Rand) error {
	switch {
	case w.is("before-commit"):
		w.say("deciding", n)
		w.at("before-commit")
	case w.is("before-exposure"):
		w.calls.Lock() // for good
		w.say("exposing", n)
		w.exposing.Store(true)
		return w.broker.EndTransaction(ctx, id, "g", broker.Epoch{}, om.TxCommit)
	}
	w.say("committing", n)
	if w.is("during-commit") {
		time.AfterFunc(time.Duration(rnd.IntN(5000))*time.Microsecond, func() { w.at("during-commit") })
	}
	if err := w.end(ctx, id, om.TxCommit); err != nil {
		return err
	}
	w.say("committed", n)
	w.at("after-commit")
	return nil
}

// one runs a transaction to its end, or leaves it open.
func (w *transactions) one(ctx context.Context, rnd *rand.Rand) error {
	n := w.next.Add(1)
	w.left.Add(-1)
	kind := rnd.IntN(10)
	check := om.TransactionCheck{After: time.Hour}
	if checked := w.step == "during-check" || w.step == "after-last-check"; checked && kind == 9 {
		check = om.TransactionCheck{After: 100 * time.Millisecond, Every: 100 * time.Millisecond, Max: 1}
	}
	w.say("preparing", n)
	id, err := w.prepare(ctx, n, check)
	if err != nil {
		return err
	}
	w.say("prepared", n)
	w.at("after-half")
	switch {
	case kind < 5:
		return w.commit(ctx, n, id, rnd)
	case kind < 9:
		w.say("rolling", n)
		if err := w.end(ctx, id, om.TxRollback); err != nil {
			return err
		}
		w.say("rolled", n)
	case check.Max == 1 && w.step == "after-last-check":
		for {
			x, err := w.broker.Transaction(id)
			if err != nil {
				return err
			}
			if x.Parked {
				w.say("parked", n)
				w.at("after-last-check")
				return nil
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	return nil
}
