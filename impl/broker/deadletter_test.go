package broker

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// dead reads all dead letters of group g of queue q.
func deadLetters(t *testing.T, b *Broker) (ms []om.Message) {
	t.Helper()
	q, err := b.Queue("test", om.DeadLetterQueue("q", "g"))
	if errors.Is(err, om.CodeDestinationNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	spans, err := q.Read(t.Context(), 0, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range spans {
		part := make([]om.Message, s.Count)
		if _, err := chunk.Decode(s.Chunk, s.Header, s.Skip, part); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, part...)
	}
	return ms
}

func publishBodies(t *testing.T, b *Broker, key string, bodies ...string) {
	t.Helper()
	q, err := b.Queue("send", "q")
	if err != nil {
		t.Fatal(err)
	}
	var c chunk.Builder
	c.Reset(7, uint64(q.list()[0].next), "born", om.SpecVersion, time.Now())
	for _, body := range bodies {
		m := om.NewMessage("q", []byte(body))
		m.BornAt, m.Ext.MessageKey = time.Now(), key
		m.Properties["p"] = om.Short(1)
		c.Add(m)
	}
	a := []Append{{Queue: q, Chunk: c.Finish()}}
	if err := errors.Join(b.Publish(t.Context(), a), a[0].Err); err != nil {
		t.Fatal(err)
	}
}

func TestG26_max_deliveries(t *testing.T) {
	for _, end := range []string{"nack", "lease", "close"} {
		synctest.Test(t, func(t *testing.T) {
			b := testBroker(t, store.Options{Memory: true})
			defer b.Close()
			must(t, b.CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
			publishBodies(t, b, "key", "poison", "good")
			receiver := func() *Receiver {
				r, err := b.NewReceiver(t.Context(), ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
				must(t, err)
				return r
			}
			r := receiver()
			for i := range om.DefaultMaxDeliveries {
				spans, err := r.Receive(t.Context(), 10)
				if err != nil || len(spans) != 1 || spans[0].Base != 0 || spans[0].Delivery != i+1 || len(deadLetters(t, b)) != 0 {
					t.Fatalf("%s: delivery %d: %+v %v", end, i+1, spans, err)
				}
				switch end {
				case "nack":
					_, err = r.Nack(t.Context(), []Receipts{{Lease: spans[0].Lease, From: 0, To: 1}}, 0)
				case "lease":
					time.Sleep(time.Minute)
				case "close":
					err = r.Close(t.Context())
					r = receiver()
				}
				must(t, err)
			}
			spans, err := r.Receive(t.Context(), 10) // the key is free
			if err != nil || len(spans) != 1 || spans[0].Base != 1 {
				t.Fatalf("%s: %+v %v", end, spans, err)
			}
			synctest.Wait()
			got := deadLetters(t, b)
			if len(got) != 1 || string(got[0].Body) != "poison" || got[0].Ext.MessageKey != "key" || got[0].MessageID == "" {
				t.Fatalf("%s: dead letters %+v", end, got)
			}
			p := got[0].Properties
			want := fmt.Sprintf("delivered %d times and not acknowledged", om.DefaultMaxDeliveries)
			if p.GetString(om.PropertyDeadReason, "") != want || p.GetInt64(om.PropertyDeadDeliveries, 0) != om.DefaultMaxDeliveries || p.GetString(om.PropertyDeadQueue, "") != "default://q" ||
				p.GetString(om.PropertyDeadGroup, "") != "g" || p.GetInt64(om.PropertyDeadOffset, -1) != 0 || p.GetInt64(om.PropertyDeadPartition, -1) != 0 || p.GetInt64("p", 0) != 1 {
				t.Errorf("%s: %v", end, p)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestG26_reject(t *testing.T) {
	ctx := t.Context()
	b := testBroker(t, store.Options{Memory: true})
	defer b.Close()
	must(t, b.CreateQueue(ctx, om.QueueConfig{Name: "q"}))
	publishBodies(t, b, "", "a", "b", "c")
	r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	must(t, err)
	spans, err := r.Receive(ctx, 10)
	must(t, err)
	rs := []Receipts{{Lease: spans[0].Lease, From: 0, To: 1}, {Lease: spans[0].Lease, From: 2, To: 3}, {Lease: 99, From: 1, To: 2}}
	errs, err := r.Reject(ctx, rs, "no use")
	if err != nil || len(errs) != 3 || errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], om.CodeStaleReceipt) {
		t.Fatal(errs, err)
	}
	if errs, err := r.Reject(ctx, rs[:2], "no use"); errs != nil || err != nil { // again is no error
		t.Error(errs, err)
	}
	got := deadLetters(t, b)
	if len(got) != 2 || string(got[0].Body)+string(got[1].Body) != "ac" || got[1].Properties.GetString(om.PropertyDeadReason, "") != "no use" || got[0].Properties.GetInt64(om.PropertyDeadDeliveries, 0) != 1 {
		t.Errorf("%+v", got)
	}
	q, _ := b.Queue("test", "q")
	if g := q.Groups()[0]; g.Lag != 1 || g.InFlight != 1 {
		t.Errorf("%+v", g)
	}
	dlq, err := b.NewReceiver(ctx, ReceiverConfig{Queue: om.DeadLetterQueue("q", "g"), Group: "ops", Lease: time.Minute})
	must(t, err)
	spans, err = dlq.Receive(ctx, 10)
	must(t, err)
	if _, err := dlq.Reject(ctx, []Receipts{{Lease: spans[0].Lease, From: 0, To: 1}}, ""); !errors.Is(err, om.CodeUnsupported) {
		t.Error(err)
	}
	for _, name := range []string{om.DeadLetterQueue("q", "g"), "a//b", om.DeadLetterQueue("q", "")} {
		if err := b.CreateQueue(ctx, om.QueueConfig{Name: name}); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeadAfterARestart: what was delivered for the last time before a crash is
// not delivered again.
func TestDeadAfterARestart(t *testing.T) {
	q := &Queue{record: queueRecord{Name: "q"}}
	p := &progress{group: &group{queue: q, config: groupRecord{}.config()}, counts: ranges{{0, 2, 3}, {2, 4, om.DefaultMaxDeliveries}}}
	dead := p.offer(6, sifted{keys: []keyed{{1, 7}, {2, 7}, {5, 7}}})
	if fmt.Sprint(dead) != "[{2 4 1}]" || fmt.Sprint(p.ready) != "[{0 2 1} {4 5 1}]" || p.next != 6 {
		t.Errorf("dead %v, ready %v, next %d", dead, p.ready, p.next)
	}
}
