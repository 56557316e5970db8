package tck

import (
	"context"
	"fmt"
	"iter"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var faultCases = table{
	"R019": qos0NoLoss,
	"R020": qos1NoRepeat,
	"R021": qos2Once,
	"R051": sendReturnsAfterStore,
	"G33":  persistence,
}

// die lets a consumer go as if its process had died: the connection ends
// with messages in its hands.
func (t *trial) die(q string, n int) {
	ap := t.OpenAgain()
	t.ReceiveN(t.PullOf(ap, []string{q}), n)
	t.NoError(ap.Close(t.ctx), "close")
}

func qos0NoLoss(t *trial) {
	const n = 20
	q := t.Queue()
	t.SendAll(t.Producer(), q, numbered(n)...)
	t.die(q, n)
	c := t.Pull([]string{q})
	want := numbered(n)
	slices.Sort(want)
	equalLists(t, "messages after their consumer died", sortedBodies(t.ReceiveN(c, n)), want)
}

func qos1NoRepeat(t *trial) {
	q := t.Queue()
	p := t.Producer()
	for _, b := range numbered(5) {
		m := message(q, b)
		m.QoS = om.AtMostOnce
		t.Send(p, m)
	}
	t.die(q, 5)
	t.Nothing(t.Pull([]string{q}), "a message with qos 1 must not be delivered twice, although its consumer died")
}

func qos2Once(t *trial) {
	const n = 10
	q := t.Queue()
	p := t.Producer()
	for _, b := range numbered(n) {
		m := message(q, b)
		m.QoS = om.ExactlyOnce
		t.Send(p, m)
	}
	ap := t.OpenAgain()
	first := t.PullOf(ap, []string{q})
	done := t.ReceiveN(first, n/2)
	t.Ack(first, done...)
	t.NoError(ap.Close(t.ctx), "close")
	rest := t.Pull([]string{q})
	all := append(bodies(done), bodies(t.ReceiveN(rest, n/2))...)
	slices.Sort(all)
	want := numbered(n)
	slices.Sort(want)
	equalLists(t, "messages that took effect", all, want)
	t.Nothing(rest, "a message with qos 2 takes effect once")
}

func sendReturnsAfterStore(t *trial) {
	f := t.target.Faults
	if f.Stall == nil && f.Kill == nil {
		t.Untestedf("the target has neither a Stall nor a Kill hook")
	}
	q := t.Queue()
	p := t.Producer()
	t.Send(p, message(q, "warm"))
	if f.Stall != nil {
		open, _ := t.Stall()
		answered := make(chan error, 1)
		go func() {
			_, err := p.Send(t.ctx, message(q, "stalled"))
			answered <- err
		}()
		t.pause(t.Quiet)
		select {
		case err := <-answered:
			t.Errorf("Send returned (%s) while the provider could not store anything", shown(err))
			answered <- err
		default:
		}
		open()
		var err error
		if t.Ends("Send after the provider goes on", t.Arrive, func() { err = <-answered }) {
			t.Succeeds(err, "Send after the provider goes on")
		}
	}
	if f.Kill == nil || !t.Has(om.CapPersistent) {
		return
	}
	killed := t.Queue()
	for i := range 3 {
		t.Send(t.Producer(), message(killed, fmt.Sprint(i)))
	}
	t.fault("Kill", f.Kill)
	equalLists(t, "messages after the provider was killed that it had acknowledged", sortedBodies(t.ReceiveN(t.Pull([]string{killed}), 3)), numbered(3))
}

// fault uses a hook of the target and opens the case's access point anew.
func (t *trial) fault(what string, hook func(context.Context) error) {
	if err := unlabelled(func() error { return hook(t.ctx) }); err != nil {
		t.Brokenf("the target's %s hook: %v", what, err)
	}
	t.opening.Lock()
	defer t.opening.Unlock()
	t.ap = t.OpenAgain()
}

// restarts yields what can happen to the provider, and how to have it happen. A
// target without a hook is untested.
func (t *trial) restarts() iter.Seq2[string, func()] {
	f := t.target.Faults
	if f.Restart == nil && f.Kill == nil {
		t.Untestedf("the target has neither a Restart nor a Kill hook")
	}
	return func(yield func(string, func()) bool) {
		for _, hook := range []struct {
			what string
			do   func(context.Context) error
		}{{"Restart", f.Restart}, {"Kill", f.Kill}} {
			if hook.do != nil && !yield(hook.what, func() { t.fault(hook.what, hook.do) }) {
				return
			}
		}
	}
}

func persistence(t *trial) {
	faults := t.restarts()
	q := t.Queue()
	left := numbered(10)
	t.SendAll(t.Producer(), q, left...)
	for what, fault := range faults {
		c := t.Pull([]string{q})
		acked := t.ReceiveN(c, 3) // any of those that came before: their order is free
		t.Ack(c, acked...)
		left = slices.DeleteFunc(left, func(b string) bool { return slices.Contains(bodies(acked), b) })
		fault()
		after := t.Pull([]string{q})
		equalLists(t, "messages after "+what+" that were not acknowledged before", sortedBodies(t.ReceiveN(after, len(left))), left)
		t.Nothing(after, "what was acknowledged before "+what+" must not come again")
		t.NoError(after.Close(t.ctx), "close")
	}
}
