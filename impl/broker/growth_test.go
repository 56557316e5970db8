package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// growthRun publishes messages with keys while partitions are added.
type growthRun struct {
	*delayRun
	had      []int          // numbers of partitions of q
	sent     map[string]int // by key
	sequence uint64
	first    *reading
}

// reading is a group that receives and what it has got.
type reading struct {
	queue, group string
	receiver     *Receiver
	settled      map[string]int // by key: how many, in their order
	held         []held
}

type held struct {
	key      string
	number   int
	receipts Receipts
}

// TestR128_order: while partitions are added, also to a queue that is the source
// or the target of a route, and while senders divide by an earlier number of
// partitions, and across restarts, a group gets the messages of a key in their
// order, and all of them.
func TestR128_order(t *testing.T) {
	histories(t, store.Options{}, lengths{10, 400}, lengths{10, 400}, runGrowth)
}

func runGrowth(in *delayRun) {
	r := &growthRun{delayRun: in, sent: map[string]int{}}
	ctx := context.Background()
	r.open()
	r.ok(r.b.CreateRoute(ctx, om.RouteConfig{Name: "r", Source: "q", Target: "t"}))
	for len(r.choices) > 0 {
		r.step()
	}
	r.drain(r.first)
	r.drain(r.reading("q", "late"))
	synctest.Wait()
	r.drain(r.reading("t", "route"))
	r.ok(r.b.CreateQueue(ctx, om.QueueConfig{Name: "u", Partitions: 3}))
	r.ok(r.b.CreateRoute(ctx, om.RouteConfig{Name: "all", Source: "q", Target: "u"}))
	r.ok(r.b.AddPartitions(ctx, "u", 4))
	synctest.Wait()
	r.drain(r.reading("u", "route"))
}

func (r *growthRun) open() {
	b, err := Open(r.cfg)
	r.ok(err)
	r.b = b
	for name, partitions := range map[string]int{"q": 2, "t": 3} {
		err := b.CreateQueue(context.Background(), om.QueueConfig{Name: name, Partitions: partitions})
		if !errors.Is(err, om.CodeDestinationExists) {
			r.ok(err)
		}
	}
	r.q, err = b.Queue("test", "q")
	r.ok(err)
	if r.had == nil {
		r.had = []int{2}
	}
	if last := r.had[len(r.had)-1]; r.q.Partitions() != last {
		r.failf("%d partitions after a restart, there were %d", r.q.Partitions(), last)
	}
	if r.first == nil {
		r.first = r.reading("q", "g")
	} else {
		again := r.reading("q", "g")
		again.settled = r.first.settled
		r.first = again
	}
}

func (r *growthRun) reading(queue, group string) *reading {
	c, err := r.b.NewReceiver(context.Background(), ReceiverConfig{Queue: queue, Group: group, Start: om.Begin(), Lease: time.Hour})
	r.ok(err)
	return &reading{queue: queue, group: group, receiver: c, settled: map[string]int{}}
}

func (r *growthRun) step() {
	ctx := context.Background()
	switch op := r.pick(12); {
	case op < 5:
		r.publish()
	case op < 7:
		r.receive(r.first)
	case op < 9:
		r.ack(r.first)
	case op == 9:
		total := r.had[len(r.had)-1] + r.pick(3)
		if total > r.had[len(r.had)-1] {
			r.had = append(r.had, total)
		}
		r.ok(r.b.AddPartitions(ctx, "q", total))
	case op == 10:
		t, _ := r.b.Queue("test", "t")
		r.ok(r.b.AddPartitions(ctx, "t", t.Partitions()+r.pick(2)))
	case !r.cfg.Store.Memory:
		r.ok(r.b.Close())
		r.open()
	default: // what is in hand goes back
		r.ok(r.first.receiver.Close(ctx))
		again := r.reading("q", "g")
		again.settled = r.first.settled
		r.first = again
	}
}

// publish sends a chunk that was divided by a number of partitions that the queue
// has or had.
func (r *growthRun) publish() {
	divided := r.had[max(0, len(r.had)-1-r.pick(3))]
	var keys []string
	partition := int32(r.pick(divided))
	for i := range 12 {
		if key := fmt.Sprint("k", i); chunk.Partition(key, divided) == partition {
			keys = append(keys, key)
		}
	}
	var c chunk.Builder
	c.Reset(9, r.sequence, "born", om.SpecVersion, time.Now())
	var bodies []string
	for range 1 + r.pick(8) {
		key := ""
		if n := r.pick(len(keys) + 1); n < len(keys) {
			key = keys[n]
		}
		m := om.NewMessage("", fmt.Appendf(nil, "%s %d", key, r.sent[key]))
		r.sent[key]++
		m.Ext.MessageKey, m.BornAt = key, time.Now()
		c.Add(m)
		bodies = append(bodies, string(m.Body))
	}
	a := []Append{{Queue: r.q, Partition: partition, Divided: divided, Chunk: c.Finish(), Idempotent: true}}
	r.sequence += uint64(len(bodies))
	r.ok(r.b.Publish(context.Background(), a))
	r.ok(a[0].Err)
	at, known := a[0].Base, a[0].Known
	for i, body := range bodies {
		p, offset := partition, at
		if len(known) > 0 && known[0].Number == i {
			p, offset, known = known[0].Partition, known[0].Offset, known[1:]
		} else {
			at++
		}
		spans, err := r.q.Read(context.Background(), p, offset, 1)
		r.ok(err)
		if ms, err := decodeSpan(spans[0]); err != nil || string(ms[0].Body) != body {
			r.failf("%q is said to be at %d/%d, and %q is there, %v", body, p, offset, ms[0].Body, err)
		} else if key := ms[0].Ext.MessageKey; key != "" && p != r.q.PartitionOf(key) {
			r.failf("the key %q is in partition %d", key, p)
		}
	}
}

// receive takes what there is and checks that all earlier messages of each key
// are settled.
func (r *growthRun) receive(g *reading) (got int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	spans, err := g.receiver.Receive(ctx, 1+r.pick(20))
	if ctx.Err() == nil {
		r.ok(err)
	}
	for _, s := range spans {
		ms, err := decodeSpan(s)
		r.ok(err)
		for i := range ms {
			h := held{key: ms[i].Ext.MessageKey, receipts: Receipts{s.Partition, s.Lease, s.Base + int64(i), s.Base + int64(i) + 1}}
			_, err := fmt.Sscanf(string(ms[i].Body), h.key+" %d", &h.number)
			r.ok(err)
			if h.key != "" && h.number != g.settled[h.key] {
				r.failf("%s got %q when %d of its key were settled", g.group, ms[i].Body, g.settled[h.key])
			}
			g.held = append(g.held, h)
			got++
		}
	}
	return got
}

// ack settles some of what is in hand.
func (r *growthRun) ack(g *reading) {
	for n := r.pick(len(g.held) + 1); n > 0; n-- {
		i := r.pick(len(g.held))
		_, err := g.receiver.Ack(context.Background(), []Receipts{g.held[i].receipts})
		r.ok(err)
		g.settled[g.held[i].key]++
		g.held = slices.Delete(g.held, i, i+1)
	}
}

// drain receives and settles all.
func (r *growthRun) drain(g *reading) {
	for more := true; more; {
		for _, h := range g.held {
			_, err := g.receiver.Ack(context.Background(), []Receipts{h.receipts})
			r.ok(err)
			g.settled[h.key]++
		}
		g.held = nil
		more = r.receive(g) > 0
	}
	for key, n := range r.sent {
		if g.settled[key] != n {
			r.failf("%s got %d of %d messages with the key %q", g.group, g.settled[key], n, key)
		}
	}
}

// TestR128_gate: a message with a key waits for what was before; others do not.
// Seeking back has it wait again.
func TestR128_gate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		must(t, b.CreateQueue(ctx, om.QueueConfig{Name: "q"}))
		q, _ := b.Queue("test", "q")
		send := func(key, body string) {
			t.Helper()
			a := chunkOf(q, uint64(len(body)), body)
			if key != "" {
				var c chunk.Builder
				m := om.NewMessage("", []byte(body))
				m.Ext.MessageKey, m.BornAt = key, time.Now()
				c.Reset(9, uint64(len(body)), "born", om.SpecVersion, m.BornAt)
				c.Add(m)
				a.Chunk, a.Partition, a.Divided = c.Finish(), q.PartitionOf(key), q.Partitions()
			}
			as := []Append{a}
			must(t, errors.Join(b.Publish(ctx, as), as[0].Err))
		}
		key := "k"
		for i := 0; chunk.Partition(key, 4) == 0; i++ {
			key = fmt.Sprint("k", i)
		}
		send(key, "a")
		must(t, b.AddPartitions(ctx, "q", 4))
		send(key, "bb")
		as := []Append{chunkOf(q, 3, "ccc")}
		as[0].Partition = q.PartitionOf(key)
		must(t, errors.Join(b.Publish(ctx, as), as[0].Err))
		r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Start: om.Begin(), Lease: time.Hour})
		must(t, err)
		receive := func() (bodies string, rs []Receipts) {
			within, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			spans, err := r.Receive(within, 10)
			if err != nil && within.Err() == nil {
				t.Fatal(err)
			}
			for _, s := range spans {
				ms, err := decodeSpan(s)
				must(t, err)
				for i := range ms {
					bodies += string(ms[i].Body) + " "
				}
				rs = append(rs, Receipts{s.Partition, s.Lease, s.Base, s.Base + int64(s.Count)})
			}
			return bodies, rs
		}
		for range 2 {
			got, rs := receive()
			if got != "a ccc " && got != "ccc a " {
				t.Errorf("received %q first", got)
			}
			if more, _ := receive(); more != "" {
				t.Errorf("received %q while the first one is in hand", more)
			}
			_, err = r.Ack(ctx, rs)
			must(t, err)
			if got, _ := receive(); got != "bb " {
				t.Errorf("received %q then", got)
			}
			must(t, b.SeekGroup(ctx, "q", "g", om.Begin()))
		}
	})
}

// TestR128_late: messages that were delayed or prepared before partitions were
// added go where their key wants them then.
func TestR128_late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		must(t, b.CreateQueue(ctx, om.QueueConfig{Name: "q"}))
		q, _ := b.Queue("test", "q")
		made := func(sequence uint64, delay time.Duration) []byte {
			var c chunk.Builder
			c.Reset(9, sequence, "born", om.SpecVersion, time.Now())
			for i := range 8 {
				m := om.NewMessage("", []byte("x"))
				m.Ext.MessageKey, m.Ext.Delay, m.BornAt = fmt.Sprint("k", i), delay, time.Now()
				c.Add(m)
				if delay == 0 {
					break
				}
			}
			return c.Finish()
		}
		as := []Append{{Queue: q, Divided: 1, Chunk: made(1, time.Minute)}}
		must(t, errors.Join(b.Publish(ctx, as), as[0].Err))
		id, err := b.Prepare(ctx, Append{Queue: q, Divided: 1, Chunk: made(100, 0)}, "g", om.TransactionCheck{})
		must(t, err)
		must(t, b.AddPartitions(ctx, "q", 5))
		must(t, b.EndTransaction(ctx, id, "g", Epoch{}, om.TxCommit))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		n := 0
		for _, p := range q.PartitionInfos() {
			if p.End == 0 {
				continue
			}
			spans, err := q.Read(ctx, p.Partition, 0, 100)
			must(t, err)
			for _, s := range spans {
				ms, err := decodeSpan(s)
				must(t, err)
				for i := range ms {
					if n++; q.PartitionOf(ms[i].Ext.MessageKey) != s.Partition {
						t.Errorf("%q is in partition %d", ms[i].Ext.MessageKey, s.Partition)
					}
				}
			}
		}
		if n != 9 {
			t.Errorf("%d of 9 messages", n)
		}
	})
}

func TestAddPartitionsRefused(t *testing.T) {
	ctx := t.Context()
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	must(t, b.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 4}))
	for total, want := range map[int]error{3: om.CodeBadParameter, 0: om.CodeBadParameter, -1: om.CodeBadParameter, MaxPartitions + 1: om.CodeBadParameter, 4: nil} {
		if err := b.AddPartitions(ctx, "q", total); !errors.Is(err, want) {
			t.Errorf("%d: %v", total, err)
		}
	}
	if err := b.AddPartitions(ctx, "none", 3); !errors.Is(err, om.CodeDestinationNotFound) {
		t.Error(err)
	}
	q, _ := b.Queue("test", "q")
	for range maxGrowths {
		must(t, b.AddPartitions(ctx, "q", q.Partitions()+1))
	}
	if err := b.AddPartitions(ctx, "q", q.Partitions()+1); !errors.Is(err, om.CodeBadParameter) {
		t.Error(err)
	}
	as := []Append{{Queue: q, Divided: 3, Chunk: numberedChunk(1, 1, 1)}}
	if err := b.Publish(ctx, as); err != nil || !errors.Is(as[0].Err, om.CodeServiceUnavailable) {
		t.Error(err, as[0].Err)
	}
}
