package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const onceWindow = 10*time.Second + 500*time.Millisecond

// onceRun compares a queue that deduplicates with a map of ids.
type onceRun struct {
	*delayRun
	first  map[string]onceFirst
	bodies [2][]string // what lies in the partitions
	sent   []onceSent
}

type onceFirst struct {
	Known
	at time.Time
}

type onceSent struct {
	append Append
	ids    []string
	places []Known // where each message is
	at     time.Time
}

// TestOnceAgreesWithModel publishes messages with ids, also repeated and in
// several partitions, sends chunks again, lets time pass and restarts: within
// the window each id is stored once and answers tell where.
func TestOnceAgreesWithModel(t *testing.T) {
	histories(t, store.Options{}, lengths{10, 300}, lengths{10, 300}, runOnce)
}

func runOnce(in *delayRun) {
	r := &onceRun{delayRun: in, first: make(map[string]onceFirst)}
	r.open()
	for len(r.choices) > 0 {
		r.step()
	}
	for p, want := range r.bodies {
		r.compare(int32(p), want)
	}
}

func (r *onceRun) open() {
	b, err := Open(r.cfg)
	r.ok(err)
	r.b = b
	d := om.Deduplication{By: om.DeduplicateByKey, Window: onceWindow}
	if err := b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: 2, Deduplication: d}); !errors.Is(err, om.CodeDestinationExists) {
		r.ok(err)
	}
	r.q, err = b.Queue("test", "q")
	r.ok(err)
	if r.q.Config().Deduplication != d {
		r.failf("the configuration is %+v", r.q.Config())
	}
}

func (r *onceRun) step() {
	switch op := r.pick(10); {
	case op < 5:
		r.publish(op == 0)
	case op < 7:
		r.again()
	case op < 9:
		r.pass(time.Duration(1+r.pick(7)) * time.Second)
	case !r.cfg.Store.Memory:
		r.ok(r.b.Close())
		r.open()
	}
}

// publish sends a chunk, transacted or not. Some of its messages have no id.
func (r *onceRun) publish(transacted bool) {
	p := int32(r.pick(2))
	var c chunk.Builder
	c.Reset(1, r.sequence, "h", om.SpecVersion, time.Now())
	s := onceSent{at: time.Now()}
	for range 1 + r.pick(6) {
		m := om.NewMessage("", fmt.Append(nil, r.sequence+uint64(len(s.ids))))
		m.BornAt = time.Now()
		if id := r.pick(8); id > 0 {
			m.Ext.MessageKey = fmt.Sprint(id)
		}
		c.Add(m)
		s.ids = append(s.ids, m.Ext.MessageKey)
	}
	base := r.sequence
	r.sequence += uint64(len(s.ids))
	s.append = Append{Queue: r.q, Partition: p, Chunk: bytes.Clone(c.Finish()), Foreign: true, Idempotent: true}
	a := r.send(s.append, transacted)

	now := time.Now()
	var want []Known
	begin := int64(len(r.bodies[p]))
	for i, id := range s.ids {
		place := Known{Number: i, Producer: 1, Sequence: base + uint64(i), Partition: p, Offset: int64(len(r.bodies[p]))}
		if f, ok := r.first[id]; ok && id != "" && now.Sub(f.at) < onceWindow {
			place = f.Known
			place.Number = i
			want = append(want, place)
		} else {
			r.bodies[p] = append(r.bodies[p], fmt.Sprint(place.Sequence))
			if id != "" {
				r.first[id] = onceFirst{place, now}
			}
		}
		s.places = append(s.places, place)
	}
	if int(len(r.bodies[p])) == int(begin) {
		begin = -1
	}
	if a.Base != begin || !slices.Equal(a.Known, want) {
		r.failf("published %v: base %d, known %+v; want %d, %+v", s.ids, a.Base, a.Known, begin, want)
	}
	r.sent = append(r.sent, s)
}

func (r *onceRun) send(a Append, transacted bool) Append {
	a.Queue = r.q
	as := []Append{a}
	if transacted {
		r.ok(r.b.PublishTransacted(context.Background(), as, nil))
	} else {
		r.ok(r.b.Publish(context.Background(), as))
		r.ok(as[0].Err)
	}
	return as[0]
}

// again sends the last chunk again: the answer is the same.
func (r *onceRun) again() {
	if len(r.sent) == 0 {
		return
	}
	s := r.sent[len(r.sent)-1]
	if time.Since(s.at) > onceWindow/2 || slices.Contains(s.ids, "") && len(r.sent) > 0 {
		return // its ids may be forgotten; those without are known for a while only
	}
	a := r.send(s.append, r.pick(2) == 0)
	if a.Base != -1 || len(a.Known) != len(s.places) {
		r.failf("sent again: base %d, known %+v", a.Base, a.Known)
	}
	for i, k := range a.Known {
		want := s.places[i]
		want.Resent = want.Producer == 1 && want.Sequence == s.places[0].Sequence+uint64(i)
		k.Resent, want.Resent = false, false
		if k != want {
			r.failf("sent again: message %d is at %+v, want %+v", i, k, want)
		}
	}
}

func (r *onceRun) compare(p int32, want []string) {
	var got []string
	spans, err := r.q.Read(context.Background(), p, 0, 10_000)
	if len(want) > 0 {
		r.ok(err)
	}
	for _, s := range spans {
		ms := make([]om.Message, s.Count)
		_, err := chunk.Decode(s.Chunk, s.Header, s.Skip, ms)
		r.ok(err)
		for _, m := range ms {
			got = append(got, string(m.Body))
		}
	}
	if !slices.Equal(got, want) {
		r.failf("partition %d holds %v, want %v", p, got, want)
	}
}

// TestOnceMixedSentAgain: a chunk some of whose messages have no id is known
// again by its number, and the answer tells where each message is.
func TestOnceMixedSentAgain(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	d := om.Deduplication{By: om.DeduplicateByKey, Window: time.Minute}
	if err := b.CreateQueue(t.Context(), om.QueueConfig{Name: "q", Deduplication: d}); err != nil {
		t.Fatal(err)
	}
	q, _ := b.Queue("test", "q")
	send := func(producer, sequence uint64, delay time.Duration, keys ...string) Append {
		t.Helper()
		var c chunk.Builder
		c.Reset(producer, sequence, "h", om.SpecVersion, time.Now())
		for _, key := range keys {
			m := om.NewMessage("", []byte(key))
			m.BornAt, m.Ext.MessageKey, m.Ext.Delay = time.Now(), key, delay
			c.Add(m)
		}
		as := []Append{{Queue: q, Chunk: c.Finish(), Foreign: true, Idempotent: true}}
		if err := errors.Join(b.Publish(t.Context(), as), as[0].Err); err != nil {
			t.Fatal(err)
		}
		return as[0]
	}
	send(1, 0, 0, "a")
	for range 2 {
		if got := send(2, 0, 0, "", "a", "b", ""); got.Base == 1 {
			if !slices.Equal(got.Known, []Known{{Number: 1, Producer: 1}}) {
				t.Errorf("%+v", got.Known)
			}
		} else if want := []Known{{0, true, 2, 0, 0, 1}, {1, false, 1, 0, 0, 0}, {2, true, 2, 2, 0, 2}, {3, true, 2, 3, 0, 3}}; !slices.Equal(got.Known, want) {
			t.Errorf("sent again: %+v, want %+v", got.Known, want)
		}
	}
	if got := send(3, 0, time.Hour, "b", "c"); got.Base != -1 || !slices.Equal(got.Known, []Known{{0, false, 2, 2, 0, 2}}) {
		t.Errorf("delayed: %+v", got)
	}
	if got := send(4, 0, 0, "c"); !slices.Equal(got.Known, []Known{{0, false, 3, 1, 0, -1}}) {
		t.Errorf("behind a delayed one: %+v", got)
	}
	if got := q.PartitionInfos()[0]; got.End != 4 || q.delayed != 1 {
		t.Errorf("%+v, %d delayed", got, q.delayed)
	}
}

func TestDeduplicationSettings(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	for _, d := range []om.Deduplication{{By: "x"}, {Window: -1}, {Window: MinDeduplication - 1}, {Window: MaxDeduplication + 1}, {By: string(make([]byte, MaxNameLength+1)), Window: time.Minute}} {
		if err := b.CreateQueue(t.Context(), om.QueueConfig{Name: "q", Deduplication: d}); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// TestOnceForgetsTheOldest: more ids than are remembered push out the oldest.
func TestOnceForgetsTheOldest(t *testing.T) {
	o := newOnce(deduplicationRecord{Window: 1000})
	id := func(n int) (d digest) { copy(d[:], fmt.Sprint(n)); return d }
	for i := range 3 {
		o.turn(int64(i) * 600)
		o.begin(idRun{stored: int64(i) * 600})
		o.add(id(i), 0)
	}
	for i, want := range []bool{false, true, true} {
		if _, _, found := o.find(id(i), 1200); found != want {
			t.Errorf("id %d: %v", i, found)
		}
	}
	o.turn(5000)
	o.turn(9000)
	if o.older.places.count != 1 || o.newer.places.count != 0 {
		t.Errorf("%d and %d ids are left", o.older.places.count, o.newer.places.count)
	}
}

// TestIDTable: it is a map.
func TestIDTable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table, model := new(idTable), map[digest]idPlace{}
		for range rapid.IntRange(0, 300).Draw(rt, "operations") {
			id := digest{rapid.Byte().Draw(rt, "part") % 3, 7}
			id[8] = rapid.Byte().Draw(rt, "place") % 16 // many collide
			id[9] = rapid.Byte().Draw(rt, "other") % 8
			if got, ok := table.get(id); ok != (model[id] != idPlace{}) || got != model[id] {
				rt.Fatalf("%x is %v, want %v", id, got, model[id])
			}
			place := idPlace{1, rapid.Uint32().Draw(rt, "number")}
			table.put(id, place)
			model[id] = place
		}
		if table.count != len(model) {
			rt.Fatalf("%d ids, want %d", table.count, len(model))
		}
	})
}

func FuzzParseIDs(f *testing.F) {
	f.Add((&idRun{1, 2, 3, 4, 0}).encode([]digest{{1}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ids, rest, err := parseIDs(b)
		if err != nil {
			return
		}
		list := make([]digest, 0, len(ids)/16)
		for i := 0; i < len(ids); i += 16 {
			list = append(list, digest(ids[i:i+16]))
		}
		if again := append(r.encode(list), rest...); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// BenchmarkDeduplication publishes batches of 1,024 messages of 128 bytes with
// keys that are new, into a queue that deduplicates and knows -deduplicated ids,
// and into one that does not.
func BenchmarkDeduplication(b *testing.B) {
	for _, known := range []int{-1, 0, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("known=%d", known), func(b *testing.B) { benchmarkOnce(b, known) })
	}
}

func benchmarkOnce(b *testing.B, known int) {
	broker := testBroker(b, store.Options{Path: b.TempDir(), Reserve: 1})
	defer broker.Close()
	var d om.Deduplication
	if known >= 0 {
		d = om.Deduplication{By: om.DeduplicateByKey, Window: time.Hour}
	}
	ctx := context.Background()
	if err := broker.CreateQueue(ctx, om.QueueConfig{Name: "q", Deduplication: d}); err != nil {
		b.Fatal(err)
	}
	q, _ := broker.Queue("test", "q")
	const batch, chunks = 1024, 8
	body := make([]byte, 128)
	var sequence uint64
	publish := func() {
		as := make([]Append, chunks)
		for i := range as {
			var c chunk.Builder
			c.Reset(1, sequence, "h", om.SpecVersion, time.Now())
			m := om.NewMessage("", body)
			m.BornAt = time.Now()
			for range batch {
				m.Ext.MessageKey = fmt.Sprintf("%016x", sequence)
				c.Add(m)
				sequence++
			}
			as[i] = Append{Queue: q, Chunk: c.Finish()}
		}
		if err := broker.Publish(ctx, as); err != nil {
			b.Fatal(err)
		}
	}
	if known >= 0 {
		publish() // has the queue recall its ids
	}
	if known > 0 {
		n := 0
		o := q.once
		o.turn(time.Now().UnixMilli())
		o.begin(idRun{stored: time.Now().UnixMilli()})
		for ; n < known; n++ {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("known"), uint64(n)))
			o.add(digest(sum[:16]), n)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		publish()
	}
	b.ReportMetric(float64(b.N)*batch*chunks/b.Elapsed().Seconds(), "messages/s")
	if known >= 0 {
		size := 0
		for _, p := range q.once.newer.places.parts {
			size += cap(p.slots) * 24
		}
		b.ReportMetric(float64(size)/1e6, "table-MB")
	}
}
