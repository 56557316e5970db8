package tck

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var deduplicationCases = table{
	"R130": deduplicated,
	"R131": deduplicationDurable,
}

// onceQueue makes a queue that deduplicates by a property.
func (t *trial) onceQueue(window time.Duration) string {
	q := unique("tck")
	rs := t.AP().Resources()
	t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q, Deduplication: om.Deduplication{Window: window}}), "create a queue that deduplicates")
	t.Cleanup(func(ctx context.Context) { _ = t.AP().Resources().DeleteQueue(ctx, q) })
	return q
}

// identified returns a message that is known by an id.
func identified(queue, body, id string) *om.Message {
	m := message(queue, body)
	m.Properties[om.PropertyDeduplicationID] = om.String(id)
	return m
}

// repeats checks that a message was not stored because of the first one.
func (t *trial) repeats(what string, got, first om.SendResult) {
	first.Duplicate = true
	equal(t, "result of "+what, got, first)
}

func deduplicated(t *trial) {
	window := max(4*t.Quiet, 2*time.Second)
	q := t.onceQueue(window)
	p := t.Producer()
	first := t.Send(p, identified(q, "first", "1"))
	sent := time.Now()
	equal(t, "the first message is a duplicate", first.Duplicate, false)
	t.repeats("a message with an id that is known", t.Send(p, identified(q, "again", "1")), first)
	t.repeats("one of another producer", t.Send(t.Producer(), identified(q, "again", "1")), first)
	results, err := p.SendBatch(t.ctx, []*om.Message{identified(q, "again", "1"), identified(q, "second", "2"), message(q, "no id"), identified(q, "again", "2"), message(q, "no id")})
	t.NoError(err, "send a batch with repetitions")
	t.repeats("one in a batch", results[0], first)
	t.repeats("one of the same batch", results[3], results[1])
	for _, i := range []int{1, 2, 4} {
		equal(t, "a new message in a batch is a duplicate", results[i].Duplicate, false)
	}
	c := t.Pull([]string{q})
	ds := t.ReceiveN(c, 4)
	equalLists(t, "messages that were stored", sortedBodies(ds), []string{"first", "no id", "no id", "second"})
	for _, d := range ds {
		if string(d.Body) == "second" && (d.MessageID != results[1].MessageID || d.Offset != results[1].Offset && results[1].Offset >= 0) {
			t.Errorf("the message behind a repetition is %s at %d, its result said %+v", d.MessageID, d.Offset, results[1])
		}
	}
	t.Nothing(c, "a repeated message must not be delivered")
	t.pause(window + window/4 - time.Since(sent))
	equal(t, "a message whose id was sent before the window is a duplicate", t.Send(p, identified(q, "later", "1")).Duplicate, false)
	equal(t, "the message after the window", string(t.Receive(c).Body), "later")
}

func deduplicationDurable(t *trial) {
	for what, fault := range t.restarts() {
		q := t.onceQueue(time.Hour)
		first := t.Send(t.Producer(), identified(q, "first", "1"))
		fault()
		t.repeats("a message whose id was sent before "+what, t.Send(t.Producer(), identified(q, "again", "1")), first)
		c := t.Pull([]string{q})
		equal(t, "the message that was stored", string(t.Receive(c).Body), "first")
		t.Nothing(c, "a repeated message must not be delivered")
	}
}
