package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// withHalves runs a test in a bubble with a broker in memory that has a queue "q".
func withHalves(t *testing.T, test func(t *testing.T, b *Broker, q *Queue)) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		if err := b.CreateQueue(t.Context(), om.QueueConfig{Name: "q"}); err != nil {
			t.Fatal(err)
		}
		q, _ := b.Queue("test", "q")
		test(t, b, q)
	})
}

func mustPrepare(t *testing.T, b *Broker, sequence uint64, group string, check om.TransactionCheck) (id string) {
	t.Helper()
	id, err := prepareBody(b, sequence, "x", group, check)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestR083_hanging: a group whose checkers hang has a bounded number of them
// asked, the others after these, and holds up no other group.
func TestR083_hanging(t *testing.T) {
	withHalves(t, func(t *testing.T, b *Broker, q *Queue) {
		const many = checksAtOnce + 50
		var asked, hang atomic.Int32
		defer mustCheck(t, b, "hangs", Epoch{}, func(ctx context.Context, _ Transaction) om.TxVerdict {
			asked.Add(1)
			hang.Add(1)
			defer hang.Add(-1)
			<-ctx.Done()
			return om.TxUnknown
		})()
		defer mustCheck(t, b, "good", Epoch{}, func(context.Context, Transaction) om.TxVerdict { return om.TxCommit })()
		soon := om.TransactionCheck{After: time.Second, Every: time.Hour}
		for i := range uint64(many) {
			mustPrepare(t, b, i, "hangs", soon)
		}
		mustPrepare(t, b, many, "good", soon)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := hang.Load(); n != checksAtOnce {
			t.Errorf("%d checkers hang", n)
		}
		if end := q.PartitionInfos()[0].End; end != 1 {
			t.Errorf("%d messages of the other group are committed", end)
		}
		last := b.halves.checkers["hangs"].waiting[0].id.text()
		if err := b.EndTransaction(t.Context(), last, "hangs", Epoch{}, om.TxRollback); err != nil {
			t.Error(err)
		}
		time.Sleep(checkTime)
		synctest.Wait()
		if n := asked.Load(); n != many-1 {
			t.Errorf("%d were asked about, of %d", n, many-1)
		}
		time.Sleep(checkTime)
		synctest.Wait()
		if n := b.halves.checkers["hangs"].busy; n != 0 {
			t.Errorf("%d questions are not over", n)
		}
	})
}

// TestR083_waiting: what waits because checkers hang is asked of the next
// producer of the group when those have gone.
func TestR083_waiting(t *testing.T) {
	withHalves(t, func(t *testing.T, b *Broker, q *Queue) {
		remove := mustCheck(t, b, "g", Epoch{}, func(ctx context.Context, _ Transaction) om.TxVerdict {
			<-ctx.Done()
			return om.TxUnknown
		})
		for i := range uint64(checksAtOnce + 50) {
			mustPrepare(t, b, i, "g", om.TransactionCheck{After: time.Second, Every: 5 * time.Second})
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		remove()
		defer mustCheck(t, b, "g", Epoch{}, func(context.Context, Transaction) om.TxVerdict { return om.TxCommit })()
		time.Sleep(time.Second)
		synctest.Wait()
		if end := q.PartitionInfos()[0].End; end != 50 {
			t.Errorf("%d of those that waited are committed", end)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if end := q.PartitionInfos()[0].End; end != checksAtOnce+50 {
			t.Errorf("%d are committed", end)
		}
	})
}

// TestR121_long: checks may be days apart. A transaction is parked for want of
// producers when nobody could be asked for MaxOpenTransaction, not before.
func TestR121_long(t *testing.T) {
	withHalves(t, func(t *testing.T, b *Broker, q *Queue) {
		start := time.Now()
		var asked []time.Duration
		remove := mustCheck(t, b, "g", Epoch{}, func(context.Context, Transaction) om.TxVerdict {
			asked = append(asked, time.Since(start).Round(time.Second))
			return om.TxUnknown
		})
		mustPrepare(t, b, 1, "g", om.TransactionCheck{After: MaxCheckTime, Every: 4 * 24 * time.Hour, Max: 3})
		time.Sleep(MaxCheckTime + 5*24*time.Hour)
		synctest.Wait()
		if want := fmt.Sprint([]time.Duration{MaxCheckTime, MaxCheckTime + 4*24*time.Hour}); fmt.Sprint(asked) != want {
			t.Errorf("asked after %v, want %v", asked, want)
		}
		remove()
		time.Sleep(3*24*time.Hour + MaxOpenTransaction - time.Minute)
		synctest.Wait()
		if open, parked := b.TransactionCounts(); open != 1 || parked != 0 {
			t.Errorf("%d open, %d parked before the time", open, parked)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if open, parked := b.TransactionCounts(); open != 0 || parked != 1 {
			t.Errorf("%d open, %d parked after it", open, parked)
		}
	})
}

// TestR127_epochs: a producer that is fenced off neither prepares nor ends a
// transaction, is not asked, and is not obeyed; the one after it does all that.
func TestR127_epochs(t *testing.T) {
	withHalves(t, func(t *testing.T, b *Broker, q *Queue) {
		ctx := t.Context()
		open := func() Epoch {
			e, err := b.OpenProducer(ctx, "p")
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		soon := om.TransactionCheck{After: time.Second, Every: time.Second, Max: 100}
		zombie := open()
		var after Epoch
		asked := 0
		defer mustCheck(t, b, "g", zombie, func(context.Context, Transaction) om.TxVerdict {
			asked++
			after = open() // between question and answer
			return om.TxCommit
		})()
		id := mustPrepare(t, b, 1, "g", soon)
		time.Sleep(time.Minute)
		synctest.Wait()
		if end := q.PartitionInfos()[0].End; asked != 1 || end != 0 {
			t.Errorf("the zombie was asked %d times, %d messages are committed", asked, end)
		}
		for _, v := range []om.TxVerdict{om.TxCommit, om.TxRollback} {
			if err := b.EndTransaction(ctx, id, "g", zombie, v); !errors.Is(err, om.CodeProducerFenced) {
				t.Error(err)
			}
		}
		a := chunkOf(q, 2, "x")
		a.Idempotent, a.Epoch = false, zombie
		if _, err := b.Prepare(ctx, a, "g", soon); !errors.Is(err, om.CodeProducerFenced) {
			t.Error(err)
		}
		a.Idempotent = true
		if err := b.PublishTransacted(ctx, []Append{a}, nil); !errors.Is(err, om.CodeProducerFenced) {
			t.Error(err)
		}
		if _, err := b.AddChecker("g", zombie, nil); !errors.Is(err, om.CodeProducerFenced) {
			t.Error(err)
		}
		defer mustCheck(t, b, "g", after, func(context.Context, Transaction) om.TxVerdict { return om.TxCommit })()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if end := q.PartitionInfos()[0].End; end != 1 {
			t.Errorf("%d messages are committed by the producer after it", end)
		}
		if err := b.EndTransaction(ctx, id, "g", after, om.TxCommit); err != nil {
			t.Error(err)
		}
	})
}

// TestEndedTransactionsCostNothing: of transactions that have ended nothing is in
// memory and in the state that a start reads.
func TestEndedTransactionsCostNothing(t *testing.T) {
	o := store.Options{Path: t.TempDir(), Reserve: 1}
	b := testBroker(t, o)
	ctx := t.Context()
	if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	var last string
	run := func(from, n uint64) {
		errs := make(chan error, n)
		for i := from; i < from+n; i++ {
			go func() {
				id, err := prepareBody(b, i, strings.Repeat("x", 1000), "g", om.TransactionCheck{})
				if err == nil {
					err = b.EndTransaction(ctx, id, "g", Epoch{}, om.TxVerdict(1+i%2))
				}
				if i == from {
					last = id
				}
				errs <- err
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const burst, count = 2000, 20_000
	for i := range uint64(5) { // pools and tables get their size
		run(i*burst, burst)
	}
	before := heap()
	for i := range uint64(count / burst) {
		run((5+i)*burst, burst)
	}
	more := heap() - before
	t.Logf("%d bytes of heap for each transaction that has ended", more/count)
	if more > 64*count {
		t.Errorf("%d bytes of heap more after %d transactions", more, count)
	}
	nothing := func(when string) {
		t.Helper()
		h := b.halves
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.open)+len(h.due)+h.parked+h.kept != 0 || h.bytes != 0 {
			t.Errorf("%s: %d open, %d due, %d parked, %d bytes kept, %d counted", when, len(h.open), len(h.due), h.parked, h.kept, h.bytes)
		}
	}
	nothing("after their ends")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = testBroker(t, o)
	defer b.Close()
	nothing("after a restart")
	if err := b.EndTransaction(ctx, last, "g", Epoch{}, om.TxCommit); err != nil {
		t.Errorf("what became of it is not known: %v", err)
	}
}

// TestRescueIsQuick: half messages that retention is about to drop are moved
// many in one commit.
func TestRescueIsQuick(t *testing.T) {
	var commits atomic.Int32
	b, err := Open(Config{Store: store.Options{Memory: true, Reserve: 1, RetainBytes: store.MinRetainBytes}, OnCommit: func(int, time.Duration) { commits.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx := t.Context()
	for _, name := range []string{"q", "filler"} {
		if err := b.CreateQueue(ctx, om.QueueConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	const open = 3000
	for i := range uint64(open) {
		mustPrepare(t, b, i, "g", om.TransactionCheck{After: MaxCheckTime})
	}
	filler, _ := b.Queue("test", "filler")
	body := string(make([]byte, 4<<20))
	before, fills := commits.Load(), int32(0)
	for filler.PartitionInfos()[0].Begin == 0 {
		a := chunkOf(filler, 0, body)
		a.Idempotent = false
		as := []Append{a}
		if err := errors.Join(b.Publish(ctx, as), as[0].Err); err != nil {
			t.Fatal(err)
		}
		fills++
	}
	list, err := b.Transactions("q", MaxTransactions)
	if n, _ := b.TransactionCounts(); err != nil || n != open || list[0].Chunk == nil {
		t.Errorf("%d transactions are open, %v", n, err)
	}
	if moves := commits.Load() - before - fills; moves > open/10 {
		t.Errorf("%d commits moved %d half messages", moves, open)
	}
}
