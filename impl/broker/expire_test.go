package broker

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// expiring is a broker in a bubble with a queue "x" that expires.
type expiring struct {
	*script
	options store.Options
}

func (e *expiring) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// there checks whether a queue is there.
func (e *expiring) there(name string, want bool) {
	e.t.Helper()
	synctest.Wait()
	if _, err := e.b.Queue("describe queue", name); want != (err == nil) || err != nil && !errors.Is(err, om.CodeDestinationNotFound) {
		e.t.Fatalf("%s is there: got %v (%v), want %v", name, err == nil, err, want)
	}
}

func (e *expiring) send(queue string) error {
	q, err := e.b.Queue("send", queue)
	if err != nil {
		return err
	}
	e.sequence++
	a := []Append{{Queue: q, Partition: AnyPartition, Chunk: numberedChunk(1, e.sequence, 1)}}
	if err := e.b.Publish(e.ctx, a); err != nil {
		return err
	}
	return a[0].Err
}

func (e *expiring) receiver(queue string) *Receiver {
	e.t.Helper()
	r, err := e.b.NewReceiver(e.ctx, ReceiverConfig{Queue: queue, Group: "g", Lease: time.Minute})
	e.ok(err)
	return r
}

// reopen closes the broker for a while.
func (e *expiring) reopen(pause time.Duration) {
	e.t.Helper()
	e.ok(e.b.Close())
	time.Sleep(pause)
	e.b = testBroker(e.t, e.options)
}

const life = 8 * time.Hour

func withExpiring(t *testing.T, test func(e *expiring)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := &expiring{options: store.Options{Path: dir, Reserve: 1}}
		e.script = newScript(t)
		e.ok(e.b.Close())
		e.b = testBroker(t, e.options)
		defer e.close()
		e.ok(e.b.CreateQueue(e.ctx, om.QueueConfig{Name: "x", Expires: life}))
		test(e)
	})
}

// TestQueueExpires: it goes after its time and before half as long again, with
// the messages and groups that are in it (R150).
func TestQueueExpires(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		e.ok(e.send("x"))
		e.ok(e.receiver("x").Close(e.ctx))
		time.Sleep(life)
		e.there("x", true)
		time.Sleep(life/2 + maxLook)
		e.there("x", false)
		if err := e.send("x"); !errors.Is(err, om.CodeDestinationNotFound) {
			t.Error(err)
		}
		e.reopen(0)
		e.there("x", false)
	})
}

// TestUseKeepsQueue: what is sent, and receivers that are open, keep a queue for
// its whole time after the last use, however it is spread.
func TestUseKeepsQueue(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		for range 20 {
			time.Sleep(life / 3)
			e.ok(e.send("x"))
		}
		time.Sleep(life)
		r := e.receiver("x")
		time.Sleep(10 * life)
		e.there("x", true)
		e.ok(r.Close(e.ctx))
		time.Sleep(life)
		e.there("x", true)
		time.Sleep(life/2 + maxLook)
		e.there("x", false)
	})
}

// TestLookingIsNoUse: who reads without a group does not keep the queue.
func TestLookingIsNoUse(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		e.ok(e.send("x"))
		for range 12 {
			time.Sleep(life / 10)
			q, err := e.b.Queue("read", "x")
			e.ok(err)
			q.PartitionInfos()
			q.Groups()
		}
		time.Sleep(3*life/10 + maxLook)
		e.there("x", false)
	})
}

// TestExpiryOverRestarts: time in which the broker is closed counts, the last use
// is durable to a quarter, and users have time to come back.
func TestExpiryOverRestarts(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		for range 6 { // restarts do not begin the time anew
			time.Sleep(life / 8)
			e.reopen(life / 8)
		}
		e.there("x", false)

		e.ok(e.b.CreateQueue(e.ctx, om.QueueConfig{Name: "x", Expires: life}))
		e.ok(e.send("x"))
		e.reopen(5 * life)
		time.Sleep(maxReturn - time.Second)
		e.there("x", true)
		r := e.receiver("x") // it comes back in time
		time.Sleep(life)
		e.there("x", true)
		time.Sleep(life / 2)
		e.reopen(life / 2) // in use until then
		e.there("x", true)
		_ = r
		time.Sleep(life/2 - life/8)
		e.there("x", true)
		time.Sleep(life/2 + life/8 + maxLook)
		e.there("x", false)
		e.reopen(0)
		e.there("x", false)
	})
}

// TestExpiryTakesRoutes: a route that points at the queue, or begins there, goes
// with it; what a route copies is use. The dead-letter queue of one that expires
// expires by its own use.
func TestExpiryTakesRoutes(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		for _, name := range []string{"in", "out"} {
			e.ok(e.b.CreateQueue(e.ctx, om.QueueConfig{Name: name}))
		}
		e.ok(e.b.CreateRoute(e.ctx, om.RouteConfig{Name: "to", Source: "in", Target: "x"}))
		e.ok(e.b.CreateRoute(e.ctx, om.RouteConfig{Name: "from", Source: "x", Target: "out"}))
		for range 6 {
			time.Sleep(life / 2)
			e.ok(e.send("in"))
		}
		e.there("x", true)
		r := e.receiver("x")
		spans, err := r.Receive(e.ctx, 1)
		e.ok(err)
		s := spans[0]
		_, err = r.Reject(e.ctx, []Receipts{{s.Partition, s.Lease, s.Base, s.Base + 1}}, "bad")
		e.ok(err)
		e.ok(r.Close(e.ctx))
		dlq := om.DeadLetterQueue("x", "g")
		e.there(dlq, true)
		time.Sleep(life)
		e.there(dlq, true)
		time.Sleep(life/2 + maxLook)
		e.there("x", false)
		e.there(dlq, false)
		if routes := e.b.Routes(); len(routes) != 0 {
			t.Errorf("%v", routes)
		}
		e.ok(e.send("in"))
	})
}

// TestExpireRefuses: what cannot be, and reply queues that could be misused.
func TestExpireRefuses(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		token := strings.Repeat("A", om.ReplyTokenLength)
		reply := om.ReplyQueuePrefix + token
		for name, c := range map[string]om.QueueConfig{
			"negative": {Name: "y", Expires: -time.Hour}, "too soon": {Name: "y", Expires: time.Second - 1}, "too late": {Name: "y", Expires: MaxExpires + 1},
			"can be guessed": {Name: om.ReplyQueuePrefix + "1", Expires: time.Minute}, "for good": {Name: reply}, "for long": {Name: reply, Expires: 2 * MaxReplyExpires},
			"elsewhere": {Name: "n://" + reply, Expires: time.Minute}, "partitions": {Name: reply, Expires: time.Minute, Partitions: 2},
			"deduplication": {Name: reply, Expires: time.Minute, Deduplication: om.Deduplication{Window: time.Hour}},
		} {
			if err := e.b.CreateQueue(e.ctx, c); !errors.Is(err, om.CodeBadParameter) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for i := range MaxReplyQueues {
			e.ok(e.b.CreateQueueOf(e.ctx, "anna", om.QueueConfig{Name: reply + string(rune('a'+i%26)) + strings.Repeat("b", i/26), Expires: time.Minute}))
		}
		c := om.QueueConfig{Name: reply, Expires: time.Minute}
		if err := e.b.CreateQueueOf(e.ctx, "anna", c); !errors.Is(err, om.CodeMaxQueues) {
			t.Error(err)
		}
		e.ok(e.b.CreateQueueOf(e.ctx, "bert", c))
		e.reopen(time.Second)
		if err := e.b.CreateQueueOf(e.ctx, "anna", om.QueueConfig{Name: reply + "z2", Expires: time.Minute}); !errors.Is(err, om.CodeMaxQueues) {
			t.Error(err)
		}
		if !e.b.MadeReplyQueue("bert", reply) || e.b.MadeReplyQueue("anna", reply) || e.b.MadeReplyQueue("", "x") {
			t.Error("who made the queue")
		}
		r := e.receiver(reply)
		if _, err := r.Reject(e.ctx, nil, ""); !errors.Is(err, om.ErrUnsupported) {
			t.Errorf("dead letters of a reply queue: %v", err)
		}
		time.Sleep(2 * time.Minute)
		e.there(reply, true)
		if n := len(e.b.expiry.replies); n != 1 {
			t.Errorf("%d users have reply queues", n)
		}
		e.ok(e.b.CreateQueueOf(e.ctx, "anna", om.QueueConfig{Name: reply + "z2", Expires: time.Minute}))
	})
}

// TestReceiverOfGoneQueue: a receiver cannot be opened on a queue that is just
// going, and one that is deleted tells its receivers.
func TestReceiverOfGoneQueue(t *testing.T) {
	withExpiring(t, func(e *expiring) {
		q, err := e.b.Queue("bind", "x")
		e.ok(err)
		e.ok(e.b.DeleteQueue(e.ctx, "x"))
		if err := e.b.submit(e.ctx, &useQueues{[]*Queue{q}}); !errors.Is(err, om.CodeDestinationNotFound) {
			t.Error(err)
		}
		c := &expireQueue{queue: q, used: q.record.Used}
		e.ok(e.b.submit(e.ctx, c))
		if c.done {
			t.Error("a queue was deleted twice")
		}
	})
}
