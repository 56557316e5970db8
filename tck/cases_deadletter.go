package tck

import (
	"fmt"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var deadLetterCases = table{
	"R116": redrive,
	"R117": groupConfig,
	"R118": expiredDeadLetter,
}

// redriving is a queue with dead letters of group "tck".
type redriving struct {
	*trial
	queue string
	ids   map[string]string // by body
}

// redrive redrives dead letters and checks which are told of.
func (r redriving) redrive(what string, want om.Redrive, bodies ...string) []om.Redriven {
	got, err := r.AP().Resources().Redrive(r.ctx, r.queue, "tck", want)
	r.NoError(err, "redrive %s", what)
	var ids, wanted []string
	for _, one := range got {
		ids = append(ids, one.MessageID)
		if one.Err != nil {
			r.Errorf("redriving %s: message %s: %v", what, one.MessageID, one.Err)
		}
		if !want.DryRun && (one.Queue != r.queue || one.Offset < 0) {
			r.Errorf("redriving %s: message %s is told to lie in %q at %d, want %q and its offset", what, one.MessageID, one.Queue, one.Offset, r.queue)
		}
	}
	for _, b := range bodies {
		wanted = append(wanted, r.ids[b])
	}
	slices.Sort(ids)
	slices.Sort(wanted)
	equalLists(r.trial, "messages told of when redriving "+what, ids, wanted)
	return got
}

// gone checks that a message cannot be redriven.
func (r redriving) gone(what, id string) {
	got, err := r.AP().Resources().Redrive(r.ctx, r.queue, "tck", om.Redrive{IDs: []string{id}})
	r.NoError(err, "redrive %s", what)
	if len(got) != 1 || got[0].MessageID != id {
		r.Fatalf("redriving %s: got %v, want one result for it", what, got)
	}
	r.Is(got[0].Err, "redriving "+what, om.CodeMessageNotFound)
}

func redrive(t *trial) {
	r := redriving{t, t.Queue(), map[string]string{}}
	names := []string{"a", "b", "c", "d", "e"}
	ms := messages(r.queue, names...)
	for i, m := range ms {
		m.Properties["n"] = om.Long(int64(i))
	}
	results, err := t.Producer().SendBatch(t.ctx, ms)
	t.NoError(err, "send")
	for i, b := range names {
		r.ids[b] = results[i].MessageID
	}
	others := t.Pull([]string{r.queue}, om.WithGroup("others"))
	t.ReceiveAndAck(others, len(names))
	c := t.Pull([]string{r.queue})
	for _, d := range t.ReceiveN(c, len(names)) {
		t.NoError(d.Reject(t.ctx, "cannot be read"), "reject")
	}

	r.redrive("all, as a dry run", om.Redrive{DryRun: true}, names...)
	t.Nothing(c, "a dry run must move nothing")
	r.gone("a message that is not there", "no such id")
	r.redrive("one by its id", om.Redrive{IDs: []string{r.ids["b"]}}, "b")
	d := t.Receive(c)
	equal(t, "body of what was redriven by its id", string(d.Body), "b")
	equal(t, "message id of what was redriven", d.MessageID, r.ids["b"])
	equal(t, "property of what was redriven", d.Properties.GetInt64("n", -1), 1)
	if _, ok := d.Properties[om.PropertyDeadReason]; ok {
		t.Errorf("what was redriven still has the property %s", om.PropertyDeadReason)
	}
	t.NoError(d.Reject(t.ctx, "still not"), "reject what was redriven")
	r.redrive("what has died again", om.Redrive{IDs: []string{r.ids["b"]}}, "b")
	t.Ack(c, t.Receive(c))
	r.gone("a message that was redriven", r.ids["b"])
	if t.Has(om.CapFilter) {
		r.redrive("by a filter", om.Redrive{Filter: om.SQL("n = 3 AND " + om.PropertyDeadReason + " LIKE 'cannot%'")}, "d")
	} else {
		r.redrive("by id", om.Redrive{IDs: []string{r.ids["d"]}}, "d")
	}
	r.redrive("at most one", om.Redrive{Max: 1}, "a")
	r.together(2)
	equalLists(t, "bodies of what was redriven", sortedBodies(t.ReceiveAndAck(c, 4)), []string{"a", "c", "d", "e"})
	r.redrive("when nothing is left", om.Redrive{})
	t.Nothing(c, "what was redriven must come once")
	t.Nothing(others, "what was redriven for a group must not come to another")
	fresh := t.Pull([]string{r.queue}, om.WithGroup("fresh"))
	equalLists(t, "bodies for a group that is made after redriving", sortedBodies(t.ReceiveAndAck(fresh, len(names))), names)
	t.Nothing(fresh, "what was redriven for a group must not come to one that is made later")

	rs := t.AP().Resources()
	_, err = rs.Redrive(t.ctx, r.queue, "nobody", om.Redrive{})
	t.Is(err, "redriving for a group that is not there", om.CodeGroupNotFound)
	_, err = rs.Redrive(t.ctx, r.queue, "tck", om.Redrive{Max: -1})
	t.Is(err, "redriving at most -1", om.CodeBadParameter)
}

// together redrives all from several goroutines at once.
func (r redriving) together(want int) {
	var mu sync.Mutex
	moved := 0
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			got, err := r.AP().Resources().Redrive(r.ctx, r.queue, "tck", om.Redrive{})
			if err != nil {
				r.Errorf("redriving at once: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, one := range got {
				if one.Err == nil {
					moved++
				} else {
					r.Is(one.Err, "redriving what another call has redriven", om.CodeMessageNotFound)
				}
			}
		})
	}
	all.Wait()
	equal(r.trial, "messages that four calls have redriven together", moved, want)
}

func groupConfig(t *trial) {
	q := t.Queue()
	rs := t.AP().Resources()
	t.Is(rs.ConfigureGroup(t.ctx, q, "tck", om.GroupConfig{}), "configuring a group that is not there", om.CodeGroupNotFound)
	c := t.Pull([]string{q}, om.WithLease(t.Lease))
	configure := func(want om.GroupConfig) {
		t.NoError(rs.ConfigureGroup(t.ctx, q, "tck", want), "configure the group")
		got, err := rs.Group(t.ctx, q, "tck")
		t.NoError(err, "describe the group")
		equal(t, "deliveries of the group's settings", got.MaxDeliveries, want.MaxDeliveries)
		equalLists(t, "backoff of the group's settings", got.Backoff, want.Backoff)
	}
	t.Is(rs.ConfigureGroup(t.ctx, q, "tck", om.GroupConfig{MaxDeliveries: -1}), "configuring -1 deliveries", om.CodeBadParameter)
	t.Is(rs.ConfigureGroup(t.ctx, q, "tck", om.GroupConfig{Backoff: om.Backoff{-1}}), "configuring a negative wait", om.CodeBadParameter)

	wait := 2 * t.Quiet
	configure(om.GroupConfig{MaxDeliveries: 4, Backoff: om.Backoff{wait, 0, time.Hour}})
	t.Send(t.Producer(), message(q, "poison"))
	d := t.Receive(c)
	waited := func(what string, from time.Time) {
		if early := wait - time.Since(from); early > time.Millisecond {
			t.Errorf("after %s the message came %v before its backoff of %v was over", what, early, wait)
		}
	}
	given := time.Now()
	t.NoError(d.Nack(t.ctx, 0), "nack")
	d = t.Receive(c)
	waited("a nack", given)
	t.NoError(d.Nack(t.ctx, 0), "nack")
	d = t.Receive(c) // the second step is no wait
	t.NoError(d.Nack(t.ctx, time.Millisecond), "nack with a delay")
	d = t.Receive(c) // the delay holds, not the third step
	t.NoError(d.Nack(t.ctx, 0), "nack")
	t.Nothing(c, "a message must not be delivered more often than MaxDeliveries says")
	t.dead(q, "poison", func(d *om.Delivery) {
		equal(t, "deliveries that the dead letter tells", d.Properties.GetInt64(om.PropertyDeadDeliveries, -1), 4)
	})

	configure(om.GroupConfig{MaxDeliveries: 2, Backoff: om.Backoff{wait}})
	t.Send(t.Producer(), message(q, "slow"))
	got := time.Now()
	t.Receive(c)
	again := t.Receive(c)
	waited("a lease that has ended", got.Add(t.Lease-t.Slack))
	t.Ack(c, again)
}

// dead receives the only dead letter of group "tck"; it may come late.
func (t *trial) dead(queue, body string, check func(*om.Delivery)) {
	name := om.DeadLetterQueue(queue, "tck")
	c := t.Pull(nil)
	err := c.Bind(t.ctx, name)
	for end := time.Now().Add(t.Arrive); is(err, om.CodeDestinationNotFound) && time.Now().Before(end); err = c.Bind(t.ctx, name) {
		t.pause(t.Slack)
	}
	t.NoError(err, "bind the dead-letter queue")
	d := t.Receive(c)
	equal(t, "body in the dead-letter queue", string(d.Body), body)
	check(d)
	t.Ack(c, d)
	t.Nothing(c, fmt.Sprintf("%q must be in the dead-letter queue once", body))
}

func expiredDeadLetter(t *trial) {
	rs := t.AP().Resources()
	q, counted := om.JoinQueueName(t.Namespace(), "buries"), om.JoinQueueName(t.Namespace(), "counts")
	t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q, DeadLetterExpired: true}), "create a queue with DeadLetterExpired")
	t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: counted}), "create a queue without DeadLetterExpired")
	for _, name := range []string{q, counted} {
		config, err := rs.Queue(t.ctx, name)
		t.NoError(err, "describe the queue")
		equal(t, "DeadLetterExpired of "+name, config.DeadLetterExpired, name == q)
		m := message(name, "expires")
		m.Ext.ExpireAt = om.ExpireAfter(t.Quiet)
		t.Send(t.Producer(), m)
		t.Send(t.Producer(), message(name, "stays"))
	}
	t.pause(t.Quiet + t.Slack)
	for _, name := range []string{q, counted} {
		c := t.Pull([]string{name})
		d := t.Receive(c)
		equal(t, "body of what comes after the first message has expired", string(d.Body), "stays")
		t.Ack(c, d)
		t.Nothing(c, "an expired message must not be delivered")
	}
	t.dead(q, "expires", func(d *om.Delivery) {
		equal(t, "reason of the dead letter", d.Properties.GetString(om.PropertyDeadReason, ""), om.DeadExpired)
		if !d.Ext.ExpireAt.IsZero() {
			t.Errorf("the dead letter still expires, at %v", d.Ext.ExpireAt)
		}
	})
	t.Is(t.Pull(nil).Bind(t.ctx, om.DeadLetterQueue(counted, "tck")), "binding the dead-letter queue of a queue without DeadLetterExpired", om.CodeDestinationNotFound)
}
