package stdio_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/stdio"
)

const url = "oms:python://local/test"

func python(t *testing.T) spi.Driver {
	t.Helper()
	path, err := exec.LookPath("python3")
	switch {
	case err != nil && os.Getenv("TEST_PROGRAMS") == "required":
		t.Fatal("the driver in Python needs python3: install it")
	case err != nil:
		t.Skip("NOT TESTED: the driver in Python needs python3; install it")
	}
	return stdio.Driver("python", stdio.Command{Path: path, Args: []string{"../../examples/pydriver/driver.py"}, Share: true})
}

func registry(t *testing.T) *spi.Registry {
	t.Helper()
	drivers := new(spi.Registry)
	drivers.Register(python(t))
	return drivers
}

func pythonPoint(t *testing.T) om.AccessPoint {
	t.Helper()
	ap, err := oms.Open(t.Context(), url, oms.WithRegistry(registry(t)))
	must(t, err)
	t.Cleanup(func() { must(t, ap.Close(context.Background())) })
	must(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
	return ap
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pull(t *testing.T, ap om.AccessPoint, opts ...om.ConsumerOption) om.PullConsumer {
	t.Helper()
	c, err := ap.NewPullConsumer(t.Context(), opts...)
	must(t, err)
	must(t, c.Bind(t.Context(), "q"))
	return c
}

func producer(t *testing.T, ap om.AccessPoint) om.Producer {
	t.Helper()
	p, err := ap.NewProducer(t.Context())
	must(t, err)
	return p
}

func next(t *testing.T, c om.PullConsumer) *om.Delivery {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	d, err := c.Receive(ctx)
	must(t, err)
	return d
}

func empty(t *testing.T, c om.PullConsumer) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if d, err := c.Receive(ctx); !errors.Is(err, om.ErrTimeout) {
		t.Errorf("%v, %v", d, err)
	}
}

func TestPythonSendAndReceive(t *testing.T) {
	ap := pythonPoint(t)
	p, c := producer(t, ap), pull(t, ap)
	m := om.NewMessage("q", []byte{0, 255})
	m.Properties["n"], m.Properties["f"] = om.Long(-1<<63), om.Float(0.1)
	m.Ext.MessageKey, m.Ext.CorrelationID, m.Ext.TraceID = "k", "c", "t"
	r, err := p.Send(t.Context(), m)
	must(t, err)
	d := next(t, c)
	if r.MessageID == "" || d.MessageID != r.MessageID || !d.Properties.Equal(m.Properties) || string(d.Body) != "\x00\xff" ||
		!d.BornAt.Equal(m.BornAt) || d.BornHost != m.BornHost || d.Destination != "q" || d.Ext.DeliveryCount != 1 || d.Ext.MessageKey != "k" {
		t.Errorf("%+v", d.Message)
	}
	must(t, d.Ack(t.Context()))
	must(t, d.Ack(t.Context()))
	empty(t, c)

	var batch []*om.Message
	for i := range 100 {
		batch = append(batch, om.NewMessage("q", fmt.Append(nil, i)))
	}
	batch[50].Destination = "nowhere"
	rs, err := p.SendBatch(t.Context(), batch)
	var some *om.BatchError
	if !errors.As(err, &some) || some.Failed() != 1 || !errors.Is(some.At(50), om.CodeDestinationNotFound) {
		t.Fatal(err)
	}
	var ids []string
	for i, r := range rs {
		if i == 50 {
			continue
		}
		d := next(t, c)
		if d.MessageID != r.MessageID || string(d.Body) != fmt.Sprint(i) {
			t.Errorf("%d: %s %s", i, d.MessageID, d.Body)
		}
		ids = append(ids, d.MessageID)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 99 {
		t.Error("ids repeat")
	}
}

func TestPythonUnackedComesBack(t *testing.T) {
	ap := pythonPoint(t)
	_, err := producer(t, ap).Send(t.Context(), om.NewMessage("q", []byte("a")))
	must(t, err)
	c := pull(t, ap)
	first := next(t, c)
	must(t, c.Close(t.Context()))

	c = pull(t, ap)
	second := next(t, c)
	if second.MessageID != first.MessageID || second.Ext.DeliveryCount != 2 {
		t.Errorf("%+v", second.Message)
	}
	must(t, second.Nack(t.Context(), 0))
	third := next(t, c)
	if third.Ext.DeliveryCount != 3 {
		t.Errorf("%+v", third.Message)
	}
	if err := second.Ack(t.Context()); !errors.Is(err, om.CodeStaleReceipt) {
		t.Error(err)
	}
	must(t, third.Ack(t.Context()))
	empty(t, c)

	// Another group has its own progress.
	if d := next(t, pull(t, ap, om.WithGroup("other"))); d.MessageID != first.MessageID || d.Ext.DeliveryCount != 1 {
		t.Errorf("%+v", d.Message)
	}
	empty(t, pull(t, ap, om.WithGroup("late"), om.WithStart(om.End())))
}

func TestPythonLeaseEnds(t *testing.T) {
	ap := pythonPoint(t)
	_, err := producer(t, ap).Send(t.Context(), om.NewMessage("q", nil))
	must(t, err)
	c := pull(t, ap, om.WithLease(700*time.Millisecond))
	first := next(t, c)
	second := next(t, c)
	if first.MessageID != second.MessageID || second.Ext.DeliveryCount != 2 {
		t.Errorf("%+v", second.Message)
	}
	if err := first.Ack(t.Context()); !errors.Is(err, om.CodeStaleReceipt) {
		t.Error(err)
	}
	must(t, second.Extend(t.Context(), time.Minute))
	empty(t, c)
	must(t, second.Ack(t.Context()))
}

func TestPythonErrors(t *testing.T) {
	ap := pythonPoint(t)
	ctx, p, rs := t.Context(), producer(t, ap), ap.Resources()
	_, err := p.Send(ctx, om.NewMessage("nowhere", nil))
	if !errors.Is(err, om.CodeDestinationNotFound) {
		t.Error(err)
	}
	c, err := ap.NewPullConsumer(ctx)
	must(t, err)
	if err := c.Bind(ctx, "nowhere"); !errors.Is(err, om.CodeDestinationNotFound) {
		t.Error(err)
	}
	must(t, rs.CreateNamespace(ctx, "n"))
	must(t, rs.CreateQueue(ctx, om.QueueConfig{Name: "n://q", Description: "d"}))
	if q, err := rs.Queue(ctx, "n://q"); err != nil || q.Name != "n://q" || q.Description != "d" {
		t.Error(q, err)
	}
	for what, c := range map[string]struct {
		err  error
		code om.Code
	}{
		"queue again":     {rs.CreateQueue(ctx, om.QueueConfig{Name: "q"}), om.CodeDestinationExists},
		"namespace again": {rs.CreateNamespace(ctx, "n"), om.CodeNamespaceExists},
		"no queue":        {rs.DeleteQueue(ctx, "x"), om.CodeDestinationNotFound},
		"no namespace":    {rs.DeleteNamespace(ctx, "x"), om.CodeNamespaceNotFound},
		"namespace used":  {rs.DeleteNamespace(ctx, "n"), om.CodeBadParameter},
		"no group":        {rs.DeleteGroup(ctx, "q", "x"), om.CodeGroupNotFound},
		"partitions":      {rs.CreateQueue(ctx, om.QueueConfig{Name: "p", Partitions: 2}), om.CodeUnsupported},
		"filter":          {rs.SetFilter(ctx, "q", om.SQL("a=1")), om.CodeUnsupported},
	} {
		if !errors.Is(c.err, c.code) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	_, err = oms.Open(ctx, url+"?colour=red", oms.WithRegistry(registry(t)))
	if !errors.Is(err, om.CodeMalformedURL) {
		t.Error(err)
	}
}

// TestPythonIsShared has two connections at one time, and then a new child.
func TestPythonIsShared(t *testing.T) {
	drivers := registry(t)
	open := func() om.AccessPoint {
		ap, err := oms.Open(t.Context(), url, oms.WithRegistry(drivers))
		must(t, err)
		return ap
	}
	a, b := open(), open()
	must(t, a.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
	_, err := producer(t, a).Send(t.Context(), om.NewMessage("q", nil))
	must(t, err)
	kept := next(t, pull(t, a))
	c := pull(t, b)
	empty(t, c)
	must(t, a.Close(t.Context()))
	if d := next(t, c); d.MessageID != kept.MessageID || d.Ext.DeliveryCount != 2 {
		t.Errorf("%+v", d.Message)
	}
	must(t, b.Close(t.Context()))
	b = open()
	if qs, err := b.Resources().Queues(t.Context()); err != nil || len(qs) != 0 {
		t.Error(qs, err)
	}
	must(t, b.Close(t.Context()))
}

// TestPythonRefusesWhatItDoesNotDeclare asks the driver without the portable
// client, which would refuse by itself.
func TestPythonRefusesWhatItDoesNotDeclare(t *testing.T) {
	u, err := om.ParseURL(url)
	must(t, err)
	c, err := python(t).Open(t.Context(), spi.Config{URL: u})
	must(t, err)
	defer func() { must(t, c.Close(context.Background())) }()
	must(t, c.(spi.Admin).CreateQueue(t.Context(), om.QueueConfig{Name: "q"}))
	s, err := c.NewSender(t.Context(), spi.SenderConfig{})
	must(t, err)
	var ms []*om.Message
	for _, change := range []func(*om.Message){
		func(m *om.Message) { m.QoS = om.AtMostOnce },
		func(m *om.Message) { m.Compression = "gzip" },
		func(m *om.Message) { m.Ext.Partition = om.Some(int32(0)) },
		func(m *om.Message) { m.Ext.Delay = time.Nanosecond },
		func(m *om.Message) { m.Ext.ExpireAt = om.ExpireAfter(time.Hour) },
		func(m *om.Message) { m.Ext.Priority = 5 },
		func(*om.Message) {},
	} {
		m := om.NewMessage("q", nil)
		change(m)
		ms = append(ms, m)
	}
	outs, err := s.Send(t.Context(), ms)
	must(t, err)
	for i, o := range outs {
		if last := i == len(outs)-1; last != (o.Err == nil) || !last && !errors.Is(o.Err, om.ErrUnsupported) {
			t.Errorf("%d: %v", i, o.Err)
		}
	}
	_, err = c.(spi.Streamer).Resolve(t.Context(), "q", 0, om.Begin())
	if !errors.Is(err, om.ErrUnsupported) {
		t.Error(err)
	}
	_, _, err = s.(spi.Transactor).Prepare(t.Context(), ms[6], om.TransactionCheck{})
	if !errors.Is(err, om.ErrUnsupported) {
		t.Error(err)
	}
}

// TestConformanceOfPythonDriver runs the whole kit against the example in
// another language.
func TestConformanceOfPythonDriver(t *testing.T) {
	tck.Run(t, tck.Target{URL: url, Driver: python(t)})
}
