package tck

import (
	"context"
	"fmt"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

var requestCases = table{
	"R100": rpc,
	"R147": requestTimeout,
	"R148": replyUnknown,
	"R149": manyRequests,
	"R150": replyQueueGone,
	"R151": replyToKept,
}

// asked is a request under way.
type asked struct {
	reply *om.Message
	err   error
}

// ask makes a request in a goroutine of its own.
func (t *trial) ask(p om.Producer, m *om.Message) <-chan asked {
	out := make(chan asked, 1)
	go func() {
		ctx, cancel := t.within(t.Arrive)
		defer cancel()
		reply, err := p.Request(ctx, m)
		out <- asked{reply, err}
	}()
	return out
}

// answered ends the case unless a request gets a reply with that body.
func (t *trial) answered(r <-chan asked, body string) *om.Message {
	a := <-r
	t.NoError(a.err, "request")
	equal(t, "body of the reply", string(a.reply.Body), body)
	return a.reply
}

// reply answers a request.
func (t *trial) reply(p om.Producer, request *om.Delivery, body string) {
	m, err := om.NewReply(request.Message, []byte(body))
	t.NoError(err, "the reply to a request")
	t.Send(p, m)
	t.NoError(request.Ack(t.ctx), "acknowledge the request")
}

// lateReplies returns a producer and the replies that it was too late for.
func (t *trial) lateReplies() (om.Producer, <-chan string) {
	late := make(chan string, 10)
	return t.Producer(om.WithOnLateReply(func(m *om.Message) {
		select {
		case late <- string(m.Body):
		default:
		}
	})), late
}

// told ends the case unless the late replies are these, in any order.
func (t *trial) told(late <-chan string, want ...string) {
	var got []string
	for range want {
		select {
		case body := <-late:
			got = append(got, body)
		case <-time.After(t.Arrive):
			t.Fatalf("of the late replies %q only %q were told", want, got)
		}
	}
	slices.Sort(got)
	equalLists(t, "late replies", got, want)
}

func rpc(t *trial) {
	q, ids := t.Queue(), make(chan string, 9)
	service := t.Push()
	t.NoError(service.Bind(t.ctx, oms.Answer(t.Producer(), func(_ context.Context, d *om.Delivery) ([]byte, error) {
		select {
		case ids <- d.Ext.CorrelationID:
		default: // given again
		}
		return []byte("reply to " + string(d.Body)), nil
	}), q), "bind")
	p := t.Producer()
	for _, id := range []string{"", unique("tck-request"), ""} {
		m := message(q, "question "+id)
		m.Ext.CorrelationID = id
		reply := t.answered(t.ask(p, m), "reply to question "+id)
		given := <-ids
		equal(t, "correlation id of the reply", reply.Ext.CorrelationID, given)
		if id != "" {
			equal(t, "correlation id of the request", given, id)
		} else if given == "" || m.Ext.CorrelationID != "" {
			t.Errorf("a request without a correlation id has %q, and the caller's message %q", given, m.Ext.CorrelationID)
		}
	}
	_, err := om.NewReply(message(q, "no request"), nil)
	t.Is(err, "the reply to what is no request", om.CodeBadParameter)
}

func requestTimeout(t *trial) {
	q := t.Queue()
	service, answers := t.Pull([]string{q}), t.Producer()
	p, late := t.lateReplies()
	t.answeredOnce(service, answers, p, q)
	ctx, cancel := t.within(t.Slack)
	_, err := p.Request(ctx, message(q, "slow"))
	cancel()
	t.Is(err, "a request that nobody answers", om.ErrTimeout, context.DeadlineExceeded)
	slow := t.Receive(service)
	equal(t, "body of the request that had a timeout", string(slow.Body), "slow")
	next := t.ask(p, message(q, "next"))
	d := t.Receive(service)
	t.reply(answers, slow, "late")
	t.told(late, "late")
	t.reply(answers, d, "in time")
	t.answered(next, "in time")
}

// answeredOnce has one request answered, which makes the reply queue.
func (t *trial) answeredOnce(service om.PullConsumer, answers, p om.Producer, q string) *om.Delivery {
	r := t.ask(p, message(q, "hello"))
	d := t.Receive(service)
	t.reply(answers, d, "hello")
	t.answered(r, "hello")
	return d
}

func replyUnknown(t *trial) {
	q := t.Queue()
	service, answers := t.Pull([]string{q}), t.Producer()
	p, late := t.lateReplies()
	r := t.ask(p, message(q, "question"))
	d := t.Receive(service)
	for body, id := range map[string]string{"forged": unique("forged"), "without id": ""} {
		m, err := om.NewReply(d.Message, []byte(body))
		t.NoError(err, "the reply to a request")
		m.Ext.CorrelationID = id
		t.Send(answers, m)
	}
	t.told(late, "forged", "without id")
	t.reply(answers, d, "genuine")
	t.answered(r, "genuine")
	m, _ := om.NewReply(d.Message, []byte("again"))
	t.Send(answers, m)
	t.told(late, "again")
}

func manyRequests(t *trial) {
	const n = 50
	q, p := t.Queue(), t.Producer()
	service, answers := t.Pull([]string{q}), t.Producer()
	rs := make([]<-chan asked, n)
	for i := range rs {
		rs[i] = t.ask(p, message(q, fmt.Sprint(i)))
	}
	ds := t.ReceiveN(service, n)
	for _, d := range slices.Backward(ds) {
		t.reply(answers, d, "reply to "+string(d.Body))
	}
	for i, r := range rs {
		t.answered(r, fmt.Sprint("reply to ", i))
	}
}

func replyQueueGone(t *trial) {
	q := t.Queue()
	service, answers, p := t.Pull([]string{q}), t.Producer(), t.Producer()
	d := t.answeredOnce(service, answers, p, q)
	t.NoError(p.Stop(t.ctx), "stop the producer that asked")
	m, err := om.NewReply(d.Message, []byte("to nobody"))
	t.NoError(err, "the reply to a request")
	_, err = answers.Send(t.ctx, m)
	t.Is(err, "a reply to a producer that was stopped", om.ErrDestination)
	t.NoError(p.Start(t.ctx), "start the producer again")
	t.answeredOnce(service, answers, p, q)
	if t.Has(om.CapAdmin) {
		t.queueExpires()
	}
}

func (t *trial) queueExpires() {
	const life = time.Second
	rs, q := t.AP().Resources(), om.JoinQueueName(t.Namespace(), "expires")
	t.NoError(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q, Expires: life}), "create a queue that expires")
	c, err := rs.Queue(t.ctx, q)
	t.NoError(err, "describe the queue")
	equal(t, "Expires of the queue", c.Expires, life)
	used := t.Pull([]string{q})
	t.wait(2 * life)
	p := t.Producer()
	if _, err := p.Send(t.ctx, message(q, "in use")); err != nil {
		t.Fatalf("a queue expired while a receiver was open: %v", err)
	}
	t.NoError(used.Close(t.ctx), "close the consumer")
	begin := time.Now()
	for {
		if _, err = rs.Queue(t.ctx, q); err != nil {
			break
		}
		if time.Since(begin) > t.Arrive {
			t.Fatalf("a queue that nobody has used for %v is still there; it expires after %v", t.Arrive, life)
		}
		t.wait(life / 20)
	}
	t.Is(err, "a queue that has expired", om.CodeDestinationNotFound)
	if past := time.Since(begin); past < life-t.Slack {
		t.Errorf("a queue expired %v after it was used, not %v", past, life)
	}
	t.Is(rs.CreateQueue(t.ctx, om.QueueConfig{Name: q, Expires: -life}), "a queue that expires before it is made", om.CodeBadParameter)
}

// wait lets time pass.
func (t *trial) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.Fatalf("the time of the case is over")
	}
}

func replyToKept(t *trial) {
	asked := t.Queue()
	q := asked
	if t.Has(om.CapRouting) {
		q = t.Queue()
		_, err := t.route(asked, q)
		t.NoError(err, "create a route")
	}
	service, answers, p := t.Pull([]string{q}, om.WithLease(t.Lease)), t.Producer(), t.Producer()
	m := message(asked, "question")
	m.Properties["own"] = om.String("property")
	if t.Has(om.CapCompression) {
		m.Compression = "gzip"
	}
	r := t.ask(p, m)
	first := t.Receive(service)
	if t.Has(om.CapNack) {
		t.NoError(first.Nack(t.ctx, 0), "give the request back")
	}
	second := t.Receive(service)
	to := first.Properties.GetString(om.PropertyReplyTo, "")
	equal(t, "the reply-to of another delivery", second.Properties.GetString(om.PropertyReplyTo, ""), to)
	equal(t, "the correlation id of another delivery", second.Ext.CorrelationID, first.Ext.CorrelationID)
	equal(t, "a property of the request", second.Properties.GetString("own", ""), "property")
	if to == "" || len(m.Properties) != 1 {
		t.Errorf("the request has the reply-to %q, and the caller's message %d properties", to, len(m.Properties))
	}
	t.reply(answers, second, "answer")
	t.answered(r, "answer")
	r = t.ask(p, message(asked, "forbidden"))
	d := t.Receive(service)
	reply, err := om.NewReply(d.Message, nil)
	t.NoError(err, "the reply to a request")
	om.SetReplyFailure(reply, om.NewError(om.CodeForbidden, "", "", "not for you"))
	t.Send(answers, reply)
	t.Is((<-r).err, "a request that is refused", om.CodeForbidden)
}
