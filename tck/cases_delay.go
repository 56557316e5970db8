package tck

import (
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var delayCases = table{
	"R113": delayCancelled,
	"R114": delayCancelRefused,
	"R115": delayDurable,
}

// late returns a message with a delay.
func late(queue, body string, delay time.Duration) *om.Message {
	m := message(queue, body)
	m.Ext.Delay = delay
	return m
}

func delayCancelled(t *trial) {
	q := t.Queue()
	delay := 4 * t.Quiet
	c := t.Pull([]string{q})
	ms := []*om.Message{late(q, "a", delay), late(q, "b", delay), late(q, "c", delay)}
	results, err := t.Producer().SendBatch(t.ctx, ms)
	t.NoError(err, "send")
	t.NoError(t.AP().Resources().CancelDelayed(t.ctx, q, results[1].MessageID), "cancel before the message is due")
	ds := t.ReceiveN(c, 2)
	equalLists(t, "messages that were not cancelled", sortedBodies(ds), []string{"a", "c"})
	for _, d := range ds {
		if early := delay - time.Since(ms[0].BornAt); early > time.Millisecond {
			t.Errorf("the message %q came %v too early", d.Body, early)
		}
	}
	t.Nothing(c, "a cancelled message must not be delivered")
}

func delayCancelRefused(t *trial) {
	q := t.Queue()
	p, rs := t.Producer(), t.AP().Resources()
	refused := func(what, id string) {
		t.Is(rs.CancelDelayed(t.ctx, q, id), "cancelling "+what, om.CodeMessageNotFound)
	}
	refused("a message that is not there", "no such id")
	now := t.Send(p, message(q, "now"))
	refused("a message without a delay", now.MessageID)
	soon := t.Send(p, late(q, "soon", t.Quiet))
	never := t.Send(p, late(q, "never", time.Hour))
	t.NoError(rs.CancelDelayed(t.ctx, q, never.MessageID), "cancel before the message is due")
	refused("a message that was cancelled", never.MessageID)
	t.ReceiveN(t.Pull([]string{q}), 2)
	refused("a message that was delivered", soon.MessageID)
	t.Is(rs.CancelDelayed(t.ctx, unique("tck-none"), soon.MessageID), "cancelling in a queue that is not there", om.ErrDestination)
}

func delayDurable(t *trial) {
	for what, fault := range t.restarts() {
		q := t.Queue()
		p := t.Producer()
		m := late(q, "late after "+what, 4*t.Quiet)
		t.Send(p, m)
		if t.Has(om.CapCancelDelay) {
			gone := late(q, "cancelled before "+what, 4*t.Quiet)
			t.Send(p, gone)
			t.NoError(t.AP().Resources().CancelDelayed(t.ctx, q, gone.MessageID), "cancel before the message is due")
		}
		fault()
		c := t.Pull([]string{q})
		d := t.Receive(c)
		equal(t, "the message that came after "+what, string(d.Body), string(m.Body))
		if early := m.Ext.Delay - time.Since(m.BornAt); early > time.Millisecond {
			t.Errorf("after %s a delayed message came %v too early", what, early)
		}
		t.Nothing(c, "after "+what+" nothing else must come")
	}
}
