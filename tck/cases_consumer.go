package tck

import (
	"context"
	"fmt"
	"slices"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var consumerCases = table{
	"R061": unackedComesBack,
	"R062": ackedStaysAway,
	"R063": unbindStops,
	"R064": boundQueuesListed,
	"R065": bindUnknownQueue,
	"R066": bindMany,
	"R097": p2pOneWinner,
}

func unackedComesBack(t *trial) {
	q := t.Queue()
	t.Send(t.Producer(), message(q, "a"))
	gone := t.Pull([]string{q})
	id := t.Receive(gone).MessageID
	t.NoError(gone.Close(t.ctx), "close")
	silent := t.Pull([]string{q}, om.WithLease(t.Lease))
	equal(t, "id after the consumer closed without an acknowledgement", t.Receive(silent).MessageID, id)
	equal(t, "id after the lease has ended", t.Receive(t.Pull([]string{q})).MessageID, id)
}

func ackedStaysAway(t *trial) {
	q := t.Queue()
	t.SendAll(t.Producer(), q, "a", "b", "c")
	c := t.Pull([]string{q}, om.WithLease(t.Lease))
	t.Ack(c, t.ReceiveN(c, 3)...)
	t.pause(t.Lease + t.Slack)
	t.Nothing(c, "what was acknowledged must not come again after its lease")
	t.NoError(c.Close(t.ctx), "close")
	t.Nothing(t.Pull([]string{q}), "what was acknowledged must not come again to another consumer of the group")
}

func unbindStops(t *trial) {
	q, other := t.Queue(), t.Queue()
	p := t.Producer()
	seen := newLog()
	push := t.Push(om.WithGroup("push"))
	handler := func(_ context.Context, d *om.Delivery) error {
		seen.add(string(d.Body))
		return nil
	}
	t.NoError(push.Bind(t.ctx, handler, q, other), "bind")
	pull := t.Pull([]string{q, other}, om.WithGroup("pull"))
	t.Send(p, message(q, "before"))
	t.await(seen, 1, "messages to the handler")
	t.Ack(pull, t.Receive(pull))
	t.NoError(push.Unbind(t.ctx, q), "unbind")
	t.NoError(pull.Unbind(t.ctx, q), "unbind")
	t.SendAll(p, q, "after", "after")
	t.Send(p, message(other, "other"))
	equal(t, "body of what a pull consumer receives", string(t.Receive(pull).Body), "other")
	t.await(seen, 2, "messages to the handler")
	t.Nothing(pull, "a queue that was unbound must bring nothing")
	equalLists(t, "messages to the handler", seen.all(), []string{"before", "other"})
}

func boundQueuesListed(t *trial) {
	a, b := t.Queue(), t.Queue()
	c := t.Pull(nil)
	if got := c.Queues(); len(got) != 0 {
		t.Errorf("a consumer without queues lists %v", got)
	}
	t.NoError(c.Bind(t.ctx, b, a), "bind")
	want := []string{a, b}
	slices.Sort(want)
	equalLists(t, "bound queues", c.Queues(), want)
	t.NoError(c.Unbind(t.ctx, a), "unbind")
	equalLists(t, "bound queues after unbind", c.Queues(), []string{b})
	p := t.Push()
	t.NoError(p.Bind(t.ctx, func(context.Context, *om.Delivery) error { return nil }, a), "bind")
	equalLists(t, "bound queues of a push consumer", p.Queues(), []string{a})
	t.NoError(p.Unbind(t.ctx, a), "unbind")
	if got := p.Queues(); len(got) != 0 {
		t.Errorf("after unbind a push consumer lists %v", got)
	}
}

func bindUnknownQueue(t *trial) {
	missing := t.Missing()
	for range 2 { // the first must not have made it
		t.Is(t.Pull(nil).Bind(t.ctx, missing), "bind a pull consumer to a queue that does not exist", om.ErrDestination)
		err := t.Push().Bind(t.ctx, func(context.Context, *om.Delivery) error { return nil }, missing)
		t.Is(err, "bind a push consumer to a queue that does not exist", om.ErrDestination)
	}
}

func bindMany(t *trial) {
	queues := []string{t.Queue(), t.Queue(), t.Queue()}
	p := t.Producer()
	seen := newLog()
	push := t.Push(om.WithGroup("push"))
	t.NoError(push.Bind(t.ctx, func(_ context.Context, d *om.Delivery) error {
		seen.add(d.Destination)
		return nil
	}, queues...), "bind")
	pull := t.Pull(queues, om.WithGroup("pull"))
	for _, q := range queues {
		t.Send(p, message(q, "a"))
	}
	got := t.await(seen, 3, "messages to the handler")
	slices.Sort(got)
	slices.Sort(queues)
	equalLists(t, "queues of a push consumer's messages", got, queues)
	var pulled []string
	for range queues {
		pulled = append(pulled, t.Receive(pull).Destination)
	}
	slices.Sort(pulled)
	equalLists(t, "queues of a pull consumer's messages", pulled, queues)
}

func p2pOneWinner(t *trial) {
	const n, consumers = 60, 3
	q := t.manyPartitions()
	cs := make([]om.PullConsumer, consumers)
	for i := range cs {
		cs[i] = t.Pull([]string{q})
	}
	t.SendAll(t.Producer(), q, numbered(n)...)
	seen := newLog()
	ctx, cancel := context.WithCancel(t.ctx)
	var all sync.WaitGroup
	for _, c := range cs {
		all.Go(func() {
			for {
				d, err := c.Receive(ctx)
				if err != nil {
					return
				}
				seen.add(string(d.Body))
				if err := d.Ack(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("acknowledge: %v", err)
				}
			}
		})
	}
	t.await(seen, n, "messages to three consumers of one group")
	t.pause(t.Quiet)
	cancel()
	all.Wait()
	got := make(map[string]int)
	for _, b := range seen.all() {
		got[b]++
	}
	for b, times := range got {
		if times != 1 {
			t.Errorf("message %s went to %d consumers of one group", b, times)
		}
	}
	equal(t, "different messages received", len(got), n)
}

var pullCases = table{
	"R067": receiveBlocksThenGets,
	"R068": receiveTimeoutLosesNothing,
	"R069": receiveEndsOnStop,
	"R070": batchReceive,
	"R071": receiveAtPosition,
	"G13":  iteratorStops,
	"G14":  iteratorErrorLast,
}

func receiveBlocksThenGets(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	p := t.Producer()
	type result struct {
		d   *om.Delivery
		err error
	}
	got := make(chan result, 1)
	ctx, cancel := t.within(t.Arrive)
	defer cancel()
	go func() {
		d, err := c.Receive(ctx)
		got <- result{d, err}
	}()
	t.pause(t.Quiet)
	select {
	case r := <-got:
		t.Fatalf("Receive returned before a message was there: %s", shown(r.err))
	default:
	}
	t.Send(p, message(q, "later"))
	r := <-got
	t.NoError(r.err, "receive a message that is sent later")
	equal(t, "body", string(r.d.Body), "later")
}

func receiveTimeoutLosesNothing(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	p := t.Producer()
	for i := range 3 {
		ctx, cancel := t.within(t.Slack)
		_, err := c.Receive(ctx)
		cancel()
		t.Is(err, "a Receive that times out", om.ErrTimeout)
		t.Send(p, message(q, fmt.Sprint(i)))
		d := t.Receive(c)
		equal(t, "body of the message after a timeout", string(d.Body), fmt.Sprint(i))
		t.Ack(c, d)
	}
	t.SendAll(p, q, numbered(20)...)
	got := make(map[string]bool)
	for range 200 {
		ctx, cancel := context.WithTimeout(t.ctx, 1) // a nanosecond: it ends before, while or after a message is taken
		d, err := c.Receive(ctx)
		cancel()
		if err == nil {
			got[string(d.Body)] = true
		}
	}
	for _, d := range t.ReceiveN(c, 20-len(got)) {
		got[string(d.Body)] = true
	}
	equal(t, "messages received after and despite timeouts", len(got), 20)
}

func receiveEndsOnStop(t *trial) {
	for what, end := range map[string]func(om.PullConsumer) error{
		"Stop":  func(c om.PullConsumer) error { return c.Stop(t.ctx) },
		"Close": func(c om.PullConsumer) error { return c.Close(t.ctx) },
	} {
		c := t.Pull([]string{t.Queue()})
		got := make(chan error, 1)
		go func() {
			_, err := c.Receive(t.ctx)
			got <- err
		}()
		t.pause(t.Slack)
		var err error
		if !t.Ends(what+" while a Receive blocks", t.Arrive, func() { err = end(c) }) {
			return
		}
		t.Succeeds(err, what)
		t.Ends("a blocked Receive after "+what, t.Arrive, func() { err = <-got })
		if err == nil {
			t.Errorf("a Receive that %s ended returned no error", what)
		}
	}
}

func batchReceive(t *trial) {
	q := t.Queue()
	c := t.Pull([]string{q})
	t.SendAll(t.Producer(), q, numbered(10)...)
	total := 0
	for total < 10 {
		ctx, cancel := t.within(t.Arrive)
		ds, err := c.ReceiveBatch(ctx, 4)
		cancel()
		t.NoError(err, "receive a batch")
		if len(ds) < 1 || len(ds) > 4 {
			t.Fatalf("a batch receive of at most 4 returned %d messages", len(ds))
		}
		total += len(ds)
	}
	equal(t, "messages in all", total, 10)
}

func receiveAtPosition(t *trial) {
	q := t.Queue()
	t.SendAll(t.Producer(), q, numbered(10)...)
	c := t.Pull([]string{q})
	t.Ack(c, t.ReceiveN(c, 10)...)
	partition, first := int32(0), int64(0)
	if t.Has(om.CapMetadata) {
		ps, err := t.AP().Resources().Partitions(t.ctx, q)
		t.NoError(err, "partitions")
		partition, first = ps[0].Partition, ps[0].Begin
	}
	for _, at := range []struct {
		p    om.Position
		want string
	}{{om.Begin(), "0"}, {om.AtOffset(first + 4), "4"}, {om.AtOffset(first + 9), "9"}} {
		ctx, cancel := t.within(t.Arrive)
		d, err := c.Receive(ctx, om.From(q, partition, at.p))
		cancel()
		if err != nil {
			t.Errorf("receive at %v: %v", at.p, err)
			continue
		}
		equal(t, fmt.Sprintf("body at %v", at.p), string(d.Body), at.want)
	}
	t.Nothing(c, "receiving from a position must not move the group")
}

func iteratorStops(t *trial) {
	q := t.Queue()
	t.SendAll(t.Producer(), q, "0", "1", "2")
	c := t.Pull([]string{q})
	ctx, cancel := t.within(t.Arrive)
	defer cancel()
	var first string
	t.Ends("breaking out of All", t.Arrive, func() {
		for d, err := range c.All(ctx) {
			if err != nil {
				t.Errorf("the iterator: %v", err)
			} else {
				first = d.MessageID
			}
			break
		}
	})
	t.NoError(c.Close(t.ctx), "close")
	var ids []string
	for _, d := range t.ReceiveN(t.Pull([]string{q}), 3) {
		ids = append(ids, d.MessageID)
	}
	if !slices.Contains(ids, first) {
		t.Errorf("the message at which the loop broke was not acknowledged, and did not come again")
	}
}

func iteratorErrorLast(t *trial) {
	c := t.Pull([]string{t.Queue()})
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	errs := 0
	t.Ends("an iterator whose context has ended", t.Arrive, func() {
		for d, err := range c.All(ctx) {
			if err == nil {
				t.Errorf("the iterator gave message %v although its context had ended", d.MessageID)
			} else if !is(err, context.Canceled) {
				t.Errorf("the iterator's error is %s, want one that matches context.Canceled", shown(err))
			}
			if errs++; errs > 1 {
				t.Errorf("the iterator went on after its error")
				return
			}
		}
	})
	equal(t, "errors of the iterator", errs, 1)
}
