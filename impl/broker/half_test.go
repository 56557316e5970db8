package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// prepareBody prepares a message for queue q.
func prepareBody(b *Broker, sequence uint64, body, group string, check om.TransactionCheck) (string, error) {
	q, err := b.Queue("test", "q")
	if err != nil {
		return "", err
	}
	a := chunkOf(q, sequence, body)
	a.Idempotent = false
	return b.Prepare(context.Background(), a, group, check)
}

// mustCheck has a checker asked.
func mustCheck(t *testing.T, b *Broker, group string, epoch Epoch, check Checker) (remove func()) {
	t.Helper()
	remove, err := b.AddChecker(group, epoch, check)
	if err != nil {
		t.Fatal(err)
	}
	return remove
}

// TestR083_checks: a transaction is checked after 6 s and then every 30 s, 15
// times, by the producers of its group in turn, and then parked. Somebody may end
// it by hand.
func TestR083_checks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		ctx := t.Context()
		if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
			t.Fatal(err)
		}
		q, _ := b.Queue("test", "q")
		var mu sync.Mutex
		var all []string
		start := time.Now()
		answered := func() []string {
			mu.Lock()
			defer mu.Unlock()
			last := all
			all = nil
			return last
		}
		checker := func(name string) func() {
			return mustCheck(t, b, "g", Epoch{}, func(_ context.Context, x Transaction) om.TxVerdict {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, fmt.Sprintf("%s %v %d", name, time.Since(start).Round(100*time.Millisecond), x.Checks))
				return om.TxUnknown
			})
		}
		removeOne := checker("one")
		removeTwo := checker("two")
		defer mustCheck(t, b, "other", Epoch{}, func(context.Context, Transaction) om.TxVerdict {
			t.Error("a foreign group is asked")
			return om.TxCommit
		})()
		id, err := prepareBody(b, 1, "x", "g", om.TransactionCheck{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		asked := answered()
		if len(asked) != DefaultChecks {
			t.Fatalf("asked %d times: %v", len(asked), asked)
		}
		turn := map[string]int{}
		for i, a := range asked {
			at := 6*time.Second + time.Duration(i)*30*time.Second
			turn[a[:3]]++
			if want := fmt.Sprintf("%s %v %d", a[:3], at, i+1); a != want {
				t.Errorf("%q instead of %q", a, want)
			}
		}
		if turn["one"] != 8 && turn["one"] != 7 {
			t.Errorf("asked in turn: %v", turn)
		}
		list, err := b.Transactions("q", 10)
		if err != nil || len(list) != 1 || !list[0].Parked || list[0].ID != id || list[0].Checks != 15 {
			t.Fatalf("%+v, %v", list, err)
		}
		if open, parked := b.TransactionCounts(); open != 0 || parked != 1 {
			t.Errorf("%d open, %d parked", open, parked)
		}
		if err := b.EndTransaction(ctx, id, "g", Epoch{}, om.TxCommit); !errors.Is(err, om.CodeTransactionState) {
			t.Errorf("a late commit: %v", err)
		}
		if err := b.EndTransaction(ctx, id, "g", Epoch{}, om.TxRollback); err != nil {
			t.Errorf("a late rollback: %v", err)
		}
		if q.PartitionInfos()[0].End != 0 {
			t.Error("a parked message is visible")
		}
		if err := b.EndTransaction(ctx, id, "", Epoch{}, om.TxCommit); err != nil {
			t.Errorf("a commit by hand: %v", err)
		}
		if q.PartitionInfos()[0].End != 1 {
			t.Error("a message that was committed by hand is not there")
		}

		mu.Lock()
		start = time.Now()
		mu.Unlock()
		if _, err := prepareBody(b, 2, "y", "g", om.TransactionCheck{After: time.Second, Every: 2 * time.Second, Max: 2}); err != nil {
			t.Fatal(err)
		}
		removeOne()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		removeTwo()
		time.Sleep(time.Minute) // nobody can be asked: that does not count
		synctest.Wait()
		again := checker("new")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		again()
		if asked := answered(); len(asked) != 2 || asked[0] != "two 1s 1" || asked[1][:3] != "new" {
			t.Errorf("with settings of its own: %v", asked)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, err := prepareBody(b, 3, "z", "nobody", om.TransactionCheck{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(MaxOpenTransaction + time.Minute)
		synctest.Wait()
		if list, err := b.Transactions("", 10); err != nil || len(list) != 2 || !list[0].Parked || !list[1].Parked {
			t.Errorf("after %v: %+v, %v", MaxOpenTransaction, list, err)
		}
	})
}

// TestR084_answers: what a checker answers is obeyed; one that hangs does not
// know, and holds up nobody else.
func TestR084_answers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		if err := b.CreateQueue(t.Context(), om.QueueConfig{Name: "q", TransactionCheck: om.TransactionCheck{After: time.Second, Every: 20 * time.Second}}); err != nil {
			t.Fatal(err)
		}
		q, _ := b.Queue("test", "q")
		var hung atomic.Int32
		defer mustCheck(t, b, "g", Epoch{}, func(ctx context.Context, x Transaction) om.TxVerdict {
			switch {
			case x.ID == halfID{9, 1}.text():
				return om.TxCommit
			case x.ID == halfID{9, 2}.text():
				return om.TxRollback
			}
			hung.Add(1)
			<-ctx.Done()
			return om.TxUnknown
		})()
		for i := range 3 {
			if _, err := prepareBody(b, uint64(i), "x", "g", om.TransactionCheck{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if end := q.PartitionInfos()[0].End; end != 1 || hung.Load() != 1 {
			t.Errorf("%d messages, %d checkers hang", end, hung.Load())
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if list, _ := b.Transactions("", 10); len(list) != 1 || hung.Load() != 2 || list[0].Checks != 2 {
			t.Errorf("%d are left, %d have hung", len(list), hung.Load())
		}
	})
}

func TestTransactionErrors(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	ctx := t.Context()
	if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []om.TransactionCheck{{After: -1}, {Every: time.Millisecond}, {Max: -1}, {Max: MaxChecks + 1}, {After: MaxCheckTime + 1}} {
		if _, err := prepareBody(b, 1, "x", "g", c); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	id, err := prepareBody(b, 1, "x", "g", om.TransactionCheck{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prepareBody(b, 1, "x", "g", om.TransactionCheck{}); !errors.Is(err, om.CodeBadRequest) {
		t.Errorf("prepared twice: %v", err)
	}
	for what, c := range map[string]struct {
		id, group string
		want      error
	}{"foreign": {id, "other", om.CodeTransactionNotExists}, "unknown": {halfID{1, 2}.text(), "g", om.CodeTransactionNotExists}, "malformed": {"x", "g", om.CodeTransactionNotExists}} {
		for _, v := range []om.TxVerdict{om.TxCommit, om.TxRollback} {
			if err := b.EndTransaction(ctx, c.id, c.group, Epoch{}, v); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for range 2 {
		if err := b.EndTransaction(ctx, id, "g", Epoch{}, om.TxCommit); err != nil {
			t.Error(err)
		}
	}
	if err := b.EndTransaction(ctx, id, "g", Epoch{}, om.TxRollback); !errors.Is(err, om.CodeTransactionState) {
		t.Error(err)
	}
	if err := b.EndTransaction(ctx, id, "other", Epoch{}, om.TxRollback); !errors.Is(err, om.CodeTransactionNotExists) {
		t.Error(err)
	}
	id, _ = prepareBody(b, 2, "y", "g", om.TransactionCheck{})
	if err := b.DeleteQueue(ctx, "q"); err != nil {
		t.Fatal(err)
	}
	if err := b.EndTransaction(ctx, id, "g", Epoch{}, om.TxCommit); !errors.Is(err, om.CodeDestinationNotFound) {
		t.Error(err)
	}
	if err := b.EndTransaction(ctx, id, "g", Epoch{}, om.TxRollback); err != nil {
		t.Error(err)
	}
}

// halfRun compares a broker with a map of transactions.
type halfRun struct {
	*delayRun
	open   map[string]string // bodies by id
	ended  map[string]om.TxVerdict
	bodies []string // committed, in order
	ids    []string
	filler []byte
}

// TestTransactionsAgreeWithModel prepares, commits, rolls back, restarts, and has
// retention drop buckets: a message is seen when it is committed, once, and never
// otherwise.
func TestTransactionsAgreeWithModel(t *testing.T) {
	histories(t, store.Options{RetainBytes: store.MinRetainBytes}, lengths{10, 200}, lengths{10, 200}, runHalves)
}

func runHalves(in *delayRun) {
	r := &halfRun{delayRun: in, open: map[string]string{}, ended: map[string]om.TxVerdict{}, filler: make([]byte, 4<<20)}
	r.reopen()
	for len(r.choices) > 0 {
		r.step()
	}
	r.compare()
}

func (r *halfRun) reopen() {
	b, err := Open(r.cfg)
	r.ok(err)
	r.b = b
	for _, name := range []string{"q", "filler"} {
		if err := b.CreateQueue(context.Background(), om.QueueConfig{Name: name}); !errors.Is(err, om.CodeDestinationExists) {
			r.ok(err)
		}
	}
	r.q, err = b.Queue("test", "q")
	r.ok(err)
}

func (r *halfRun) step() {
	switch op := r.pick(12); {
	case op < 4:
		body := fmt.Sprint("m", r.sequence)
		id, err := prepareBody(r.b, r.sequence, body, "g", om.TransactionCheck{After: MaxCheckTime})
		r.ok(err)
		r.sequence++
		r.open[id] = body
		r.ids = append(r.ids, id)
	case op < 10:
		if len(r.ids) == 0 {
			return
		}
		id := r.ids[max(0, len(r.ids)-1-r.pick(6))]
		verdict := om.TxVerdict(1 + r.pick(2))
		err := r.b.EndTransaction(context.Background(), id, "g", Epoch{}, verdict)
		if body, open := r.open[id]; open {
			r.ok(err)
			delete(r.open, id)
			r.ended[id] = verdict
			if verdict == om.TxCommit {
				r.bodies = append(r.bodies, body)
			}
		} else if r.ended[id] == verdict {
			r.ok(err)
		} else if !errors.Is(err, om.CodeTransactionState) {
			r.failf("ended the other way: %v", err)
		}
	case op < 11:
		q, err := r.b.Queue("test", "filler")
		r.ok(err)
		for range 1 + r.pick(3) {
			a := chunkOf(q, 0, string(r.filler))
			a.Idempotent = false
			as := []Append{a}
			r.ok(errors.Join(r.b.Publish(context.Background(), as), as[0].Err))
		}
	case !r.cfg.Store.Memory:
		r.ok(r.b.Close())
		r.reopen()
	}
	list, err := r.b.Transactions("q", 1000)
	r.ok(err)
	if len(list) != len(r.open) {
		r.failf("%d transactions are open, %d should be", len(list), len(r.open))
	}
	for _, x := range list {
		if body, ok := r.open[x.ID]; !ok || x.Chunk == nil || x.Queue != r.q.name {
			r.failf("%+v of %q is open", x.TransactionInfo, body)
		}
	}
}

// compare looks at what retention has left of the queue.
func (r *halfRun) compare() {
	info := r.q.PartitionInfos()[0]
	if int(info.End) != len(r.bodies) {
		r.failf("%d messages are visible, %d were committed", info.End, len(r.bodies))
	}
	var got []string
	for at := info.Begin; at < info.End; {
		spans, err := r.q.Read(context.Background(), 0, at, 1000)
		r.ok(err)
		for _, s := range spans {
			ms, err := decodeSpan(s)
			r.ok(err)
			for _, m := range ms {
				got = append(got, string(m.Body))
			}
			at = s.Base + int64(s.Count)
		}
	}
	if want := r.bodies[info.Begin:]; !slices.Equal(got, want) {
		r.failf("visible are %v, want %v", got, want)
	}
}

func decodeSpan(s Span) ([]om.Message, error) {
	ms := make([]om.Message, s.Count)
	_, err := chunk.Decode(s.Chunk, s.Header, s.Skip, ms)
	return ms, err
}
