package memory_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// replyQueues returns the reply queues that are there.
func (f *fixture) replyQueues(ap om.AccessPoint) (names []string) {
	f.Helper()
	qs, err := ap.Resources().Queues(f.Context())
	f.ok(err)
	for _, q := range qs {
		if om.IsReplyQueue(q.Name) {
			names = append(names, q.Name)
		}
	}
	return names
}

func (f *fixture) producer(ap om.AccessPoint, opts ...om.ProducerOption) om.Producer {
	f.Helper()
	p, err := ap.NewProducer(f.Context(), opts...)
	f.ok(err)
	return p
}

// answering has a service answer what comes to "q".
func (f *fixture) answering(ap om.AccessPoint, answer func(ctx context.Context, d *om.Delivery) ([]byte, error)) om.PushConsumer {
	f.Helper()
	c, err := ap.NewPushConsumer(f.Context(), om.WithConcurrency(100), om.WithOnError(func(error) {}))
	f.ok(err)
	f.ok(c.Bind(f.Context(), oms.Answer(f.producer(ap), answer), "q"))
	return c
}

func TestRequestsShareOneReplyQueue(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		f.answering(ap, func(_ context.Context, d *om.Delivery) ([]byte, error) { return d.Body, nil })
		p := f.producer(ap)
		if names := f.replyQueues(ap); len(names) != 0 {
			t.Errorf("before the first request there are %q", names)
		}
		var answered atomic.Int32
		for i := range 200 {
			go func() {
				reply, err := p.Request(f.Context(), om.NewMessage("q", fmt.Append(nil, i)))
				if err != nil || string(reply.Body) != fmt.Sprint(i) {
					t.Errorf("%d: %v, %v", i, reply, err)
				}
				answered.Add(1)
			}()
		}
		synctest.Wait()
		if n := answered.Load(); n != 200 || len(f.replyQueues(ap)) != 1 {
			t.Errorf("%d answers, reply queues %q", n, f.replyQueues(ap))
		}
		f.ok(p.Close(f.Context()))
		if names := f.replyQueues(ap); len(names) != 0 {
			t.Errorf("after the close there are %q", names)
		}
	})
}

// TestRequestEnds: what ends a request, and that it leaves nothing behind.
func TestRequestEnds(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		p := f.producer(ap)
		_, err := p.Request(f.within(time.Second), om.NewMessage("q", nil))
		if !errors.Is(err, om.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline: %v", err)
		}
		_, err = p.Request(f.Context(), om.NewMessage("nowhere", nil))
		f.is(err, om.CodeDestinationNotFound)
		_, err = p.Request(f.Context(), nil)
		f.is(err, om.CodeBadParameter)
		own := om.NewMessage("q", nil)
		own.Ext.CorrelationID = "own"
		ends := make(chan error, 1)
		go func() { _, err := p.Request(f.Context(), own); ends <- err }()
		synctest.Wait()
		_, err = p.Request(f.Context(), own)
		f.is(err, om.CodeBadParameter) // under way
		f.ok(p.Stop(f.Context()))
		f.is(<-ends, om.CodeNotRunning)
		f.ok(p.Start(f.Context()))
		go func() { _, err := p.Request(f.Context(), own); ends <- err }()
		synctest.Wait()
		f.ok(p.Close(f.Context()))
		f.is(<-ends, om.CodeClosed)
		if _, err = p.Request(f.Context(), own); !errors.Is(err, om.CodeClosed) {
			t.Error(err)
		}
	})
}

// TestReplyQueueIsMadeAgain: one that was deleted ends what waits, and the next
// request makes another.
func TestReplyQueueIsMadeAgain(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		p := f.producer(ap)
		ends := make(chan error, 1)
		go func() { _, err := p.Request(f.Context(), om.NewMessage("q", nil)); ends <- err }()
		synctest.Wait()
		names := f.replyQueues(ap)
		f.ok(ap.Resources().DeleteQueue(f.Context(), names[0]))
		f.is(<-ends, om.CodeTimeout)
		f.answering(ap, func(context.Context, *om.Delivery) ([]byte, error) { return []byte("here"), nil })
		reply, err := p.Request(f.Context(), om.NewMessage("q", nil))
		f.ok(err)
		if now := f.replyQueues(ap); string(reply.Body) != "here" || len(now) != 1 || now[0] == names[0] {
			t.Errorf("%q by %q, after %q", reply.Body, now, names)
		}
	})
}

func TestAnswerFails(t *testing.T) {
	clients(t, func(f *fixture, ap om.AccessPoint) {
		var panics atomic.Int32
		service := f.answering(ap, func(_ context.Context, d *om.Delivery) ([]byte, error) {
			switch string(d.Body) {
			case "plain":
				return nil, errors.New("no such customer")
			case "code":
				return nil, om.NewError(om.CodeForbidden, "look", "x", "not for you")
			case "panic":
				if panics.Add(1) == 1 {
					panic("once")
				}
			}
			return []byte("fine"), nil
		})
		p := f.producer(ap)
		ask := func(body string) (string, error) {
			reply, err := p.Request(f.within(time.Hour), om.NewMessage("q", []byte(body)))
			if err != nil {
				return "", err
			}
			return string(reply.Body), nil
		}
		_, err := ask("plain")
		var e *om.Error
		if !errors.As(err, &e) || e.Op != "answer" || e.Code != om.CodeServerError || e.Err.Error() != "no such customer" {
			t.Errorf("%v", err)
		}
		_, err = ask("code")
		f.is(err, om.CodeForbidden)
		if body, err := ask("panic"); body != "fine" || err != nil { // it is given again
			t.Errorf("%q, %v", body, err)
		}
		// Nobody waits for the reply any more: the request is settled all the same.
		gone := om.NewMessage("q", nil)
		gone.Ext.CorrelationID, gone.Properties[om.PropertyReplyTo] = "x", om.String("default://"+om.ReplyQueuePrefix+"gone")
		_, err = p.Send(f.Context(), gone)
		f.ok(err)
		synctest.Wait()
		// What is no request becomes a dead letter.
		_, err = p.Send(f.Context(), om.NewMessage("q", []byte("no request")))
		f.ok(err)
		time.Sleep(24 * time.Hour)
		f.ok(service.Close(f.Context()))
		gs, err := ap.Resources().Groups(f.Context(), "q")
		f.ok(err)
		if g := gs[0]; g.Lag != 0 {
			t.Errorf("%+v", g)
		}
		ps, err := ap.Resources().Partitions(f.Context(), om.DeadLetterQueue("q", "default"))
		f.ok(err)
		if ps[0].End != 1 {
			t.Errorf("%d dead letters", ps[0].End)
		}
	})
}

// TestReplyFailureIsBounded: what others write into a reply makes no odd errors.
func TestReplyFailureIsBounded(t *testing.T) {
	m := om.NewMessage("q", nil)
	if err := om.ReplyFailure(m, "q"); err != nil {
		t.Error(err)
	}
	m.Properties[om.PropertyReplyError] = om.String("why")
	for _, v := range []om.Value{{}, om.Integer(-1), om.Long(1 << 60), om.String("1404")} {
		m.Properties[om.PropertyReplyCode] = v
		if err := om.ReplyFailure(m, "q"); om.CodeOf(err) != om.CodeServerError {
			t.Errorf("%v: %v", v, err)
		}
	}
}
