package tck

import (
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var transactedCases = table{
	"R135": transactedIsOne,
	"R136": transactedRefused,
	"R137": transactedDurable,
	"R132": producerFenced,
}

// transactedSetup makes an input queue with two messages, which it receives, and
// two output queues.
func (t *trial) transactedSetup() (p om.Producer, in, a, b string, c om.PullConsumer, ds []*om.Delivery) {
	in, a, b = t.Queue(), t.Queue(), t.Queue()
	p = t.Producer()
	t.Send(p, message(in, "one"))
	t.Send(p, message(in, "two"))
	c = t.Pull([]string{in}, om.WithGroup("g"))
	return p, in, a, b, c, t.ReceiveN(c, 2)
}

func transactedIsOne(t *trial) {
	p, in, a, b, c, ds := t.transactedSetup()
	ms := []*om.Message{message(a, "to a"), message(b, "to b"), message(a, "to a, too")}
	results, err := p.SendTransacted(t.ctx, ms, ds[0], ds[1])
	t.NoError(err, "send transacted")
	equal(t, "results", len(results), len(ms))
	for i, r := range results {
		if r.MessageID == "" || r.MessageID != ms[i].MessageID {
			t.Errorf("result %d names the message %q, the message itself says %q", i, r.MessageID, ms[i].MessageID)
		}
	}
	equalLists(t, "messages of the first queue", sortedBodies(t.ReceiveN(t.Pull([]string{a}), 2)), []string{"to a", "to a, too"})
	equal(t, "message of the second queue", string(t.Receive(t.Pull([]string{b})).Body), "to b")
	t.NoError(ds[0].Ack(t.ctx), "acknowledge again what was acknowledged with the messages")
	t.NoError(c.Close(t.ctx), "close the consumer")
	t.Nothing(t.Pull([]string{in}, om.WithGroup("g")), "what was acknowledged with the messages must not be delivered again")
	_, err = p.SendTransacted(t.ctx, nil)
	t.NoError(err, "send nothing transacted")
}

func transactedRefused(t *trial) {
	p, _, a, b, _, ds := t.transactedSetup()
	refused := func(what string, ms []*om.Message, acks []*om.Delivery, want error) {
		_, err := p.SendTransacted(t.ctx, ms, acks...)
		t.Is(err, "send transacted "+what, want)
	}
	refused("to a queue that is not there", []*om.Message{message(a, "no"), message(unique("tck-none"), "no")}, ds[:1], om.ErrDestination)
	if t.Has(om.CapNack) {
		t.NoError(ds[1].Nack(t.ctx, 0), "give a delivery back")
	} else {
		t.NoError(ds[1].Ack(t.ctx), "acknowledge a delivery")
		ds[1] = ds[0]
	}
	if ds[1] != ds[0] {
		refused("with a delivery that was given back", []*om.Message{message(a, "no"), message(b, "no")}, ds, om.CodeStaleReceipt)
	}
	t.Nothing(t.Pull([]string{a}), "a message of what was refused must not be delivered")
	t.Nothing(t.Pull([]string{b}), "a message of what was refused must not be delivered")
	_, err := p.SendTransacted(t.ctx, []*om.Message{message(a, "yes")}, ds[0])
	t.NoError(err, "acknowledge afterwards what was not acknowledged by what was refused")
}

func transactedDurable(t *trial) {
	for what, fault := range t.restarts() {
		p, in, a, b, _, ds := t.transactedSetup()
		_, err := p.SendTransacted(t.ctx, []*om.Message{message(a, "to a"), message(b, "to b")}, ds...)
		t.NoError(err, "send transacted")
		fault()
		equal(t, "the message of the first queue after "+what, string(t.Receive(t.Pull([]string{a})).Body), "to a")
		equal(t, "the message of the second queue after "+what, string(t.Receive(t.Pull([]string{b})).Body), "to b")
		t.Nothing(t.Pull([]string{in}, om.WithGroup("g")), "after "+what+" what was acknowledged with messages must not be delivered again")
	}
}

func producerFenced(t *trial) {
	q, id := t.Queue(), unique("tck")
	before := t.Producer(om.WithProducerID(id))
	t.Send(before, message(q, "before"))
	other := t.Producer(om.WithProducerID(unique("tck")))
	after := t.Producer(om.WithProducerID(id))
	_, err := before.Send(t.ctx, message(q, "fenced"))
	t.Is(err, "sending by a producer that was fenced off", om.CodeProducerFenced)
	_, err = before.SendBatch(t.ctx, []*om.Message{message(q, "fenced"), message(q, "fenced")})
	t.Is(err, "sending a batch by a producer that was fenced off", om.CodeProducerFenced)
	if t.Has(om.CapTransacted) {
		_, err = before.SendTransacted(t.ctx, []*om.Message{message(q, "fenced")})
		t.Is(err, "sending transacted by a producer that was fenced off", om.CodeProducerFenced)
	}
	t.Send(after, message(q, "after"))
	t.Send(other, message(q, "other"))
	t.Send(t.Producer(), message(q, "without an id"))
	c := t.Pull([]string{q})
	equalLists(t, "messages of the others", sortedBodies(t.ReceiveN(c, 4)), []string{"after", "before", "other", "without an id"})
	t.Nothing(c, "what was fenced off must not be delivered")
}
