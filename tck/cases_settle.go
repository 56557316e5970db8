package tck

import (
	"fmt"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var settleCases = table{
	"G21": redeliverySameID,
	"G22": doubleAck,
	"G23": staleReceipt,
	"G24": nack,
	"G26": deadLetter,
}

func redeliverySameID(t *trial) {
	q := t.Queue()
	m := message(q, "a")
	m.Properties["n"] = om.Long(1 << 60)
	if t.Has(om.CapExtIDs) {
		m.Ext.MessageKey = "key"
	}
	t.Send(t.Producer(), m)
	first := t.Pull([]string{q})
	a := t.Receive(first)
	t.NoError(first.Close(t.ctx), "close")
	b := t.Receive(t.Pull([]string{q}))
	equal(t, "message id of the redelivery", b.MessageID, a.MessageID)
	equal(t, "born host of the redelivery", b.BornHost, a.BornHost)
	equal(t, "message key of the redelivery", b.Ext.MessageKey, a.Ext.MessageKey)
	equal(t, "body of the redelivery", string(b.Body), string(a.Body))
	if !b.BornAt.Equal(a.BornAt) {
		t.Errorf("born time of the redelivery: got %v, want %v", b.BornAt, a.BornAt)
	}
	if !b.Properties.Equal(a.Properties) {
		t.Errorf("properties of the redelivery: got %v, want %v", b.Properties, a.Properties)
	}
}

func doubleAck(t *trial) {
	q := t.Queue()
	t.SendAll(t.Producer(), q, "0", "1")
	c := t.Pull([]string{q})
	ds := t.ReceiveN(c, 2)
	t.Ack(c, ds[0])
	for i := range 3 {
		t.Succeeds(ds[0].Ack(t.ctx), fmt.Sprintf("acknowledgement number %d", i+2))
	}
	t.Succeeds(c.Ack(t.ctx, ds...), "an acknowledgement of one that was acknowledged and one that was not")
	raw, err := t.openRaw().NewReceiver(t.ctx, receiverConfig(q, t.Arrive))
	t.NoError(err, "new receiver of the driver")
	got, err := raw.Receive(t.ctx, 1)
	t.NoError(err, "receive by the driver")
	for i := range 2 {
		errs, err := raw.Ack(t.ctx, receipts(got))
		t.Succeeds(err, fmt.Sprintf("acknowledgement number %d by the driver", i+1))
		for _, err := range errs {
			t.Succeeds(err, fmt.Sprintf("acknowledgement number %d by the driver", i+1))
		}
	}
	t.NoError(raw.Close(t.ctx), "close")
	t.NoError(c.Close(t.ctx), "close")
	t.Nothing(t.Pull([]string{q}), "what was acknowledged twice must not come again")
}

func staleReceipt(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "a"))
	slow := t.Pull([]string{q}, om.WithLease(t.Lease))
	old := t.Receive(slow)
	quick := t.Pull([]string{q}, om.WithLease(max(t.Lease, 2*t.Arrive)))
	again := t.Receive(quick)
	equal(t, "id of the redelivery after the lease", again.MessageID, old.MessageID)
	if err := old.Ack(t.ctx); err == nil {
		t.Logf("the acknowledgement by the old receipt gave no error; its effect counts")
	} else {
		t.Is(err, "acknowledgement by the receipt of an earlier delivery", om.CodeStaleReceipt)
	}
	t.NoError(quick.Close(t.ctx), "close")
	third := t.Pull([]string{q})
	ctx, cancel := t.within(t.Arrive)
	defer cancel()
	d, err := third.Receive(ctx)
	if err != nil {
		t.Fatalf("a stale receipt settled a later delivery: the message did not come again (%v)", err)
	}
	equal(t, "id of the third delivery", d.MessageID, old.MessageID)
}

func nack(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "a"))
	c := t.Pull([]string{q}, om.WithLease(10*t.Arrive))
	d := t.Receive(c)
	t.NoError(d.Nack(t.ctx, 0), "nack")
	d = t.Receive(c)
	equal(t, "body after a Nack", string(d.Body), "a")
	began := time.Now()
	t.NoError(d.Nack(t.ctx, 2*t.Quiet), "nack with a delay")
	t.Receive(c)
	if early := 2*t.Quiet - time.Since(began); early > time.Millisecond {
		t.Errorf("after a Nack with a delay of %v the message came %v too early", 2*t.Quiet, early)
	}
}

func deadLetter(t *trial) {
	q := t.Queue()
	t.SendAll(t.Producer(), q, "poison", "good")
	c := t.Pull([]string{q})
	ds := t.ReceiveN(c, 2)
	t.NoError(ds[0].Reject(t.ctx, "cannot be read"), "reject")
	t.Ack(c, ds[1])
	t.NoError(c.Close(t.ctx), "close")
	t.Nothing(t.Pull([]string{q}), "a rejected message must not come again")
	if !t.Has(om.CapAdmin) {
		t.Untestedf("the dead-letter queue cannot be found without the capability %q", om.CapAdmin)
	}
	namespace, _ := om.SplitQueueName(q, t.Namespace())
	queues, err := t.AP().Resources().Namespace(namespace).Queues(t.ctx)
	t.NoError(err, "list queues")
	var dead []string
	for _, name := range queueNames(queues) {
		if name != q {
			dead = append(dead, name)
		}
	}
	if len(dead) != 1 {
		t.Fatalf("after a Reject the namespace has the queues %v, want the first one and a dead-letter queue", queueNames(queues))
	}
	dlq := t.Pull(dead)
	d := t.Receive(dlq)
	equal(t, "body in the dead-letter queue", string(d.Body), "poison")
	text := fmt.Sprint(d.Properties)
	if !strings.Contains(text, "cannot be read") {
		t.Errorf("the properties in the dead-letter queue do not tell the reason: %s", clip(text))
	}
	t.Ack(dlq, d)
	t.Nothing(dlq, "a rejected message must be in the dead-letter queue once")
}

var leaseCases = table{"G25": extendLease}

func extendLease(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "a"))
	holder := t.Pull([]string{q}, om.WithLease(t.Lease))
	d := t.Receive(holder)
	t.NoError(d.Extend(t.ctx, 2*t.Arrive), "extend")
	other := t.Pull([]string{q})
	ctx, cancel := t.within(t.Lease + t.Quiet)
	defer cancel()
	if _, err := other.Receive(ctx); err == nil {
		t.Errorf("a message whose lease was extended to %v came to another consumer after %v", 2*t.Arrive, t.Lease)
	}
	t.Succeeds(d.Ack(t.ctx), "acknowledgement within the extended lease")
}
