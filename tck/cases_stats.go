package tck

import (
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var statsCases = table{
	"R152": browseNoEffect,
	"R153": statistics,
	"R154": statisticsDurable,
	"R155": findByID,
	"R156": findByKey,
	"R157": findByTime,
	"R158": delayedListed,
	"R159": deadListed,
}

// standing is what the groups of a queue are told to have settled.
func (t *trial) standing(q string) (all []standing) {
	gs, err := t.AP().Resources().Groups(t.ctx, q)
	t.NoError(err, "list the groups")
	for _, g := range gs {
		all = append(all, standing{g.Group, g.Lag, g.InFlight, g.Redelivered})
	}
	return all
}

type standing struct {
	group                      string
	lag, inFlight, redelivered int64
}

func browseNoEffect(t *trial) {
	q := t.Queue()
	rs := t.SendAll(t.Producer(), q, "a", "b", "c", "d")
	if t.Has(om.CapDelay) {
		t.Send(t.Producer(), late(q, "not due", time.Hour))
	}
	c := t.Pull([]string{q})
	t.Ack(c, t.Receive(c))
	before := t.standing(q)
	s, err := t.AP().NewStreamConsumer(t.ctx)
	t.NoError(err, "new stream consumer")
	ctx, cancel := t.within(t.Arrive)
	defer cancel()
	cursor, err := s.Open(ctx, q, max(rs[0].Partition, 0), om.Begin())
	t.NoError(err, "open a cursor at the begin")
	equalLists(t, "what is browsed", t.take(cursor.Forward(ctx), 4), []string{"a", "b", "c", "d"})
	equalLists(t, "what is browsed back", t.take(cursor.Backward(ctx), 100), []string{"d", "c", "b", "a"})
	for d, err := range cursor.Forward(ctx) {
		t.NoError(err, "browse")
		t.Is(d.Ack(t.ctx), "acknowledging what was browsed", om.ErrUnsupported)
		break
	}
	equalLists(t, "groups with lag, in flight and redelivered after browsing", t.standing(q), before)
	for _, d := range t.ReceiveAndAck(c, 3) {
		if n := d.Ext.DeliveryCount; t.Has(om.CapDeliveryCount) && n != 1 {
			t.Errorf("message %q that was browsed comes as delivery %d, want 1", d.Body, n)
		}
	}
	t.Nothing(c, "browsing must not have messages delivered again")
}

// stats returns the statistics of a queue and of its group "tck".
func (t *trial) stats(q string) (om.QueueStats, om.GroupStats) {
	all, err := t.AP().Resources().Stats(t.ctx, q)
	t.NoError(err, "statistics")
	if len(all) != 1 {
		t.Fatalf("statistics of one queue: got %d", len(all))
	}
	for _, g := range all[0].Groups {
		if g.Group == "tck" {
			return all[0], g
		}
	}
	t.Fatalf("the statistics do not have the group tck: %+v", all[0])
	return om.QueueStats{}, om.GroupStats{}
}

func statistics(t *trial) {
	q, rs := t.Queue(), t.AP().Resources()
	p, c := t.Producer(), t.Pull([]string{q})
	t.SendAll(p, q, numbered(8)...)
	ds := t.ReceiveN(c, 5)
	t.Ack(c, ds[:2]...)
	lag, inFlight := int64(6), int64(3)
	s, g := t.stats(q)
	if g.Consumers != 1 {
		t.Errorf("consumers: got %d, want 1", g.Consumers)
	}
	equal(t, "waiting at first", g.Waiting, 0)
	equal(t, "dead at first", g.Dead, 0)
	waiting, dead, delayed, prepared := int64(0), int64(0), int64(0), int64(0)
	if t.Has(om.CapNack) {
		t.NoError(ds[2].Nack(t.ctx, time.Hour), "nack")
		waiting, inFlight = 1, inFlight-1
	}
	if t.Has(om.CapDeadLetter) {
		t.NoError(ds[3].Reject(t.ctx, "for the statistics"), "reject")
		dead, inFlight, lag = 1, inFlight-1, lag-1
	}
	if t.Has(om.CapDelay) {
		t.Send(p, late(q, "late", time.Hour))
		t.Send(p, late(q, "later", 2*time.Hour))
		delayed = 2
	}
	if t.Has(om.CapTransaction) {
		_, err := t.Producer(om.WithTransactionChecker(unknownYet)).Prepare(t.ctx, message(q, "prepared"))
		t.NoError(err, "prepare")
		prepared = 1
	}
	wait := max(t.Quiet, 1100*time.Millisecond) // a full second
	t.pause(wait)
	s, g = t.stats(q)
	for what, v := range map[string][2]int64{
		"partitions": {int64(s.Partitions), 1}, "depth": {s.Depth, 8}, "delayed": {s.Delayed, delayed}, "prepared": {s.Prepared, prepared}, "published": {s.Published.Total, 8},
		"lag": {g.Lag, lag}, "in flight": {g.InFlight, inFlight}, "waiting": {g.Waiting, waiting}, "dead": {g.Dead, dead},
		"delivered": {g.Delivered.Total, 5}, "redelivered": {g.Redelivered.Total, 0}, "acknowledged": {g.Acknowledged.Total, 2},
	} {
		equal(t, what, v[0], v[1])
	}
	if g.OldestAge < wait || g.OldestAge > wait+t.Arrive {
		t.Errorf("age of the oldest message: got %v, want %v or a little more", g.OldestAge, wait)
	}
	if r := s.Published.Rate; r <= 0 || r > 8/om.RateWindow.Seconds() {
		t.Errorf("rate of publishing: got %v, want 8 messages in %v", r, om.RateWindow)
	}
	t.listed(q)
	_, err := rs.Stats(t.ctx, t.Missing())
	t.Is(err, "statistics of a queue that is not there", om.ErrDestination)
}

// listed looks for a queue among the statistics of all queues of its namespace.
func (t *trial) listed(q string) {
	if !t.Has(om.CapAdmin) {
		return
	}
	all, err := t.AP().Resources().Namespace(t.Namespace()).Stats(t.ctx)
	t.NoError(err, "statistics of all queues")
	before, found := "", false
	for _, s := range all {
		if found = found || s.Queue == q; s.Queue <= before {
			t.Errorf("the statistics of all queues are not sorted: %s comes after %s", s.Queue, before)
		}
		before = s.Queue
	}
	if !found {
		t.Errorf("the statistics of all queues do not have %s", q)
	}
}

func statisticsDurable(t *trial) {
	for what, fault := range t.restarts() {
		q := t.Queue()
		t.SendAll(t.Producer(), q, numbered(6)...)
		delayed := int64(0)
		if t.Has(om.CapDelay) {
			t.Send(t.Producer(), late(q, "late", time.Hour))
			delayed = 1
		}
		c := t.Pull([]string{q})
		ds := t.ReceiveN(c, 4)
		t.Ack(c, ds[0], ds[2])
		t.pause(t.Quiet)
		fault()
		s, g := t.stats(q)
		equal(t, "depth after "+what, s.Depth, 6)
		equal(t, "delayed after "+what, s.Delayed, delayed)
		equal(t, "lag after "+what, g.Lag, 4)
		equal(t, "in flight after "+what, g.InFlight, 0)
		if g.OldestAge < t.Quiet {
			t.Errorf("age of the oldest message after %s: got %v, want %v at least", what, g.OldestAge, t.Quiet)
		}
	}
}

// find returns what one call finds.
func (t *trial) find(q string, want om.MessageQuery) om.MessagePage {
	page, err := t.AP().Resources().FindMessages(t.ctx, q, want)
	t.NoError(err, "find messages by %+v", want)
	if limit := want.Max; limit > 0 && len(page.Messages) > limit {
		t.Errorf("find: got %d messages, %d are the most", len(page.Messages), limit)
	}
	return page
}

// findAll goes on until all was looked at.
func (t *trial) findAll(q string, want om.MessageQuery) (ds []*om.Delivery) {
	for pages := 0; ; pages++ {
		page := t.find(q, want)
		ds = append(ds, page.Messages...)
		if want.After = page.Next; want.After == "" {
			return ds
		}
		if pages == 1000 {
			t.Fatalf("finding messages does not end: after %d pages Next is %q", pages, page.Next)
		}
	}
}

func findByID(t *trial) {
	q, rs := t.manyPartitions(), t.AP().Resources()
	results := t.SendAll(t.Producer(), q, numbered(6)...)
	results = append(results, t.Send(t.Producer(), message(q, "6")))
	for i, r := range results {
		ds := t.findAll(q, om.MessageQuery{ID: r.MessageID, Max: 10})
		if !equalLists(t, "bodies of the messages with an id", bodies(ds), []string{numbered(7)[i]}) {
			continue
		}
		equal(t, "id of what was found", ds[0].MessageID, r.MessageID)
		equal(t, "partition of what was found", ds[0].Partition, r.Partition)
		equal(t, "offset of what was found", ds[0].Offset, r.Offset)
		t.Is(ds[0].Ack(t.ctx), "acknowledging what was found", om.ErrUnsupported)
	}
	equal(t, "messages with an id that nobody has", len(t.findAll(q, om.MessageQuery{ID: "no such id"})), 0)
	equal(t, "messages of another queue", len(t.findAll(t.Queue(), om.MessageQuery{ID: results[0].MessageID})), 0)
	_, err := rs.FindMessages(t.ctx, t.Missing(), om.MessageQuery{ID: results[0].MessageID})
	t.Is(err, "finding in a queue that is not there", om.ErrDestination)
	got := t.ReceiveAndAck(t.Pull([]string{q}), 7)
	equalLists(t, "messages after they were found", sortedBodies(got), numbered(7))
}

func findByKey(t *trial) {
	q, rs := t.manyPartitions(), t.AP().Resources()
	send := func(round string) {
		var ms []*om.Message
		for _, b := range numbered(4) {
			for _, key := range []string{"a", "b", ""} {
				m := message(q, key+round+b)
				m.Ext.MessageKey = key
				ms = append(ms, m)
			}
		}
		_, err := t.Producer().SendBatch(t.ctx, ms)
		t.NoError(err, "send")
	}
	send("x")
	want := []string{"bx0", "bx1", "bx2", "bx3"}
	equalLists(t, "messages of a key, three at a time", bodies(t.findAll(q, om.MessageQuery{Key: "b", Max: 3})), want)
	equalLists(t, "messages of a key", bodies(t.findAll(q, om.MessageQuery{Key: "b"})), want)
	equal(t, "messages of a key that nobody has", len(t.findAll(q, om.MessageQuery{Key: "c"})), 0)
	equal(t, "messages of any key", len(t.findAll(q, om.MessageQuery{Max: 5})), 12)
	if t.Has(om.CapAddPartitions) && t.Has(om.CapPartitions) {
		t.NoError(rs.AddPartitions(t.ctx, q, 7), "add partitions")
		send("y")
		equalLists(t, "messages of a key after partitions were added", sortedBodies(t.findAll(q, om.MessageQuery{Key: "b", Max: 3})),
			append(want, "by0", "by1", "by2", "by3"))
	}
	for what, bad := range map[string]om.MessageQuery{
		"-1 messages": {Max: -1}, "a million messages": {Max: 1_000_000}, "an After that nobody gave": {After: "nowhere"},
	} {
		_, err := rs.FindMessages(t.ctx, q, bad)
		t.Is(err, "finding "+what, om.CodeBadParameter)
	}
}

func findByTime(t *trial) {
	q := t.Queue()
	p := t.Producer()
	for _, b := range []string{"a", "b", "c"} {
		t.Send(p, message(q, b))
		t.pause(t.Quiet)
	}
	all := t.findAll(q, om.MessageQuery{})
	if !equalLists(t, "all messages", bodies(all), []string{"a", "b", "c"}) {
		return
	}
	b, c := all[1].Ext.StoredAt, all[2].Ext.StoredAt
	equalLists(t, "messages from the second one's time on", bodies(t.findAll(q, om.MessageQuery{From: b})), []string{"b", "c"})
	equalLists(t, "messages before the second one's time", bodies(t.findAll(q, om.MessageQuery{To: b})), []string{"a"})
	equalLists(t, "messages from the second one's time to the third one's", bodies(t.findAll(q, om.MessageQuery{From: b, To: c, Max: 1})), []string{"b"})
	equal(t, "messages from tomorrow on", len(t.findAll(q, om.MessageQuery{From: c.AddDate(0, 0, 1)})), 0)
	equal(t, "messages from before there were any", len(t.findAll(q, om.MessageQuery{To: b.AddDate(-10, 0, 0)})), 0)
	_, err := t.AP().Resources().FindMessages(t.ctx, q, om.MessageQuery{From: c, To: b})
	t.Is(err, "finding from a time to an earlier one", om.CodeBadParameter)
}

func delayedListed(t *trial) {
	q, p, rs := t.Queue(), t.Producer(), t.AP().Resources()
	t.Send(p, message(q, "now"))
	var sent []*om.Message
	for i, body := range []string{"soon", "later", "much later"} {
		m := late(q, body, time.Duration(i+1)*90*time.Minute)
		if t.Has(om.CapExtIDs) {
			m.Ext.MessageKey = "key of " + body
		}
		sent = append(sent, m)
	}
	results, err := p.SendBatch(t.ctx, sent)
	t.NoError(err, "send")
	list := func(what string, want om.MessageQuery, bodiesWanted ...string) {
		want.Delayed = true
		ds := t.findAll(q, want)
		equalLists(t, what, sortedBodies(ds), bodiesWanted)
		for _, d := range ds {
			equal(t, "offset of a delayed message", d.Offset, -1)
		}
	}
	list("delayed messages", om.MessageQuery{}, "later", "much later", "soon")
	list("delayed messages, one at a time", om.MessageQuery{Max: 1}, "later", "much later", "soon")
	list("the delayed message with an id", om.MessageQuery{ID: results[1].MessageID, Max: 5}, "later")
	if t.Has(om.CapExtIDs) {
		list("the delayed message with a key", om.MessageQuery{Key: "key of soon"}, "soon")
	}
	due := sent[1].BornAt.Add(sent[1].Ext.Delay)
	list("what is due from a time on", om.MessageQuery{From: due}, "later", "much later")
	list("what is due before a time", om.MessageQuery{To: due}, "soon")
	equalLists(t, "messages that are stored", bodies(t.findAll(q, om.MessageQuery{})), []string{"now"})
	equal(t, "delayed messages of another queue", len(t.findAll(t.Queue(), om.MessageQuery{Delayed: true})), 0)
	if t.Has(om.CapCancelDelay) {
		t.NoError(rs.CancelDelayed(t.ctx, q, results[1].MessageID), "cancel")
		list("delayed messages after one was cancelled", om.MessageQuery{}, "much later", "soon")
		list("the cancelled message", om.MessageQuery{ID: results[1].MessageID})
	}
	t.Send(p, late(q, "due", t.Quiet))
	t.ReceiveN(t.Pull([]string{q}), 2)
	list("delayed messages after one was due", om.MessageQuery{To: due}, "soon")
}

func deadListed(t *trial) {
	q, rs := t.Queue(), t.AP().Resources()
	c, other := t.Pull([]string{q}), t.Pull([]string{q}, om.WithGroup("other"))
	t.SendAll(t.Producer(), q, "a", "b", "c")
	equal(t, "dead letters before there were any", len(t.findAll(q, om.MessageQuery{DeadFor: "tck"})), 0)
	ds := t.ReceiveN(c, 3)
	for _, d := range ds[:2] {
		t.NoError(d.Reject(t.ctx, "no use"), "reject")
	}
	t.Ack(c, ds[2])
	dead := t.findAll(q, om.MessageQuery{DeadFor: "tck", Max: 1})
	equalLists(t, "dead letters, one at a time", bodies(dead), bodies(ds[:2]))
	for _, d := range dead {
		equal(t, "reason of a dead letter", d.Properties.GetString(om.PropertyDeadReason, ""), "no use")
	}
	equalLists(t, "the dead letter with an id", bodies(t.findAll(q, om.MessageQuery{DeadFor: "tck", ID: ds[1].MessageID})), bodies(ds[1:2]))
	equal(t, "dead letters of a group without any", len(t.findAll(q, om.MessageQuery{DeadFor: "other"})), 0)
	_, err := rs.FindMessages(t.ctx, q, om.MessageQuery{DeadFor: "unknown"})
	t.Is(err, "dead letters of a group that is not there", om.CodeGroupNotFound)
	if t.Has(om.CapRedrive) {
		_, err := rs.Redrive(t.ctx, q, "tck", om.Redrive{IDs: []string{ds[0].MessageID}})
		t.NoError(err, "redrive")
		equalLists(t, "dead letters after one was redriven", bodies(t.findAll(q, om.MessageQuery{DeadFor: "tck"})), bodies(ds[1:2]))
	}
	t.ReceiveAndAck(other, 3)
}
