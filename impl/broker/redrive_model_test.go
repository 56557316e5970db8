package broker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// rework is a random run with dead letters: two groups reject, acknowledge and
// give back, and their dead letters are redriven, across restarts. For each
// group it knows which messages are due, held, dead or done.
type rework struct {
	modelRun
	receivers map[string]*Receiver
	state     map[string]map[string]string // by group and body
	held      map[string]map[string]Receipts
	ids       map[string]string // of bodies, by id
}

var reworkGroups = []string{"g", "h"}

// TestRedriveAgreesWithModel: whatever is rejected and redriven, every group
// handles every message once.
func TestRedriveAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "oms-redrive-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r := &rework{
			modelRun: modelRun{t: rt, tb: t, opts: store.Options{Path: dir, Reserve: 1}},
			state:    map[string]map[string]string{"g": {}, "h": {}},
			ids:      map[string]string{},
		}
		r.b = testBroker(t, r.opts)
		defer func() { r.ok(r.b.Close()) }()
		r.ok(r.b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: 2}))
		r.open()
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			r.step(rapid.SampledFrom(reworkGroups).Draw(rt, "group"))
		}
		for _, group := range reworkGroups {
			r.drain(group)
		}
	})
}

func (r *rework) open() {
	q, err := r.b.Queue("test", "q")
	r.ok(err)
	r.q, r.receivers, r.held = q, map[string]*Receiver{}, map[string]map[string]Receipts{"g": {}, "h": {}}
	for _, group := range reworkGroups {
		r.receivers[group], err = r.b.NewReceiver(context.Background(), ReceiverConfig{Queue: "q", Group: group, Lease: time.Hour})
		r.ok(err)
		for body, state := range r.state[group] {
			if state == "held" {
				r.state[group][body] = "due"
			}
		}
	}
}

func (r *rework) step(group string) {
	switch rapid.SampledFrom([]string{"publish", "receive", "receive", "ack", "reject", "reject", "nack", "redrive", "redrive", "reopen"}).Draw(r.t, "op") {
	case "publish":
		r.publish()
	case "receive":
		r.receive(group)
	case "ack":
		r.settle(group, "done", (*Receiver).Ack)
	case "nack":
		r.settle(group, "due", func(c *Receiver, ctx context.Context, rs []Receipts) ([]error, error) { return c.Nack(ctx, rs, 0) })
	case "reject":
		r.settle(group, "dead", func(c *Receiver, ctx context.Context, rs []Receipts) ([]error, error) { return c.Reject(ctx, rs, "") })
	case "redrive":
		r.redrive(group)
	case "reopen":
		r.ok(r.b.Close())
		r.b = testBroker(r.tb, r.opts)
		r.open()
	}
}

func (r *rework) publish() {
	var b chunk.Builder
	b.Reset(1, uint64(r.sent), "h", om.SpecVersion, time.Now())
	for range rapid.IntRange(1, 6).Draw(r.t, "messages") {
		body := fmt.Sprint(r.sent)
		m := om.NewMessage("", []byte(body))
		m.BornAt = time.Now()
		m.Properties["n"] = om.Integer(int32(r.sent % 3))
		m.Ext.Priority = rapid.SampledFrom([]int8{0, 0, 9}).Draw(r.t, "priority")
		m.Ext.MessageKey = rapid.SampledFrom([]string{"", "", "a"}).Draw(r.t, "key")
		b.Add(m)
		r.ids[string(chunk.AppendID(nil, 1, uint64(r.sent)))] = body
		for _, group := range reworkGroups {
			r.state[group][body] = "due"
		}
		r.sent++
	}
	a := []Append{{Queue: r.q, Partition: AnyPartition, Chunk: b.Finish(), Foreign: true}}
	r.ok(r.b.Publish(context.Background(), a))
	r.ok(a[0].Err)
}

// receive takes what can be had without waiting.
func (r *rework) receive(group string) {
	c := r.receivers[group]
	if !hasWork(c) {
		return
	}
	spans, err := c.Receive(context.Background(), rapid.IntRange(1, 5).Draw(r.t, "max"))
	r.ok(err)
	for _, s := range spans {
		ms := make([]om.Message, s.Count)
		_, err := chunk.Decode(s.Chunk, s.Header, s.Skip, ms)
		r.ok(err)
		for i, m := range ms {
			body := string(m.Body)
			if state := r.state[group][body]; state != "due" || r.ids[m.MessageID] != body {
				r.t.Fatalf("group %s received %s, id %s, which is %s", group, body, m.MessageID, state)
			}
			r.state[group][body] = "held"
			r.held[group][body] = Receipts{s.Partition, s.Lease, s.Base + int64(i), s.Base + int64(i) + 1}
		}
	}
}

func (r *rework) settle(group, as string, f func(*Receiver, context.Context, []Receipts) ([]error, error)) {
	var bodies []string
	var rs []Receipts
	for body, rc := range r.held[group] {
		bodies, rs = append(bodies, body), append(rs, rc)
	}
	if len(rs) == 0 {
		return
	}
	errs, err := f(r.receivers[group], context.Background(), rs)
	r.ok(err)
	if errs != nil {
		r.t.Fatal(errs)
	}
	for _, body := range bodies {
		r.state[group][body] = as
		delete(r.held[group], body)
	}
}

func (r *rework) redrive(group string) {
	want := om.Redrive{Max: rapid.IntRange(1, 4).Draw(r.t, "max"), DryRun: rapid.Bool().Draw(r.t, "dry")}
	match := func(string) bool { return true }
	switch rapid.IntRange(0, 2).Draw(r.t, "by") {
	case 1:
		ids := slices.Sorted(maps.Keys(r.ids))
		for range min(want.Max, len(ids)) {
			want.IDs = append(want.IDs, rapid.SampledFrom(ids).Draw(r.t, "id"))
		}
		match = func(body string) bool {
			return slices.ContainsFunc(want.IDs, func(id string) bool { return r.ids[id] == body })
		}
	case 2:
		want.Filter = om.SQL("n = 1")
		match = func(body string) bool {
			var n int
			_, err := fmt.Sscan(body, &n)
			return err == nil && n%3 == 1
		}
	}
	dead := 0
	for body, state := range r.state[group] {
		if state == "dead" && match(body) {
			dead++
		}
	}
	out, err := r.b.Redrive(context.Background(), "q", group, want)
	r.ok(err)
	moved := 0
	for _, o := range out {
		body := r.ids[o.MessageID]
		if (o.Err == nil) != (r.state[group][body] == "dead" && match(body)) {
			r.t.Fatalf("group %s: %s, which is %s, was redriven: %+v", group, body, r.state[group][body], o)
		}
		if o.Err == nil {
			moved++
			if !want.DryRun {
				r.state[group][body] = "due"
			}
		}
	}
	if moved != min(dead, want.Max) {
		r.t.Fatalf("group %s: %d of %d dead letters were redriven with %+v", group, moved, dead, want)
	}
}

// drain handles all that a group has left.
func (r *rework) drain(group string) {
	r.settle(group, "done", (*Receiver).Ack)
	out, err := r.b.Redrive(context.Background(), "q", group, om.Redrive{})
	r.ok(err)
	for _, o := range out {
		r.ok(o.Err)
		r.state[group][r.ids[o.MessageID]] = "due"
	}
	for hasWork(r.receivers[group]) {
		r.receive(group)
		r.settle(group, "done", (*Receiver).Ack)
	}
	for body, state := range r.state[group] {
		if state != "done" {
			r.t.Fatalf("group %s: %s is %s in the end", group, body, state)
		}
	}
}
