package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// oldest returns the age of the oldest message of a group.
func (d *desk) oldest(group string) time.Duration {
	d.Helper()
	all, err := d.Stats("", []string{"q"})
	must(d.T, err)
	for _, g := range all[0].Groups {
		if g.Group == group {
			return g.OldestAge
		}
	}
	d.Fatalf("there is no group %s", group)
	return 0
}

// TestOldestAge: the age is that of the message at the cursor, in the middle of a
// chunk and of what lies long behind the last records, read once for each record.
func TestOldestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, om.QueueConfig{})
		r := d.receiver("g", time.Hour)
		const records = 3 * newestRecords
		for range records {
			publishBodies(t, d.Broker, "", "a", "b")
			time.Sleep(time.Second)
		}
		spans, err := r.Receive(t.Context(), 2*records)
		must(t, err)
		lease := spans[0].Lease
		for at := range int64(2 * records) {
			want := time.Duration(records-at/2) * time.Second
			for range 2 {
				if got := d.oldest("g"); got < want || got > want+500*time.Millisecond {
					t.Fatalf("with the cursor at %d the oldest message is %v old, want %v", at, got, want)
				}
			}
			d.ack(r, []Receipts{{0, lease, at, at + 1}})
		}
		if got := d.oldest("g"); got != 0 {
			t.Errorf("without a lag the age is %v", got)
		}
	})
}

// TestOldestAgeIsReadOnce: who asks again does not read again.
func TestOldestAgeIsReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, om.QueueConfig{})
		d.receiver("g", time.Hour)
		for range 2 * newestRecords {
			publishBodies(t, d.Broker, "", "a", "b")
		}
		q := d.queue("q")
		for want := 1; want >= 0; want-- {
			_, lookups, err := q.look()
			must(t, err)
			if len(lookups) != want {
				t.Errorf("%d records are to be read, want %d", len(lookups), want)
			}
			d.oldest("g")
		}
	})
}

// TestStatisticsAfterRetention: what retention has dropped is neither lag nor the
// oldest.
func TestStatisticsAfterRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true, RetainAge: time.Hour})
		defer b.Close()
		must(t, b.CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
		_, err := b.NewReceiver(t.Context(), ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
		must(t, err)
		for range 300 {
			publishBodies(t, b, "", "a")
			time.Sleep(time.Minute)
		}
		all, err := b.Stats("", []string{"q"})
		must(t, err)
		s, g := all[0], all[0].Groups[0]
		if g.Lost == 0 || s.Depth != g.Lag || s.Depth+g.Lost != 300 {
			t.Errorf("depth %d, lag %d, lost %d", s.Depth, g.Lag, g.Lost)
		}
		if want := time.Duration(s.Depth) * time.Minute; g.OldestAge < want-time.Second || g.OldestAge > want+time.Second {
			t.Errorf("%d messages, one a minute, and the oldest is %v old", s.Depth, g.OldestAge)
		}
	})
}

// TestMeter: the rate is of the last ten full seconds, whatever lies between.
func TestMeter(t *testing.T) {
	var m meter
	at := int64(1_000_000_000_500)
	m.add(at, 7)
	m.add(at+900, 3)
	for after, want := range map[int64]float64{900: .7, 1600: 1, 10_499: 1, 10_500: .3, 11_600: 0, 3_600_000: 0} {
		n := m
		if got := n.counter(at + after); got.Rate != want || got.Total != 10 {
			t.Errorf("%d ms later: %+v, want the rate %v", after, got, want)
		}
	}
	m.add(at-5000, 1) // a clock that lags counts in the newest second
	if got := m.counter(at + 1600); got.Rate != 1.1 {
		t.Errorf("got %+v", got)
	}
}

// TestFindingRefuses: what cannot be is refused, what is not there not found.
func TestFindingRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, om.QueueConfig{Partitions: 2})
		for what, q := range map[string]om.MessageQuery{
			"text": {After: "x"}, "partitions": {After: "3/0/0"}, "a partition": {After: "2/2/0"}, "negative": {After: "2/-1/0"}, "zeros": {After: "02/0/0"}, "more": {After: "2/0/0/0"},
			"a slot": {Delayed: true, After: "1/0/0"}, "a slot's offset": {Delayed: true, After: "0/0/-1/0"},
			"both": {Delayed: true, DeadFor: "g"}, "too many": {Max: 1001}, "times": {From: time.Unix(2, 0), To: time.Unix(2, 0)},
		} {
			if _, _, err := d.FindMessages(t.Context(), "q", q); !errors.Is(err, om.CodeBadParameter) {
				t.Errorf("%s: got %v", what, err)
			}
		}
		d.receiver("g", time.Minute)
		for _, q := range []om.MessageQuery{{ID: "\xff"}, {ID: "0000000000000001-0"}, {After: "2/1/99999"}, {Delayed: true, After: "9223372036854775807/-5/7/7"}, {DeadFor: "g"}} {
			if found, next, err := d.FindMessages(t.Context(), "q", q); err != nil || len(found) > 0 || next != "" {
				t.Errorf("%+v: got %d messages, %q, %v", q, len(found), next, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		publishBodies(t, d.Broker, "", "a")
		cancel()
		if _, _, err := d.FindMessages(ctx, "q", om.MessageQuery{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// FuzzFindAfter: whatever somebody sends back as After is refused or gone on from.
func FuzzFindAfter(f *testing.F) {
	for _, s := range []string{"", "2/1/0", "1/0/-1", "2/0/9223372036854775807", "3600000/2/0/0", "0/0/0/9999999999"} {
		f.Add(s)
	}
	b := testBroker(f, store.Options{Memory: true})
	f.Cleanup(func() { _ = b.Close() })
	if err := b.CreateQueue(context.Background(), om.QueueConfig{Name: "q", Partitions: 2}); err != nil {
		f.Fatal(err)
	}
	q, err := b.Queue("send", "q")
	if err != nil {
		f.Fatal(err)
	}
	as := []Append{chunkOf(q, 0, "a"), chunkOf(q, 1, "b")}
	if err := b.Publish(context.Background(), as); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, after string) {
		for _, delayed := range []bool{false, true} {
			_, _, err := b.FindMessages(context.Background(), "q", om.MessageQuery{Delayed: delayed, After: after})
			if err != nil && !errors.Is(err, om.CodeBadParameter) {
				t.Errorf("%q: %v", after, err)
			}
		}
	})
}

// TestFindingIsBounded: one call reads so many bytes and no more, and the next
// goes on behind them.
func TestFindingIsBounded(t *testing.T) {
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	must(t, b.CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
	const records = 6
	for range records {
		sendBytes(t, b, 4<<20)
	}
	calls, found := 0, 0
	for q := (om.MessageQuery{}); ; calls++ {
		spans, next, err := b.FindMessages(t.Context(), "q", q)
		must(t, err)
		if found += len(spans); next == "" {
			break
		}
		q.After = next
	}
	if found != records || calls < 2 {
		t.Errorf("%d messages in %d calls", found, calls+1)
	}
}

// BenchmarkStats asks for the statistics of 10,000 queues with a group each, at
// several depths: what the groups lag behind.
func BenchmarkStats(b *testing.B) {
	const queues = MaxQueues
	for _, depth := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			br := manyQueues(b, queues, depth)
			defer br.Close()
			began := time.Now()
			if _, err := br.Stats("default", nil); err != nil { // what is to be read is read once
				b.Fatal(err)
			}
			first := time.Since(began)
			for b.Loop() {
				all, err := br.Stats("default", nil)
				if err != nil || len(all) != queues || all[queues-1].Groups[0].Lag != int64(depth) {
					b.Fatal(len(all), err)
				}
			}
			b.ReportMetric(float64(first.Nanoseconds()), "ns/first")
		})
	}
}

// manyQueues is a broker on disk whose queues have a group and so many records.
func manyQueues(b testing.TB, queues, depth int) *Broker {
	br := testBroker(b, store.Options{Path: b.TempDir(), Reserve: 1})
	ctx := context.Background()
	var made []*pending
	for i := range queues {
		made = append(made, br.commits.submit(&createQueue{Namespace: "default", Name: fmt.Sprintf("q%05d", i), Partitions: 1}))
	}
	if err := await(ctx, made); err != nil {
		b.Fatal(err)
	}
	all, err := br.Queues("default")
	if err != nil {
		b.Fatal(err)
	}
	made = nil
	for _, q := range all {
		made = append(made, br.commits.submit(&createGroup{queue: q, name: "g", cursors: []int64{0}}))
	}
	if err := await(ctx, made); err != nil {
		b.Fatal(err)
	}
	for n := range depth {
		as := make([]Append, len(all))
		for i, q := range all {
			as[i] = chunkOf(q, uint64(n*queues+i), "a body")
			as[i].Partition, as[i].Idempotent = 0, false
		}
		if err := br.Publish(ctx, as); err != nil {
			b.Fatal(err)
		}
	}
	return br
}
