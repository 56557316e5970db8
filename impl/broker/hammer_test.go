package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestHammer closes the broker while publishers, receivers and administrators
// are at work: nobody hangs, and everybody who was answered was answered truly.
func TestHammer(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for round := range 4 {
		b := testBroker(t, store.Options{Path: dir, Reserve: 1})
		if round == 0 {
			if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 3}); err != nil {
				t.Fatal(err)
			}
		}
		q, err := b.Queue("test", "q")
		if err != nil {
			t.Fatal(err)
		}
		before := ends(q)
		var mu sync.Mutex
		acknowledged := int64(0)
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				for {
					a := []Append{{Queue: q, Partition: int32(i % 3), Chunk: testChunk(3)}}
					if err := b.Publish(ctx, a); err != nil || a[0].Err != nil {
						return
					}
					mu.Lock()
					acknowledged += 3
					enough := acknowledged > 1500
					mu.Unlock()
					if enough {
						return
					}
				}
			})
			all.Go(func() { receiveUntilClosed(t, ctx, b) })
		}
		all.Go(func() {
			for b.Ping(ctx) == nil {
				_ = q.Groups()
				if err := b.SeekGroup(ctx, "q", "other", om.Begin()); err != nil {
					return
				}
				if err := b.DeleteGroup(ctx, "q", "other"); err != nil {
					return
				}
			}
		})
		for n := int64(0); n < 600; {
			mu.Lock()
			n = acknowledged
			mu.Unlock()
			if err := b.Ping(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()

		b = testBroker(t, store.Options{Path: dir, Reserve: 1})
		if q, err = b.Queue("test", "q"); err != nil {
			t.Fatal(err)
		}
		if found := ends(q) - before; found < acknowledged {
			t.Errorf("round %d: %d messages were acknowledged, %d are there", round, acknowledged, found)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func ends(q *Queue) (n int64) {
	for _, p := range q.PartitionInfos() {
		n += p.End
	}
	return n
}

func testChunk(messages int) []byte {
	var b chunk.Builder
	b.Reset(rand.Uint64(), 0, "h", om.SpecVersion, time.Now())
	for range messages {
		m := om.NewMessage("", []byte("body"))
		m.BornAt = time.Now()
		b.Add(m)
	}
	return b.Finish()
}

// receiveUntilClosed receives, acknowledges some, gives some back, and closes
// its receiver now and then.
func receiveUntilClosed(t *testing.T, ctx context.Context, b *Broker) {
	for {
		r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
		if err != nil {
			if !errors.Is(err, om.ErrClosed) {
				t.Error(err)
			}
			return
		}
		for range 20 {
			spans, err := r.Receive(ctx, 5)
			if err != nil {
				if !errors.Is(err, om.ErrClosed) {
					t.Error(err)
				}
				return
			}
			s := spans[0]
			rs := []Receipts{{s.Partition, s.Lease, s.Base, s.Base + int64(s.Count)}}
			if rand.IntN(4) == 0 {
				_, err = r.Nack(ctx, rs, time.Duration(rand.IntN(3))*time.Millisecond)
			} else {
				_, err = r.Ack(ctx, rs)
			}
			if err != nil && !errors.Is(err, om.ErrClosed) {
				t.Error(err)
			}
		}
		if err := r.Close(ctx); err != nil && !errors.Is(err, om.ErrClosed) {
			t.Error(err)
		}
	}
}

// TestBiggestCommands makes the commands that write most: each fits into one
// transaction of the store.
func TestBiggestCommands(t *testing.T) {
	b := testBroker(t, store.Options{Path: t.TempDir(), Reserve: 1})
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := t.Context()
	for _, c := range []struct{ partitions, groups int }{{MaxPartitions, MaxGroupPartitions / MaxPartitions}, {1, MaxGroupPartitions}} {
		if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: c.partitions}); err != nil {
			t.Fatal(err)
		}
		var waits []*pending
		q, err := b.Queue("test", "q")
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.groups {
			waits = append(waits, b.commits.submit(&createGroup{queue: q, name: string(rune('a'+i%26)) + testName(i), cursors: make([]int64, c.partitions)}))
		}
		if err := await(ctx, waits); err != nil {
			t.Fatal(err)
		}
		if _, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "one-too-many", Lease: time.Minute}); !errors.Is(err, om.CodeBadParameter) {
			t.Error(err)
		}
		a := []Append{{Queue: q, Chunk: testChunk(5)}}
		if err := b.Publish(ctx, a); err != nil || a[0].Err != nil {
			t.Fatal(err, a[0].Err)
		}
		for cmd := (&trim{Starts: map[uint64]int64{q.list()[0].log: 5}, more: true}); cmd.more; {
			if err := b.submit(ctx, cmd); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range q.Groups() {
			if g.Lost != 5 {
				t.Fatalf("%s lost %d of 5", g.Group, g.Lost)
			}
		}
		if err := b.DeleteQueue(ctx, "q"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Err(); err != nil {
		t.Error(err)
	}
}

func testName(i int) string {
	name := make([]byte, 0, 40)
	for range 30 {
		name = append(name, 'n')
	}
	for ; i > 0; i /= 10 {
		name = append(name, byte('0'+i%10))
	}
	return string(name)
}
