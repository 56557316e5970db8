package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestCutWhileMoving has the store fail while the messages of a minute move into
// their seconds, in time or, after a commit that takes long, when they are due
// already: after a start each comes once, and in order when none had come before.
func TestCutWhileMoving(t *testing.T) {
	for _, late := range []bool{false, true} {
		cuts := []int64{2, 3, 4}
		if late {
			cuts = []int64{4, 7, 9, 10, 11, 12}
		}
		for _, cut := range cuts {
			t.Run(fmt.Sprintf("late=%v/cut=%d", late, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { cutWhileMoving(t, late, cut) })
			})
		}
	}
}

func cutWhileMoving(t *testing.T, late bool, cut int64) {
	ctx := context.Background()
	var commits atomic.Int64
	var armed atomic.Bool
	o := store.Options{Path: t.TempDir(), Reserve: 1}
	withFault := o
	withFault.Fault = func(step string) error {
		if step != "commit" || !armed.Load() {
			return nil
		}
		n := commits.Add(1)
		if late && n == 3 {
			time.Sleep(110_900 * time.Millisecond)
		}
		if n == cut {
			return errors.New("cut")
		}
		return nil
	}
	b := testBroker(t, withFault)
	q := testQueue(t, b)
	minute := time.Now().Truncate(time.Minute).Add(5 * time.Minute)
	due := make([]time.Time, 12_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range due {
		due[i] = minute.Add(time.Duration(random.IntN(60_000)) * time.Millisecond)
	}
	for i := 0; i < len(due); i += 1000 {
		must(t, b.Publish(ctx, []Append{{Queue: q, Chunk: chunkDue(i, 0, due[i:i+1000]...)}}))
	}
	time.Sleep(time.Until(minute) - time.Minute - time.Second)
	synctest.Wait()
	armed.Store(true)
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	if commits.Load() < cut {
		t.Fatalf("%d commits", commits.Load())
	}
	_ = b.Close()
	time.Sleep(10 * time.Minute)
	b = testBroker(t, o)
	defer func() { must(t, b.Close()) }()
	q, err := b.Queue("test", "q")
	must(t, err)
	if end := q.PartitionInfos()[0].End; end == 0 {
		readInOrder(t, q, due)
		return
	}
	came := make(map[uint64]bool)
	readDue(t, q, len(due), func(string) {}, func(_ int64, s Span) {
		for i := range s.Count {
			id := s.Header.Sequence + uint64(s.Skip+i)
			if came[id] {
				t.Errorf("message %d comes twice", id)
			}
			came[id] = true
		}
	})
}

// chunkDue is messages from number i on that are due then.
func chunkDue(i, size int, due ...time.Time) []byte {
	var c chunk.Builder
	now := time.Now().Truncate(time.Millisecond)
	m := om.NewMessage("q", make([]byte, size))
	c.Reset(7, uint64(i), "born", om.SpecVersion, now)
	for _, at := range due {
		m.BornAt, m.Ext.Delay = now, at.Sub(now)
		c.Add(m)
	}
	return c.Finish()
}

// TestOverdueInOrder closes a broker while messages become due: after the start
// they come in the order of their due times, those of one in the order in which
// they were sent, and the others behind them when they are due.
func TestOverdueInOrder(t *testing.T) {
	for _, size := range []int{0, 200 << 10} { // a slot of big ones does not fit into a reader
		for _, away := range []time.Duration{20 * time.Second, 90 * time.Second, 10*time.Minute + 500*time.Millisecond, 4*time.Hour + 20*time.Minute, 48 * time.Hour} {
			t.Run(fmt.Sprintf("size=%d/away=%v", size, away), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { overdueInOrder(t, size, away) })
			})
		}
	}
}

func overdueInOrder(t *testing.T, size int, away time.Duration) {
	ctx := context.Background()
	o := store.Options{Path: t.TempDir(), Reserve: 1}
	b := testBroker(t, o)
	q := testQueue(t, b)
	const n, first = 200, 3 * time.Minute
	random := rand.New(rand.NewPCG(1, uint64(away)))
	due := make([]time.Time, n)
	for i := range due {
		due[i] = time.Now().Add(first + time.Duration(random.Int64N(int64(away)*5/4)).Truncate(away/100)).Truncate(time.Millisecond)
		must(t, b.Publish(ctx, []Append{{Queue: q, Chunk: chunkDue(i, random.IntN(2*size+1), due[i])}}))
	}
	must(t, b.Close())
	time.Sleep(first + away)
	b = testBroker(t, o)
	defer func() { must(t, b.Close()) }()
	q, err := b.Queue("test", "q")
	must(t, err)
	readInOrder(t, q, due)
}

// readInOrder reads the messages, which are due when they come, and come as they
// are due.
func readInOrder(t *testing.T, q *Queue, due []time.Time) {
	ctx, cancel := context.WithDeadline(t.Context(), slices.MaxFunc(due, time.Time.Compare).Add(time.Hour))
	defer cancel()
	last := -1
	for at := range int64(len(due)) {
		must(t, q.Await(ctx, 0, at))
		spans, err := q.Read(ctx, 0, at, 1)
		must(t, err)
		i := int(spans[0].Header.Sequence)
		if time.Now().Before(due[i]) {
			t.Errorf("message %d comes %v too early", i, time.Until(due[i]))
		}
		if last >= 0 && (due[i].Before(due[last]) || due[i].Equal(due[last]) && i < last) {
			t.Fatalf("message %d, due %v, comes behind message %d, due %v", i, due[i], last, due[last])
		}
		last = i
	}
}

// TestOverdueTakeTurns has slots that are overdue: nothing is moved or exposed but
// what is first, so that few are divided at once.
func TestOverdueTakeTurns(t *testing.T) {
	const hour = 3_600_000
	for range 50 { // slots come in any order
		timers := newTimers(0)
		now := int64(10*hour + 59_500)
		timers.opened = now
		add := func(level int, start, bytes int64) *slot {
			s := &slot{slotID: slotID{level, start}, record: slotRecord{Log: uint64(len(timers.slots) + 1), Bytes: bytes}}
			timers.slots[s.slotID] = s
			return s
		}
		big, small, last := add(2, 5*hour, sortedBytes+1), add(2, 6*hour, sortedBytes), add(1, 10*hour, 1)
		second, fresh := add(0, 7*hour, 1), add(0, 10*hour+60_000, 1)
		for _, turn := range []struct{ moved, exposed *slot }{{big, fresh}, {nil, small}, {nil, second}, {last, fresh}, {nil, fresh}} {
			moved, _, _ := timers.nextMove(now)
			exposed, _ := timers.nextSlot(now)
			if moved != turn.moved || exposed != turn.exposed {
				t.Fatalf("%+v is moved and %+v exposed, not %+v and %+v", moved, exposed, turn.moved, turn.exposed)
			}
			for _, s := range []*slot{moved, exposed} {
				if s != nil && s != fresh {
					delete(timers.slots, s.slotID)
				}
			}
		}
	}
}
