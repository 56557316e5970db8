package broker

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// model is a queue with one group as anybody would write it down: for each
// message a line.
type model struct {
	parts [][]*line
}

type line struct {
	body     string
	key      string
	priority int32
	settled  bool
	count    int       // deliveries that ended unsettled
	holder   *Receiver // who has it now
	lease    Receipts
}

func (m *model) each(f func(partition, offset int, l *line)) {
	for p, lines := range m.parts {
		for o, l := range lines {
			f(p, o, l)
		}
	}
}

// free reports whether a message may be delivered: nobody has it, and no
// earlier one of its key is unsettled.
func (m *model) free(partition, offset int) bool {
	l := m.parts[partition][offset]
	return !l.settled && l.holder == nil && !slices.ContainsFunc(m.parts[partition][:offset], func(before *line) bool {
		return l.key != "" && before.key == l.key && !before.settled
	})
}

func (m *model) count(is func(*line) bool) (n int) {
	m.each(func(_, _ int, l *line) {
		if is(l) {
			n++
		}
	})
	return n
}

// giveBack ends the deliveries that a receiver holds; nil stands for all.
func (m *model) giveBack(r *Receiver) {
	m.each(func(_, _ int, l *line) {
		if l.holder != nil && (r == nil || l.holder == r) {
			l.holder = nil
			l.count++
		}
	})
}

const modelPartitions = 3

// TestBrokerAgreesWithModel runs random operations against the broker and the
// model: nothing is lost, nothing invented, what is settled stays settled, also
// when the broker is opened again.
func TestBrokerAgreesWithModel(t *testing.T) {
	for _, memory := range []bool{true, false} {
		t.Run(fmt.Sprintf("memory=%v", memory), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				run := &modelRun{t: rt, tb: t, opts: store.Options{Memory: memory, Reserve: 1}, m: &model{parts: make([][]*line, modelPartitions)}}
				if !memory {
					dir, err := os.MkdirTemp("", "oms-model-")
					if err != nil {
						rt.Fatal(err)
					}
					defer os.RemoveAll(dir)
					run.opts.Path = dir
				}
				run.b = testBroker(t, run.opts)
				defer func() {
					if err := run.b.Close(); err != nil {
						rt.Fatal(err)
					}
				}()
				run.ok(run.b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: modelPartitions}))
				run.open()
				steps := 60
				if !memory {
					steps = 25
				}
				for range rapid.IntRange(1, steps).Draw(rt, "steps") {
					run.step()
					run.compare()
				}
			})
		})
	}
}

type modelRun struct {
	t         *rapid.T
	tb        testing.TB
	opts      store.Options
	b         *Broker
	q         *Queue
	m         *model
	receivers []*Receiver
	sent      int
	stored    []Append // idempotent ones, as they were answered
}

func (r *modelRun) ok(err error) {
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *modelRun) open() {
	q, err := r.b.Queue("test", "q")
	r.ok(err)
	r.q, r.receivers = q, nil
	for range 2 {
		r.newReceiver()
	}
}

func (r *modelRun) newReceiver() {
	c, err := r.b.NewReceiver(context.Background(), ReceiverConfig{Queue: "q", Group: "g", Lease: time.Hour})
	r.ok(err)
	r.receivers = append(r.receivers, c)
}

func (r *modelRun) step() {
	ops := []string{"publish", "publish", "again", "receive", "receive", "receive", "ack", "ack", "nack", "close", "seek", "transact", "transact"}
	if !r.opts.Memory {
		ops = append(ops, "reopen")
	}
	switch rapid.SampledFrom(ops).Draw(r.t, "op") {
	case "publish":
		r.publish()
	case "again":
		if len(r.stored) > 0 {
			before := rapid.SampledFrom(r.stored).Draw(r.t, "before")
			again := before
			again.Queue, again.Base = r.q, -1
			a := []Append{again}
			r.ok(r.b.Publish(context.Background(), a))
			r.ok(a[0].Err)
			if a[0].Base != before.Base {
				r.t.Fatalf("a chunk that was stored at %d is answered with %d", before.Base, a[0].Base)
			}
		}
	case "receive":
		r.receive(rapid.SampledFrom(r.receivers).Draw(r.t, "receiver"))
	case "ack":
		r.settle((*Receiver).Ack, func(l *line) { l.settled = true })
	case "nack":
		nack := func(c *Receiver, ctx context.Context, rs []Receipts) ([]error, error) { return c.Nack(ctx, rs, 0) }
		r.settle(nack, func(l *line) { l.count++ })
	case "transact":
		r.transact()
	case "close":
		i := rapid.IntRange(0, len(r.receivers)-1).Draw(r.t, "receiver")
		r.ok(r.receivers[i].Close(context.Background()))
		r.m.giveBack(r.receivers[i])
		r.receivers = slices.Delete(r.receivers, i, i+1)
		r.newReceiver()
	case "seek":
		offset := rapid.Int64Range(0, 30).Draw(r.t, "offset")
		r.ok(r.b.SeekGroup(context.Background(), "q", "g", om.AtOffset(offset)))
		r.m.each(func(_, o int, l *line) {
			*l = line{body: l.body, key: l.key, priority: l.priority, settled: int64(o) < offset}
		})
	case "reopen":
		r.ok(r.b.Close())
		r.m.giveBack(nil)
		r.b = testBroker(r.tb, r.opts)
		r.open()
	}
}

func (r *modelRun) publish() {
	a, lines := r.chunk(rapid.Bool().Draw(r.t, "idempotent"))
	as := []Append{a}
	r.ok(r.b.Publish(context.Background(), as))
	r.ok(as[0].Err)
	r.add(as[0], lines)
}

// chunk makes a chunk for a partition.
func (r *modelRun) chunk(idempotent bool) (Append, []*line) {
	p := rapid.IntRange(0, modelPartitions-1).Draw(r.t, "partition")
	var b chunk.Builder
	b.Reset(1, uint64(r.sent), "h", om.SpecVersion, time.Now())
	var lines []*line
	for range rapid.IntRange(1, 12).Draw(r.t, "messages") {
		body := fmt.Sprint(r.sent)
		m := om.NewMessage("", []byte(body))
		m.BornAt = time.Now()
		m.Ext.Priority = rapid.SampledFrom([]int8{0, 0, 0, 1, 5, 9, 127}).Draw(r.t, "priority")
		m.Ext.MessageKey = rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(r.t, "key")
		b.Add(m)
		lines = append(lines, &line{body: body, key: m.Ext.MessageKey, priority: priorityOf(&chunk.View{Priority: m.Ext.Priority})})
		r.sent++
	}
	return Append{Queue: r.q, Partition: int32(p), Chunk: b.Finish(), Foreign: true, Idempotent: idempotent}, lines
}

// add notes a chunk that was stored.
func (r *modelRun) add(a Append, lines []*line) {
	part := &r.m.parts[a.Partition]
	if a.Base != int64(len(*part)) {
		r.t.Fatalf("offset %d, want %d", a.Base, len(*part))
	}
	*part = append(*part, lines...)
	if a.Idempotent {
		r.stored = append(r.stored, a)
	}
}

func (r *modelRun) receive(c *Receiver) {
	limit := rapid.IntRange(1, 20).Draw(r.t, "max")
	ready := 0
	r.m.each(func(p, o int, _ *line) {
		if r.m.free(p, o) {
			ready++
		}
	})
	if ready == 0 {
		return // it would block
	}
	spans, err := c.Receive(context.Background(), limit)
	r.ok(err)
	got := 0
	for _, s := range spans {
		ms := make([]om.Message, s.Count)
		_, err := chunk.Decode(s.Chunk, s.Header, s.Skip, ms)
		r.ok(err)
		for i, m := range ms {
			offset := int(s.Base) + i
			l := r.m.parts[s.Partition][offset]
			if !r.m.free(int(s.Partition), offset) || l.body != string(m.Body) || s.Delivery != l.count+1 {
				r.t.Fatalf("received %d/%d %q, delivery %d; the model has %+v", s.Partition, offset, m.Body, s.Delivery, l)
			}
			byPriority := c.group.parts[s.Partition].turn%oldestEvery != 0
			for o, other := range r.m.parts[s.Partition] {
				older := o < offset && l.count+other.count == 0 && (!byPriority || other.priority == l.priority)
				if r.m.free(int(s.Partition), o) && (older || byPriority && other.priority > l.priority) {
					r.t.Fatalf("received %d/%d %+v before %d %+v", s.Partition, offset, l, o, other)
				}
			}
			l.holder = c
			l.lease = Receipts{s.Partition, s.Lease, int64(offset), int64(offset) + 1}
			got++
		}
	}
	if got != min(limit, ready) {
		r.t.Fatalf("received %d of %d, the most are %d", got, ready, limit)
	}
}

func (r *modelRun) settle(f func(*Receiver, context.Context, []Receipts) ([]error, error), then func(*line)) {
	c := rapid.SampledFrom(r.receivers).Draw(r.t, "receiver")
	held, rs := r.held(c)
	if len(held) == 0 {
		return
	}
	errs, err := f(c, context.Background(), rs)
	r.ok(err)
	if errs != nil {
		r.t.Fatal(errs)
	}
	for _, l := range held {
		l.holder = nil
		then(l)
	}
}

// held chooses some of what a receiver has, in any order.
func (r *modelRun) held(c *Receiver) (held []*line, rs []Receipts) {
	r.m.each(func(_, _ int, l *line) {
		if l.holder == c {
			held = append(held, l)
		}
	})
	if len(held) == 0 {
		return nil, nil
	}
	held = rapid.Permutation(held).Draw(r.t, "order")[:rapid.IntRange(1, len(held)).Draw(r.t, "many")]
	for _, l := range held {
		rs = append(rs, l.lease)
	}
	return held, rs
}

func (r *modelRun) compare() {
	g := r.q.Groups()[0]
	lag := r.m.count(func(l *line) bool { return !l.settled })
	held := r.m.count(func(l *line) bool { return l.holder != nil })
	if int(g.Lag) != lag || int(g.InFlight) != held {
		r.t.Fatalf("lag %d, in flight %d; the model has %d and %d", g.Lag, g.InFlight, lag, held)
	}
	for _, p := range g.Partitions {
		cursor := 0
		for lines := r.m.parts[p.Partition]; cursor < len(lines) && lines[cursor].settled; {
			cursor++
		}
		if int(p.Cursor) != cursor {
			r.t.Fatalf("partition %d: cursor %d, want %d", p.Partition, p.Cursor, cursor)
		}
	}
}
