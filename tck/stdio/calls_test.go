//go:build unix

package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func receipt(s string) json.RawMessage { return json.RawMessage(s) }

func TestInfoAfterOpen(t *testing.T) {
	d := Driver("child", command("store"))
	c, err := d.Open(t.Context(), config(t, ""))
	ok(t, err)
	if d.Info() != (spi.Info{Name: "child", Version: "7", SpecVersion: "1.0.9-beta"}) {
		t.Error(d.Info())
	}
	if caps := c.Capabilities(); len(caps) != 2 || !caps.Has(om.CapTransaction) || !caps.Has(om.CapNack) {
		t.Error(caps)
	}
	ok(t, c.Close(t.Context()))
	ok(t, c.Close(t.Context()))
	fails(t, c.(spi.Pinger).Ping(t.Context()), om.CodeClosed)
}

func TestSendAndReceive(t *testing.T) {
	c := opened(t, command("store"))
	bad := om.NewMessage("q", nil)
	bad.Properties["x"] = om.Object(om.Properties{"y": om.String("\xff")})
	outs, err := sends(t, c).Send(t.Context(), []*om.Message{bad, om.NewMessage("q", []byte("a")), om.NewMessage("q", nil)})
	ok(t, err)
	fails(t, outs[0].Err, om.CodeMalformedMessage, "not valid UTF-8")
	if want := (om.SendResult{MessageID: "m", Partition: 3, Offset: 1<<53 + 1}); outs[1].SendResult != want || outs[1].Err != nil {
		t.Error(outs[1])
	}
	fails(t, outs[2].Err, om.CodeDestinationNotFound, `send "other"`)
	if outs[2].Partition != -1 || outs[2].Offset != -1 {
		t.Error(outs[2])
	}
	r := receives(t, c)
	got, err := r.Receive(t.Context(), 10)
	ok(t, err)
	if len(got) != 2 || string(got[0].Message.Body) != "a" || got[1].Offset != 1 || got[0].Partition != 1 ||
		!got[0].LeaseUntil.Equal(time.UnixMilli(1517961600123)) || got[1].Message.Properties == nil {
		t.Errorf("%+v", got)
	}
	errs, err := r.Ack(t.Context(), []spi.Receipt{got[0].Receipt, got[1].Receipt})
	ok(t, err)
	if errs[0] != nil {
		t.Error(errs[0])
	}
	fails(t, errs[1], om.CodeStaleReceipt, `ack "q"`, `{"n":12345678901234567890,"x":"`)
	_, err = r.Ack(t.Context(), []spi.Receipt{17})
	fails(t, err, om.CodeBadParameter, "none of this driver")
	ok(t, r.Close(t.Context()))
	ok(t, r.Close(t.Context()))
	_, err = r.Receive(t.Context(), 1)
	fails(t, err, om.CodeClosed)
}

func TestMessageLargerThanALine(t *testing.T) {
	c := opened(t, command("store"))
	big := om.NewMessage("q", make([]byte, 25<<20))
	outs, err := sends(t, c).Send(t.Context(), []*om.Message{big, om.NewMessage("q", nil)})
	ok(t, err)
	fails(t, outs[0].Err, om.CodeBodyTooLarge)
	ok(t, outs[1].Err)
	half := om.NewMessage("q", make([]byte, 13<<20))
	_, err = sends(t, c).Send(t.Context(), []*om.Message{half, half})
	fails(t, err, om.CodeBodyTooLarge, "send less at once")
	ok(t, c.Ping(t.Context()))
}

func TestG04_context_unblocks(t *testing.T) {
	c := opened(t, command("store"))
	r := receives(t, c)
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.Receive(ended, 1); !errors.Is(err, context.Canceled) || c.waiting() != 0 {
		t.Error(err)
	}
	soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := r.Receive(soon, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n := c.waiting(); n != 0 {
		t.Errorf("the child did not answer %d calls", n)
	}
	ok(t, c.Ping(t.Context()))
}

// waiting returns how many calls have no answer.
func (l *link) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

// TestStubbornCall lets a child answer a canceled call after the grace.
func TestStubbornCall(t *testing.T) {
	c := opened(t, command("store"))
	c.grace = 30 * time.Millisecond
	r := receives(t, c)
	ok(t, c.Ping(t.Context())) // from here on it ignores cancels
	soon, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, err := r.Receive(soon, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	_, err := sends(t, c).Send(t.Context(), []*om.Message{om.NewMessage("q", nil)})
	ok(t, err)
	ok(t, c.Ping(t.Context())) // answered behind the late answer
	if n := c.waiting(); n != 0 {
		t.Errorf("%d calls are not forgotten", n)
	}
}

// TestLateHandle lets an answer with a handle come when nobody waits for it.
func TestLateHandle(t *testing.T) {
	l := newLink("fake", nil, time.Minute)
	l.pending[5] = &pending{abandoned: true}
	l.abandoned = 1
	ok(t, l.dispatch(&answer{ID: 5, Handle: 77}))
	line := string(<-l.lines)
	if line != `{"id":1,"op":"close","handle":77}`+"\n" {
		t.Error(line)
	}
	ok(t, l.dispatch(&answer{ID: 1}))
	l.work.Wait()
	if l.abandoned != 0 || len(l.pending) != 0 {
		t.Error(l.abandoned, l.pending)
	}
	l.stop()
}

func TestR083_checker_is_asked(t *testing.T) {
	c := opened(t, command("checks"))
	verdicts := map[string]om.TxVerdict{"commit": om.TxCommit, "rollback": om.TxRollback, "unknown": om.TxUnknown}
	next := make(chan om.TxVerdict, 1)
	s, err := c.NewSender(t.Context(), spi.SenderConfig{Checker: func(_ context.Context, m *om.Message) om.TxVerdict {
		if m.Ext.TransactionID != "tx-1" || string(m.Body) != "hi" {
			t.Errorf("%+v", m)
		}
		return <-next
	}})
	ok(t, err)
	for told, v := range verdicts {
		next <- v
		fails(t, c.Ping(t.Context()), om.CodeServerError, told)
	}
	ok(t, s.Close(t.Context()))
	fails(t, c.Ping(t.Context()), om.CodeServerError, "unknown")
}

// TestRequests compares what each call writes.
func TestRequests(t *testing.T) {
	c := opened(t, command("tells"))
	ctx := t.Context()
	s, r := sends(t, c), receives(t, c) // calls 3 and 4, handles 103 and 104
	rs := []spi.Receipt{receipt(`[1]`)}
	m := om.NewMessage("q", []byte("hi"))
	for _, call := range []struct {
		want string
		do   func() error
	}{
		{`"op":"ping"`, func() error { return c.Ping(ctx) }},
		{`"op":"send","handle":103,"messages":[{"destination":"q","body":"aGk="}]`, func() error { _, err := s.Send(ctx, []*om.Message{m}); return err }},
		{`"op":"receive","handle":104,"max":7`, func() error { _, err := r.Receive(ctx, 7); return err }},
		{`"op":"ack","handle":104,"receipts":[[1]]`, func() error { _, err := r.Ack(ctx, rs); return err }},
		{`"op":"nack","handle":104,"delay_ms":0,"receipts":[[1]]`, func() error { _, err := r.(spi.Nacker).Nack(ctx, rs, 0); return err }},
		{`"op":"extend","handle":104,"lease_ms":2,"receipts":[[1]]`, func() error {
			_, err := r.(spi.Leaser).Extend(ctx, rs, 1001*time.Microsecond)
			return err
		}},
		{`"op":"reject","handle":104,"reason":"why","receipts":[[1]]`, func() error { _, err := r.(spi.DeadLetterer).Reject(ctx, rs, "why"); return err }},
		{`"op":"prepare","handle":103,"message":{"destination":"q","body":"aGk="}`, func() error { _, _, err := s.(spi.Transactor).Prepare(ctx, m, om.TransactionCheck{}); return err }},
		{`"op":"commit","handle":103,"tx":"t"`, func() error { return s.(spi.Transactor).Commit(ctx, "t") }},
		{`"op":"rollback","handle":103,"tx":"t"`, func() error { return s.(spi.Transactor).Rollback(ctx, "t") }},
		{`"op":"create_namespace","handle":9,"name":"n"`, func() error { return c.CreateNamespace(ctx, "n") }},
		{`"op":"delete_namespace","handle":9,"name":"n"`, func() error { return c.DeleteNamespace(ctx, "n") }},
		{`"op":"namespaces","handle":9`, func() error { _, err := c.Namespaces(ctx); return err }},
		{`"op":"create_queue","handle":9,"config":{"name":"q","partitions":2}`, func() error { return c.CreateQueue(ctx, om.QueueConfig{Name: "q", Partitions: 2}) }},
		{`"op":"delete_queue","handle":9,"queue":"q"`, func() error { return c.DeleteQueue(ctx, "q") }},
		{`"op":"queue","handle":9,"queue":"q"`, func() error { _, err := c.Queue(ctx, "q"); return err }},
		{`"op":"queues","handle":9,"namespace":"n"`, func() error { _, err := c.Queues(ctx, "n"); return err }},
		{`"op":"delete_group","handle":9,"queue":"q","group":"g"`, func() error { return c.DeleteGroup(ctx, "q", "g") }},
		{`"op":"partitions","handle":9,"queue":"q"`, func() error { _, err := c.Partitions(ctx, "q"); return err }},
		{`"op":"groups","handle":9,"queue":"q"`, func() error { _, err := c.Groups(ctx, "q"); return err }},
		{`"op":"seek","handle":9,"queue":"q","group":"g","position":{"at":"end"}`, func() error { return c.SeekGroup(ctx, "q", "g", om.End()) }},
		{`"op":"resolve","handle":9,"queue":"q","position":{"at":"offset","offset":"-5"},"partition":0`, func() error { _, err := c.Resolve(ctx, "q", 0, om.AtOffset(-5)); return err }},
		{`"op":"resolve","handle":9,"queue":"q","position":{"at":"time","time":2},"partition":1`, func() error {
			_, err := c.Resolve(ctx, "q", 1, om.AtTime(time.Unix(0, 1_000_001)))
			return err
		}},
		{`"op":"read","handle":9,"queue":"q","partition":0,"offset":"0","max":5`, func() error { _, err := c.ReadAt(ctx, "q", 0, 0, 5); return err }},
		{`"op":"await","handle":9,"queue":"q","partition":2,"offset":"9"`, func() error { return c.Await(ctx, "q", 2, 9) }},
		{`"op":"set_filter","handle":9,"queue":"q","filter":{"type":"sql","expression":"a=1"}`, func() error { return c.SetFilter(ctx, "q", om.SQL("a=1")) }},
		{`"op":"create_route","handle":9,"route":{"name":"r","source":"a","target":"b"}`, func() error {
			return c.CreateRoute(ctx, om.RouteConfig{Name: "r", Source: "a", Target: "b"})
		}},
		{`"op":"update_route","handle":9,"route":{"name":"r","source":"a","target":"b","filter":{"type":"tag","expression":"x"},"start":{"at":"end"},"operators":[{"type":"set","properties":{"k":{"t":"bool","v":true}}},{"type":"drop","keys":["x"]}]}`, func() error {
			return c.UpdateRoute(ctx, om.RouteConfig{Name: "r", Source: "a", Target: "b", Filter: om.Tag("x"), Start: om.End(), Operators: []om.Operator{
				om.SetProperties(om.Properties{"k": om.Bool(true)}), om.DropProperties("x"),
			}})
		}},
		{`"op":"delete_route","handle":9,"name":"r"`, func() error { return c.DeleteRoute(ctx, "r") }},
		{`"op":"routes","handle":9`, func() error { _, err := c.Routes(ctx); return err }},
		{`"op":"create_queue","handle":9,"config":{"name":"q","expires_ms":1500}`, func() error { return c.CreateQueue(ctx, om.QueueConfig{Name: "q", Expires: 1500 * time.Millisecond}) }},
	} {
		var e *om.Error
		if err := call.do(); !errors.As(err, &e) || e.Code != om.CodeBadParameter {
			t.Fatal(call.want, err)
		}
		if _, told, _ := strings.Cut(e.Err.Error(), ","); told != call.want+"}" {
			t.Errorf("wrote %s, not %s", told, call.want)
		}
	}
}

func TestAnswers(t *testing.T) {
	a, err := decode([]byte(`{"id":1,"names":["a"],"config":{"name":"d://q","partitions":1,"description":"x"},
		"partitions":[{"queue":"q","partition":1,"begin":"2","end":"9223372036854775807","messages":"3"}],
		"groups":[{"queue":"q","group":"g","consumers":1,"lag":2,"in_flight":3,"lost":4,"redelivered":5,"oldest_lease":6,
			"partitions":[{"partition":1,"cursor":"7","lag":8,"in_flight":9}]}],
		"routes":[{"name":"r","source":"a","target":"b","filter":{"type":"tag","expression":"x"}}]}`))
	ok(t, err)
	if a.Config.value() != (om.QueueConfig{Name: "d://q", Partitions: 1, Description: "x"}) {
		t.Error(a.Config)
	}
	if p := values(a.Partitions); p[0] != (om.PartitionInfo{Queue: "q", Partition: 1, Begin: 2, End: 1<<63 - 1, Messages: 3}) {
		t.Error(p)
	}
	if r := values(a.Routes); !reflect.DeepEqual(r[0], om.RouteConfig{Name: "r", Source: "a", Target: "b", Filter: om.Tag("x")}) {
		t.Error(r)
	}
	g := values(a.Groups)[0]
	if g.Partitions[0] != (om.GroupPartition{Partition: 1, Cursor: 7, Lag: 8, InFlight: 9}) || g.Consumers != 1 || g.Lag != 2 ||
		g.InFlight != 3 || g.Lost != 4 || g.Redelivered != 5 || g.OldestLease.UnixMilli() != 6 {
		t.Errorf("%+v", g)
	}
}

func TestStderrIsHandedOn(t *testing.T) {
	r, w := io.Pipe()
	k := command("exits-later")
	k.Stderr = w
	said := make(chan string)
	go func() {
		b := make([]byte, len("boom\nbang\n"))
		_, _ = io.ReadFull(r, b)
		said <- string(b)
	}()
	c := opened(t, k)
	fails(t, c.Ping(t.Context()), om.CodeServiceUnavailable)
	if s := <-said; s != "boom\nbang\n" {
		t.Errorf("%q", s)
	}
}
