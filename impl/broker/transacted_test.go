package broker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// transact publishes and acknowledges as one, sometimes with a receipt that is
// not valid: then nothing happens.
func (r *modelRun) transact() {
	var as []Append
	var lines [][]*line
	for range rapid.IntRange(0, 3).Draw(r.t, "chunks") {
		a, ls := r.chunk(true)
		if slices.ContainsFunc(as, func(b Append) bool { return b.Partition == a.Partition }) {
			continue // the sequence numbers of the chunk stay unused
		}
		as, lines = append(as, a), append(lines, ls)
	}
	held, rs := r.held(rapid.SampledFrom(r.receivers).Draw(r.t, "receiver"))
	acks := []Acknowledgement{{"q", "g", rs}}
	if i, l := r.unheld(); l != nil && rapid.IntRange(0, 3).Draw(r.t, "stale") == 0 {
		stale := Receipts{Partition: i.Partition, Lease: 7, From: i.From, To: i.To}
		acks = append(acks, Acknowledgement{"q", "g", []Receipts{stale}})
		if err := r.b.PublishTransacted(context.Background(), as, acks); !errors.Is(err, om.CodeStaleReceipt) {
			r.t.Fatalf("a stale receipt: %v", err)
		}
		return
	}
	for try := range rapid.IntRange(1, 2).Draw(r.t, "tries") {
		r.ok(r.b.PublishTransacted(context.Background(), as, acks))
		for i, a := range as {
			if try == 0 {
				r.add(a, lines[i])
			} else if a.Base != r.stored[len(r.stored)-len(as)+i].Base {
				r.t.Fatalf("sent again it is stored at %d", a.Base)
			}
		}
	}
	for _, l := range held {
		l.holder, l.settled = nil, true
	}
}

// unheld returns the first message that nobody has and that is not settled.
func (r *modelRun) unheld() (where Receipts, found *line) {
	r.m.each(func(p, o int, l *line) {
		if found == nil && !l.settled && l.holder == nil {
			where, found = Receipts{Partition: int32(p), From: int64(o), To: int64(o) + 1}, l
		}
	})
	return where, found
}

// chunkOf makes a chunk of one message.
func chunkOf(q *Queue, sequence uint64, body string) Append {
	var c chunk.Builder
	c.Reset(9, sequence, "born", om.SpecVersion, time.Now())
	m := om.NewMessage("", []byte(body))
	m.BornAt = time.Now()
	c.Add(m)
	return Append{Queue: q, Chunk: c.Finish(), Idempotent: true}
}

// TestTransactedIsOne: several queues get their messages and the deliveries are
// settled in one commit, or nothing happens and the deliveries stay.
func TestTransactedIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		ctx := t.Context()
		queues := make(map[string]*Queue)
		for _, name := range []string{"q", "a", "b"} {
			if err := b.CreateQueue(ctx, om.QueueConfig{Name: name}); err != nil {
				t.Fatal(err)
			}
			queues[name], _ = b.Queue("test", name)
		}
		publishBodies(t, b, "", "one", "two")
		r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		spans, err := r.Receive(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		lease := spans[0].Lease
		acks := []Acknowledgement{{"q", "g", []Receipts{{0, lease, 0, 1}}}}
		ends := func(want ...int64) {
			t.Helper()
			got := []int64{queues["a"].PartitionInfos()[0].End, queues["b"].PartitionInfos()[0].End, queues["q"].Groups()[0].InFlight, queues["q"].Groups()[0].Lag}
			if !slices.Equal(got, want) {
				t.Fatalf("ends of a and b, in flight, lag: %v, want %v", got, want)
			}
		}
		as := []Append{chunkOf(queues["a"], 1, "x"), chunkOf(queues["b"], 2, "y")}

		refuse := func(code om.Code, as []Append, acks []Acknowledgement) {
			t.Helper()
			if err := b.PublishTransacted(ctx, as, acks); !errors.Is(err, code) {
				t.Fatalf("%v instead of %v", err, code)
			}
			ends(0, 0, 2, 2)
		}
		refuse(om.CodeStaleReceipt, as, append(acks, Acknowledgement{"q", "g", []Receipts{{0, lease + 1, 1, 2}}}))
		refuse(om.CodeBadParameter, as, append(acks, Acknowledgement{"q", "g", []Receipts{{0, lease, 1, 1}}}))
		refuse(om.CodeBadParameter, as, append(acks, Acknowledgement{"q", "g", []Receipts{{1, lease, 0, 1}}}))
		refuse(om.CodeDestinationNotFound, as, append(acks, Acknowledgement{"none", "g", nil}))
		refuse(om.CodeBadParameter, as, append(acks, Acknowledgement{"q", "g", make([]Receipts, MaxTransactedReceipts)}))
		refuse(om.CodeBadParameter, slices.Repeat(as, MaxTransactedChunks), acks)
		wrong := as[0]
		wrong.Partition = 1
		refuse(om.CodeBadParameter, []Append{as[1], wrong}, acks)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := b.PublishTransacted(gone, as, acks); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		ends(0, 0, 2, 2)

		for range 2 { // the answer was lost
			if err := b.PublishTransacted(ctx, as, acks); err != nil {
				t.Fatal(err)
			}
			ends(1, 1, 1, 1)
		}
		if as[0].Base != 0 || as[1].Base != 0 {
			t.Fatalf("bases %d and %d", as[0].Base, as[1].Base)
		}
		if _, err := r.Ack(ctx, []Receipts{{0, lease, 0, 2}}); err != nil {
			t.Fatal(err)
		}
		ends(1, 1, 0, 0)
	})
}

// TestTransactedAfterLeaseEnd: what was given back meanwhile is delivered again,
// also when it was refused just then.
func TestTransactedAfterLeaseEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := testBroker(t, store.Options{Memory: true})
		defer b.Close()
		ctx := t.Context()
		if err := b.CreateQueue(ctx, om.QueueConfig{Name: "q"}); err != nil {
			t.Fatal(err)
		}
		q, _ := b.Queue("test", "q")
		publishBodies(t, b, "", "one")
		r, err := b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		spans, err := r.Receive(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		as := []Append{chunkOf(q, 1, "x")}
		err = b.PublishTransacted(ctx, as, []Acknowledgement{{"q", "g", []Receipts{{0, spans[0].Lease, 0, 1}}}})
		if !errors.Is(err, om.CodeStaleReceipt) || q.PartitionInfos()[0].End != 1 {
			t.Fatalf("%v, the queue ends at %d", err, q.PartitionInfos()[0].End)
		}
		spans, err = r.Receive(ctx, 1)
		if err != nil || spans[0].Delivery != 2 {
			t.Fatalf("%+v, %v", spans, err)
		}
		c := &transacted{}
		if err := c.take(b, []Acknowledgement{{"q", "g", []Receipts{{0, spans[0].Lease, 0, 1}}}}); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(ctx); err != nil {
			t.Fatal(err)
		}
		c.giveBack()
		r, err = b.NewReceiver(ctx, ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if spans, err = r.Receive(ctx, 1); err != nil || spans[0].Delivery != 3 {
			t.Fatalf("%+v, %v", spans, err)
		}
	})
}
