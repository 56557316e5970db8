package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// desk is a broker in a folder with a queue q and what tests do with it.
type desk struct {
	*testing.T
	opts store.Options
	*Broker
}

func newDesk(t *testing.T, c om.QueueConfig) *desk {
	d := &desk{T: t, opts: store.Options{Path: t.TempDir(), Reserve: 1}}
	d.open()
	t.Cleanup(func() { must(t, d.Close()) })
	c.Name = "q"
	must(t, d.CreateQueue(t.Context(), c))
	return d
}

func (d *desk) open() { d.Broker = testBroker(d, d.opts) }

func (d *desk) reopen() {
	must(d.T, d.Broker.Close())
	d.open()
}

func (d *desk) queue(name string) *Queue {
	q, err := d.Queue("test", name)
	must(d.T, err)
	return q
}

func (d *desk) receiver(group string, lease time.Duration) *Receiver {
	r, err := d.NewReceiver(d.Context(), ReceiverConfig{Queue: "q", Group: group, Lease: lease})
	must(d.T, err)
	return r
}

// take receives what is there, as bodies and receipts.
func (d *desk) take(r *Receiver) (bodies []string, rs []Receipts, ms []om.Message) {
	for countReady(r.parts(), 1) > 0 || hasWork(r) {
		spans, err := r.Receive(d.Context(), 100)
		must(d.T, err)
		for _, s := range spans {
			part := make([]om.Message, s.Count)
			_, err := chunk.Decode(s.Chunk, s.Header, s.Skip, part)
			must(d.T, err)
			for i, m := range part {
				bodies, ms = append(bodies, string(m.Body)), append(ms, m)
				rs = append(rs, Receipts{s.Partition, s.Lease, s.Base + int64(i), s.Base + int64(i) + 1})
			}
		}
	}
	return bodies, rs, ms
}

// hasWork reports whether Receive would not block, having looked at everything.
func hasWork(r *Receiver) bool {
	q := r.group.queue
	for {
		q.mu.Lock()
		var next *progress
		for i, p := range r.group.parts {
			if next == nil && p.hasNext(q.list()[i].end) {
				p.looking, next = true, p
			}
		}
		ready := countReady(r.parts(), 1)
		q.mu.Unlock()
		if next == nil {
			return ready > 0
		}
		if r.look(next, new(recordReader), MaxReceive) != nil {
			return false
		}
	}
}

func (d *desk) reject(r *Receiver, rs []Receipts) {
	errs, err := r.Reject(d.Context(), rs, "broken")
	if err != nil || errs != nil {
		d.Fatal(err, errs)
	}
}

func (d *desk) ack(r *Receiver, rs []Receipts) {
	errs, err := r.Ack(d.Context(), rs)
	if err != nil || errs != nil {
		d.Fatal(err, errs)
	}
}

func (d *desk) redrive(want om.Redrive) []om.Redriven {
	out, err := d.Redrive(d.Context(), "q", "g", want)
	must(d.T, err)
	return out
}

func TestR116_redrive(t *testing.T) {
	d := newDesk(t, om.QueueConfig{Partitions: 3})
	must(t, d.CreateQueue(t.Context(), om.QueueConfig{Name: "copies"}))
	must(t, d.CreateRoute(t.Context(), om.RouteConfig{Name: "r", Source: "q", Target: "copies"}))
	if out := d.redrive2("g"); out != nil {
		t.Fatal(out)
	}
	g, other := d.receiver("g", time.Minute), d.receiver("other", time.Minute)
	publishBodies(t, d.Broker, "key", "a", "b", "c")
	bodies, rs, before := d.take(g)
	if fmt.Sprint(bodies) != "[a]" {
		t.Fatal(bodies)
	}
	d.reject(g, rs)
	_, rs, more := d.take(g)
	d.reject(g, rs)
	for range 3 {
		_, rs, _ := d.take(other)
		d.ack(other, rs)
	}
	out := d.redrive(om.Redrive{})
	if len(out) != 2 || out[0].MessageID != before[0].MessageID || out[0].Queue != "default://q" || out[0].Partition != 0 || out[0].Offset != 3 || out[0].DeadOffset != 0 || out[0].Err != nil ||
		out[1].MessageID != more[0].MessageID || out[1].Offset != 4 {
		t.Fatalf("%+v", out)
	}
	d.reopen()
	if out := d.redrive(om.Redrive{}); len(out) != 0 {
		t.Fatalf("after a restart %+v", out)
	}
	g, other = d.receiver("g", time.Minute), d.receiver("other", time.Minute)
	var got []string
	for range 3 { // the key's order is that of the partition: c was behind
		bodies, rs, ms := d.take(g)
		d.ack(g, rs)
		got = append(got, bodies...)
		if ms[0].Ext.MessageKey != "key" || ms[0].Properties.GetInt64("p", 0) != 1 || ms[0].Properties.GetString(om.PropertyDeadReason, "none") != "none" {
			t.Errorf("%+v", ms[0])
		}
	}
	if fmt.Sprint(got) != "[c a b]" || len(d.dead()) != 2 {
		t.Errorf("group g got %v", got)
	}
	if bodies, _, _ := d.take(other); bodies != nil {
		t.Errorf("another group got %v", bodies)
	}
	fresh := d.receiver("fresh", time.Minute)
	got = nil
	for range 3 {
		bodies, rs, _ := d.take(fresh)
		d.ack(fresh, rs)
		got = append(got, bodies...)
	}
	if bodies, _, _ := d.take(fresh); fmt.Sprint(got) != "[a b c]" || bodies != nil {
		t.Errorf("a new group got %v and then %v", got, bodies)
	}
	publishBodies(t, d.Broker, "", "last")
	q := d.queue("copies")
	for q.PartitionInfos()[0].End < 4 {
		must(t, q.Await(t.Context(), 0, q.PartitionInfos()[0].End))
	}
	if end := q.PartitionInfos()[0].End; end != 4 {
		t.Errorf("the route has copied %d messages, 4 were sent", end)
	}
}

// redrive2 is redrive of a group that need not be there.
func (d *desk) redrive2(group string) error {
	_, err := d.Redrive(d.Context(), "q", group, om.Redrive{})
	if errors.Is(err, om.CodeGroupNotFound) {
		return nil
	}
	return fmt.Errorf("redriving for a group that is not there: %w", err)
}

func (d *desk) dead() []om.Message { return deadLetters(d.T, d.Broker) }

func TestR116_which(t *testing.T) {
	d := newDesk(t, om.QueueConfig{})
	r := d.receiver("g", time.Minute)
	names := strings.Split("abcdefghij", "")
	publishBodies(t, d.Broker, "", names...)
	_, rs, ms := d.take(r)
	d.reject(r, rs)
	is := func(what string, out []om.Redriven, want ...int) {
		t.Helper()
		var got []int
		for _, o := range out {
			got = append(got, slices.IndexFunc(ms, func(m om.Message) bool { return o.Err == nil && m.MessageID == o.MessageID }))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	id := func(i int) string { return ms[i].MessageID }
	is("dry run", d.redrive(om.Redrive{DryRun: true, Max: 3}), 0, 1, 2)
	is("by id", d.redrive(om.Redrive{IDs: []string{id(7), "x", id(4), id(4)}}), 4, 7, -1)
	is("by id again", d.redrive(om.Redrive{IDs: []string{id(7)}}), -1)
	is("by filter", d.redrive(om.Redrive{Filter: om.SQL("$deadOffset IN (1, 4, 9)")}), 1, 9)
	is("dry run with gaps", d.redrive(om.Redrive{DryRun: true}), 0, 2, 3, 5, 6, 8)
	is("some", d.redrive(om.Redrive{Max: 4}), 0, 2, 3, 5)
	is("the rest", d.redrive(om.Redrive{}), 6, 8)
	is("nothing", d.redrive(om.Redrive{}))
	bodies, rs, _ := d.take(r)
	slices.Sort(bodies)
	if !slices.Equal(bodies, names) {
		t.Errorf("redriven %v", bodies)
	}
	d.ack(r, rs)
	ctx := t.Context()
	for what, want := range map[string]om.Redrive{
		"ids and filter": {IDs: []string{"a"}, Filter: om.SQL("a = 1")}, "-1": {Max: -1}, "too many": {Max: 10_001},
		"ids over the maximum": {Max: 1, IDs: []string{"a", "b"}}, "a bad filter": {Filter: om.SQL("a =")},
	} {
		if _, err := d.Redrive(ctx, "q", "g", want); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%s: %v", what, err)
		}
	}
	dlq := om.DeadLetterQueue("q", "g")
	_, err := d.NewReceiver(ctx, ReceiverConfig{Queue: dlq, Group: redriveGroup, Lease: time.Minute})
	for what, err := range map[string]error{
		"bind": err, "seek": d.SeekGroup(ctx, dlq, redriveGroup, om.Begin()), "delete": d.DeleteGroup(ctx, dlq, redriveGroup),
		"configure": d.ConfigureGroup(ctx, dlq, redriveGroup, om.GroupConfig{}),
	} {
		if !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%s of the group that counts: %v", what, err)
		}
	}
	if out, err := d.Redrive(ctx, dlq, redriveGroup, om.Redrive{}); !errors.Is(err, om.CodeBadParameter) {
		t.Errorf("dead letters of a dead-letter queue: %v %v", out, err)
	}
}

// TestRedriveIsNoPublication: a chunk that is sent again after a restart is told
// from those that were redriven.
func TestRedriveIsNoPublication(t *testing.T) {
	d := newDesk(t, om.QueueConfig{})
	q := d.queue("q")
	var b chunk.Builder
	b.Reset(7, 0, "h", om.SpecVersion, time.Now())
	for range 2 {
		m := om.NewMessage("q", []byte("x"))
		m.BornAt = time.Now()
		b.Add(m)
	}
	send := func() int64 {
		a := []Append{{Queue: d.queue("q"), Chunk: b.Finish(), Foreign: true, Idempotent: true}}
		must(t, errors.Join(d.Publish(t.Context(), a), a[0].Err))
		return a[0].Base
	}
	base := send()
	r := d.receiver("g", time.Minute)
	_, rs, _ := d.take(r)
	d.reject(r, rs)
	if out := d.redrive(om.Redrive{}); len(out) != 2 || out[1].Offset != 3 {
		t.Fatalf("%+v", out)
	}
	d.reopen()
	if again := send(); again != base {
		t.Errorf("a chunk that was stored at %d is stored again at %d", base, again)
	}
	stored, err := q.b.store.Read(d.queue("q").list()[0].log, 2)
	if err == nil {
		h, err2 := chunk.ParseHeader(stored.Data)
		a := []Append{{Queue: d.queue("q"), Chunk: stored.Data[:h.Size], Foreign: true}}
		if err := errors.Join(err2, d.Publish(t.Context(), a)); err != nil || !errors.Is(a[0].Err, om.CodeMalformedMessage) {
			t.Errorf("a chunk with the flag from outside: %v %v", err, a[0].Err)
		}
	}
}

func TestR118_expired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, Broker: testBroker(t, store.Options{Memory: true})}
		defer func() { must(t, d.Close()) }()
		must(t, d.CreateQueue(t.Context(), om.QueueConfig{Name: "q", DeadLetterExpired: true}))
		if c := d.queue("q").Config(); !c.DeadLetterExpired {
			t.Errorf("%+v", c)
		}
		r := d.receiver("g", time.Minute)
		publish := func(bodies ...string) {
			var b chunk.Builder
			b.Reset(7, uint64(d.queue("q").list()[0].next), "h", om.SpecVersion, time.Now())
			for _, body := range bodies {
				m := om.NewMessage("q", []byte(body))
				m.BornAt = time.Now()
				if body != "stays" {
					m.Ext.ExpireAt = time.Now().Add(time.Second)
				}
				b.Add(m)
			}
			a := []Append{{Queue: d.queue("q"), Chunk: b.Finish(), Foreign: true}}
			must(t, errors.Join(d.Publish(t.Context(), a), a[0].Err))
		}
		publish("early", "stays", "late")
		bodies, rs, _ := d.take(r)
		if fmt.Sprint(bodies) != "[early stays late]" {
			t.Fatal(bodies)
		}
		// One is given back and expires before it is handed out again; one that is
		// held may be acknowledged although it has expired.
		_, err := r.Nack(t.Context(), rs[:1], 2*time.Second)
		must(t, err)
		publish("unseen")
		time.Sleep(3 * time.Second)
		wait, cancel := r.quietly(t)
		defer cancel()
		if spans, err := r.Receive(wait, 10); err == nil {
			t.Fatalf("%+v", spans)
		}
		d.ack(r, rs[1:])
		synctest.Wait()
		var got []string
		for _, m := range d.dead() {
			got = append(got, fmt.Sprintf("%s %s %v", m.Body, m.Properties[om.PropertyDeadReason], m.Properties[om.PropertyDeadDeliveries]))
			if !m.Ext.ExpireAt.IsZero() {
				t.Errorf("the dead letter %s expires at %v", m.Body, m.Ext.ExpireAt)
			}
		}
		slices.Sort(got)
		if fmt.Sprint(got) != "[early expired 1 unseen expired 0]" {
			t.Errorf("dead letters %v", got)
		}
		if g := d.queue("q").Groups()[0]; g.Expired != 2 || g.Lag != 0 {
			t.Errorf("%+v", g)
		}
		if out := d.redrive(om.Redrive{}); len(out) != 2 {
			t.Fatalf("%+v", out)
		}
		bodies, _, _ = d.take(r)
		if slices.Sort(bodies); fmt.Sprint(bodies) != "[early unseen]" {
			t.Errorf("redriven %v", bodies)
		}
	})
}

// TestR118_settled_before: what was acknowledged in time and expires later is no
// dead letter, also after a restart.
func TestR118_settled_before(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, opts: store.Options{Path: t.TempDir(), Reserve: 1}}
		d.open()
		defer func() { must(t, d.Close()) }()
		must(t, d.CreateQueue(t.Context(), om.QueueConfig{Name: "q", DeadLetterExpired: true}))
		var b chunk.Builder
		b.Reset(7, 0, "h", om.SpecVersion, time.Now())
		for _, body := range []string{"a", "b", "c"} {
			m := om.NewMessage("q", []byte(body))
			m.BornAt, m.Ext.ExpireAt = time.Now(), time.Now().Add(time.Minute)
			b.Add(m)
		}
		a := []Append{{Queue: d.queue("q"), Chunk: b.Finish(), Foreign: true}}
		must(t, errors.Join(d.Publish(t.Context(), a), a[0].Err))
		r := d.receiver("g", time.Hour)
		_, rs, _ := d.take(r)
		d.ack(r, rs[1:2])
		d.reopen()
		time.Sleep(2 * time.Minute)
		r = d.receiver("g", time.Hour)
		if bodies, _, _ := d.take(r); bodies != nil {
			t.Errorf("%v came", bodies)
		}
		var got []string
		for _, m := range d.dead() {
			got = append(got, string(m.Body))
		}
		if g := d.queue("q").Groups()[0]; fmt.Sprint(got) != "[a c]" || g.Expired != 2 || g.Lag != 0 {
			t.Errorf("dead letters %v, %+v", got, g)
		}
	})
}

// TestR118_cannot_be_buried: expired messages for which there is no room wait for
// it, and nobody is kept busy.
func TestR118_cannot_be_buried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{T: t, Broker: testBroker(t, store.Options{Memory: true})}
		defer func() { must(t, d.Close()) }()
		must(t, d.CreateQueue(t.Context(), om.QueueConfig{Name: "q", DeadLetterExpired: true}))
		var b chunk.Builder
		b.Reset(7, 0, "h", om.SpecVersion, time.Now())
		m := om.NewMessage("q", []byte("late"))
		m.BornAt, m.Ext.ExpireAt = time.Now(), time.Now().Add(time.Second)
		b.Add(m)
		a := []Append{{Queue: d.queue("q"), Chunk: b.Finish(), Foreign: true}}
		must(t, errors.Join(d.Publish(t.Context(), a), a[0].Err))
		time.Sleep(2 * time.Second)
		rooms := func(are bool) { // the dead-letter queue is made in a namespace
			d.Broker.mu.Lock()
			defer d.Broker.mu.Unlock()
			d.namespaces[om.DefaultNamespace] = are
		}
		rooms(false)
		r := d.receiver("g", time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if spans, err := r.Receive(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v %v", spans, err)
		}
		rooms(true)
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if spans, err := r.Receive(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v %v", spans, err)
		}
		if g := d.queue("q").Groups()[0]; len(d.dead()) != 1 || g.Lag != 0 || g.Expired != 1 {
			t.Errorf("%v %+v", d.dead(), g)
		}
	})
}
