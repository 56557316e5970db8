package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestStatisticsAgreeWithModel runs random operations with restarts, and after
// each one compares the statistics, and what is found, with what somebody counts
// who reads everything and has noted down what the consumer did.
func TestStatisticsAgreeWithModel(t *testing.T) {
	for _, memory := range []bool{true, false} {
		t.Run(fmt.Sprintf("memory=%v", memory), func(t *testing.T) {
			length := 300
			if !memory {
				length = 100
			}
			rapid.Check(t, func(rt *rapid.T) {
				choices := rapid.SliceOfN(rapid.IntRange(0, 10_000), length/2, length).Draw(rt, "choices")
				dir, err := os.MkdirTemp("", "oms-stats-")
				if err != nil {
					rt.Fatal(err)
				}
				defer os.RemoveAll(dir)
				var failed any
				synctest.Test(t, func(*testing.T) {
					failed = runStats(store.Options{Memory: memory, Reserve: 1, Path: dir}, choices)
				})
				if failed != nil {
					rt.Fatal(failed)
				}
			})
		})
	}
}

// place is one of the queue's; noted is what was noted down about it.
type noted struct {
	settled, held bool
	receipt       Receipts
	until         time.Time // of the wait
	delivered     bool
}

type statsRun struct {
	o        store.Options
	b        *Broker
	q        *Queue
	g        *Receiver
	choices  []int
	sequence uint64

	at       map[place]*noted
	before   map[place]bool // those from before the restart
	delayed  map[string]*om.Message
	prepared []string
	redriven map[int64]bool     // offsets of dead letters
	times    map[string][]int64 // seconds of what happened since the restart
}

// runStats returns what went wrong.
func runStats(o store.Options, choices []int) (failed any) {
	r := &statsRun{o: o, choices: choices, at: map[place]*noted{}, before: map[place]bool{}, delayed: map[string]*om.Message{}, redriven: map[int64]bool{}, times: map[string][]int64{}}
	defer func() {
		failed = recover()
		if r.b != nil {
			if err := r.b.Close(); err != nil && failed == nil {
				failed = err
			}
		}
	}()
	r.open()
	r.ok(r.b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: 2}))
	r.bind()
	steps := []func(){
		r.publish, r.publish, r.publish, r.delay, r.receive, r.receive, r.ack, r.nack, r.reject, r.reject, r.reject, r.wait, r.wait, r.restart, r.cancel, r.prepare, r.end, r.redrive, r.redrive, r.seek,
	}
	for len(r.choices) > 0 {
		steps[r.pick(len(steps))]()
		synctest.Wait()
		r.compare()
	}
	return nil
}

func (r *statsRun) ok(err error) {
	if err != nil {
		panic(err.Error())
	}
}

func (r *statsRun) equal(what string, got, want any) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		panic(fmt.Sprintf("%s: got %s, want %s", what, g, w))
	}
}

func (r *statsRun) pick(n int) int {
	if len(r.choices) == 0 {
		return 0
	}
	c := r.choices[0]
	r.choices = r.choices[1:]
	return int(uint64(c) * 0x9e3779b97f4a7c15 >> 33 % uint64(n)) // small ones are drawn more often
}

func (r *statsRun) open() {
	var err error
	r.b, err = Open(Config{Store: r.o, Host: "host"})
	r.ok(err)
}

// bind makes the group g, which receives, and one that never does.
func (r *statsRun) bind() {
	var err error
	r.q, err = r.b.Queue("test", "q")
	r.ok(err)
	r.g, err = r.b.NewReceiver(context.Background(), ReceiverConfig{Queue: "q", Group: "g", Lease: 10000 * time.Hour})
	r.ok(err)
	_, err = r.b.NewReceiver(context.Background(), ReceiverConfig{Queue: "q", Group: "idle", Lease: time.Hour})
	r.ok(err)
}

// message is a chunk of n messages.
func (r *statsRun) chunk(n int, delay time.Duration) (a Append, ms []*om.Message) {
	var c chunk.Builder
	c.Reset(5, r.sequence, "born", om.SpecVersion, time.Now())
	for i := range n {
		m := om.NewMessage("q", []byte(fmt.Sprint(r.sequence+uint64(i))))
		m.BornAt, m.Ext.Delay, m.MessageID = time.Now(), delay, string(chunk.AppendID(nil, 5, r.sequence+uint64(i)))
		m.Ext.MessageKey = []string{"", "a", "b"}[r.pick(3)]
		ms = append(ms, m)
		c.Add(m)
	}
	r.sequence += uint64(n)
	return Append{Queue: r.q, Partition: int32(r.pick(2)), Chunk: c.Finish()}, ms
}

func (r *statsRun) send(a Append) {
	as := []Append{a}
	r.ok(errors.Join(r.b.Publish(context.Background(), as), as[0].Err))
}

func (r *statsRun) publish() {
	a, _ := r.chunk(1+r.pick(4), 0)
	r.send(a)
}

func (r *statsRun) delay() {
	a, ms := r.chunk(1+r.pick(3), []time.Duration{3 * time.Second, time.Minute, 3 * time.Hour, 50 * time.Hour}[r.pick(4)])
	for _, m := range ms {
		r.delayed[m.MessageID] = m
	}
	r.send(a)
}

func (r *statsRun) note(what string, n int) {
	for range n {
		r.times[what] = append(r.times[what], time.Now().Unix())
	}
}

func (r *statsRun) receive() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	spans, err := r.g.Receive(ctx, 1+r.pick(5))
	if errors.Is(err, context.DeadlineExceeded) {
		return
	}
	r.ok(err)
	for _, s := range spans {
		for i := range int64(s.Count) {
			n := r.noted(place{int(s.Partition), s.Base + i})
			if n.settled || n.held || n.until.After(time.Now()) {
				panic(fmt.Sprintf("%d/%d is delivered, and it is %+v", s.Partition, s.Base+i, *n))
			}
			r.note("delivered", 1)
			if n.delivered {
				r.note("redelivered", 1)
			}
			*n = noted{held: true, delivered: true, receipt: Receipts{s.Partition, s.Lease, s.Base + i, s.Base + i + 1}}
		}
	}
}

func (r *statsRun) noted(at place) *noted {
	if r.at[at] == nil {
		r.at[at] = &noted{}
	}
	return r.at[at]
}

// held is one of the messages that the receiver has, nil without any.
func (r *statsRun) held() *noted {
	var all []*noted
	for _, at := range r.places() {
		if n := r.at[at]; n.held {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[r.pick(len(all))]
}

func (r *statsRun) places() []place {
	return slices.SortedFunc(maps.Keys(r.at), func(a, b place) int {
		return strings.Compare(fmt.Sprintf("%02d/%06d", a.partition, a.offset), fmt.Sprintf("%02d/%06d", b.partition, b.offset))
	})
}

func (r *statsRun) ack() {
	if n := r.held(); n != nil {
		errs, err := r.g.Ack(context.Background(), []Receipts{n.receipt})
		r.ok(errors.Join(append(errs, err)...))
		r.note("acknowledged", 1)
		n.held, n.settled = false, true
	}
}

func (r *statsRun) nack() {
	if n := r.held(); n != nil {
		delay := []time.Duration{time.Second, time.Hour}[r.pick(2)]
		errs, err := r.g.Nack(context.Background(), []Receipts{n.receipt}, delay)
		r.ok(errors.Join(append(errs, err)...))
		n.held, n.until = false, time.Now().Add(delay)
	}
}

func (r *statsRun) reject() {
	if n := r.held(); n != nil {
		errs, err := r.g.Reject(context.Background(), []Receipts{n.receipt}, "why not")
		r.ok(errors.Join(append(errs, err)...))
		n.held, n.settled = false, true
	}
}

func (r *statsRun) wait() {
	time.Sleep([]time.Duration{300 * time.Millisecond, time.Second, 7 * time.Second, 2 * time.Minute, 5 * time.Hour}[r.pick(5)])
	for id, m := range r.delayed {
		if !m.BornAt.Truncate(time.Millisecond).Add(m.Ext.Delay).After(time.Now()) {
			delete(r.delayed, id)
		}
	}
	time.Sleep(20 * time.Millisecond) // what is due is committed by now
}

func (r *statsRun) restart() {
	if r.o.Memory {
		return
	}
	r.ok(r.b.Close())
	r.b = nil
	r.open()
	r.bind()
	r.times = map[string][]int64{}
	for _, s := range r.walk("q", 2) {
		r.before[place{int(s.Partition), s.Base}] = true
	}
	for _, n := range r.at {
		n.held, n.until = false, time.Time{}
	}
}

func (r *statsRun) cancel() {
	if ids := slices.Sorted(maps.Keys(r.delayed)); len(ids) > 0 {
		id := ids[r.pick(len(ids))]
		if err := r.b.CancelDelayed(context.Background(), "q", id); !errors.Is(err, om.CodeMessageNotFound) {
			r.ok(err)
			delete(r.delayed, id)
		}
	}
}

func (r *statsRun) prepare() {
	a, _ := r.chunk(1, 0)
	id, err := r.b.Prepare(context.Background(), a, "producers", om.TransactionCheck{After: 24 * time.Hour, Every: 24 * time.Hour})
	r.ok(err)
	r.prepared = append(r.prepared, id)
}

func (r *statsRun) end() {
	if n := len(r.prepared); n > 0 {
		verdict := []om.TxVerdict{om.TxCommit, om.TxRollback}[r.pick(2)]
		r.ok(r.b.EndTransaction(context.Background(), r.prepared[n-1], "producers", Epoch{}, verdict))
		r.prepared = r.prepared[:n-1]
	}
}

func (r *statsRun) redrive() {
	dead := r.dead()
	if len(dead) == 0 {
		return
	}
	ids := idsOf(dead, func(Span, string) bool { return true })
	out, err := r.b.Redrive(context.Background(), "q", "g", om.Redrive{IDs: []string{ids[r.pick(len(ids))]}})
	r.ok(err)
	r.ok(out[0].Err)
	r.redriven[out[0].DeadOffset] = true
}

// dead is the dead letters that were not redriven.
func (r *statsRun) dead() []Span {
	return slices.DeleteFunc(r.walk("q//dlq//g", 1), func(s Span) bool { return r.redriven[s.Base] })
}

func (r *statsRun) seek() {
	if r.pick(3) > 0 {
		return
	}
	r.ok(r.b.SeekGroup(context.Background(), "q", "g", om.Begin()))
	r.at = map[place]*noted{}
}

// walk reads everything of a queue, as spans of one message each.
func (r *statsRun) walk(queue string, partitions int) (all []Span) {
	q, err := r.b.Queue("test", queue)
	if errors.Is(err, om.CodeDestinationNotFound) {
		return nil
	}
	r.ok(err)
	for p := range int32(partitions) {
		spans, err := q.Read(context.Background(), p, 0, MaxReceive)
		r.ok(err)
		for _, s := range spans {
			for i := range s.Count {
				one := s
				one.Base, one.Skip, one.Count = s.Base+int64(i), s.Skip+i, 1
				all = append(all, one)
			}
		}
	}
	return all
}

func (r *statsRun) rate(seconds []int64) float64 {
	now, n := time.Now().Unix(), 0
	for _, s := range seconds {
		if now-10 <= s && s < now {
			n++
		}
	}
	return float64(n) / 10
}

func (r *statsRun) compare() {
	all, err := r.b.Stats("default", []string{"q"})
	r.ok(err)
	s, g, idle := all[0], all[0].Groups[0], all[0].Groups[1]
	now := time.Now()
	stored, dead := r.walk("q", 2), r.dead()
	r.equal("depth", s.Depth, len(stored))
	r.equal("delayed", s.Delayed, len(r.delayed))
	r.equal("prepared", s.Prepared, len(r.prepared))
	r.equal("dead", g.Dead, len(dead))
	r.equal("lag of the idle group", idle.Lag, len(stored))
	var came []int64
	var lag, held, waiting int
	var age, idleAge time.Duration
	for _, m := range stored {
		if at := (place{int(m.Partition), m.Base}); !r.before[at] {
			came = append(came, m.StoredAt/1000)
		}
		old := time.Duration(now.UnixMilli()-m.StoredAt) * time.Millisecond
		idleAge = max(idleAge, old)
		n := r.noted(place{int(m.Partition), m.Base})
		if n.settled {
			continue
		}
		lag++
		age = max(age, old)
		if n.held {
			held++
		} else if n.until.After(now) {
			waiting++
		}
	}
	r.equal("lag", g.Lag, lag)
	r.equal("in flight", g.InFlight, held)
	r.equal("waiting", g.Waiting, waiting)
	r.equal("age", g.OldestAge, age)
	r.equal("age of the idle group", idle.OldestAge, idleAge)
	r.equal("published", s.Published, om.Counter{Total: int64(len(came)), Rate: r.rate(came)})
	for what, c := range map[string]om.Counter{"delivered": g.Delivered, "redelivered": g.Redelivered, "acknowledged": g.Acknowledged} {
		r.equal(what, c, om.Counter{Total: int64(len(r.times[what])), Rate: r.rate(r.times[what])})
	}
	r.compareFound(stored, dead)
}

// find returns the ids of what is found, page by page.
func (r *statsRun) find(want om.MessageQuery) (ids []string) {
	for pages := 0; ; pages++ {
		spans, next, err := r.b.FindMessages(context.Background(), "q", want)
		r.ok(err)
		for _, s := range spans {
			for i := range s.Count {
				ids = append(ids, string(chunk.AppendID(nil, s.Header.Producer, s.Header.Sequence+uint64(s.Skip+i))))
			}
		}
		if want.After = next; next == "" {
			return ids
		}
		if pages > 10_000 {
			panic("finding does not end")
		}
	}
}

func idsOf(all []Span, is func(s Span, key string) bool) (ids []string) {
	for _, s := range all {
		var v chunk.View
		w := chunk.Walk(s.Chunk, s.Header, s.Skip)
		if w.Next(&v) && is(s, v.MessageKey) {
			ids = append(ids, v.MessageID())
		}
	}
	return ids
}

func (r *statsRun) compareFound(stored, dead []Span) {
	any := func(Span, string) bool { return true }
	some := len(r.choices) // no choice is used up
	limit := 1 + some%4
	r.equal("found", r.find(om.MessageQuery{Max: limit}), idsOf(stored, any))
	found := r.find(om.MessageQuery{Key: "a", Max: limit})
	want := idsOf(stored, func(_ Span, key string) bool { return key == "a" })
	slices.Sort(found)
	slices.Sort(want)
	r.equal("found by key", found, want)
	if len(stored) > 0 {
		m := stored[some%len(stored)]
		at := time.UnixMilli(m.StoredAt)
		r.equal("found from a time on", r.find(om.MessageQuery{From: at, Max: limit}), idsOf(stored, func(s Span, _ string) bool { return s.StoredAt >= m.StoredAt }))
		r.equal("found before a time", r.find(om.MessageQuery{To: at, Max: limit}), idsOf(stored, func(s Span, _ string) bool { return s.StoredAt < m.StoredAt }))
		id := idsOf([]Span{m}, any)[0]
		r.equal("found by id", r.find(om.MessageQuery{ID: id, Max: 100}), slices.DeleteFunc(idsOf(stored, any), func(s string) bool { return s != id }))
	}
	waiting := slices.Sorted(maps.Keys(r.delayed))
	found = r.find(om.MessageQuery{Delayed: true, Max: limit})
	slices.Sort(found)
	r.equal("delayed messages found", found, waiting)
	if len(waiting) > 0 {
		id := waiting[some%len(waiting)]
		r.equal("delayed message found by id", r.find(om.MessageQuery{Delayed: true, ID: id}), []string{id})
	}
	r.equal("dead letters found", r.find(om.MessageQuery{DeadFor: "g", Max: limit}), idsOf(dead, any))
}
