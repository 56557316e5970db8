package remote_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

// soon has transactions checked every 100 ms.
var soon = om.TransactionCheck{After: 100 * time.Millisecond, Every: 100 * time.Millisecond, Max: 1000}

func (c *client) transactor(cfg spi.SenderConfig) (spi.Sender, spi.Transactor) {
	c.Helper()
	s, err := c.NewSender(c.ctx, cfg)
	c.must(err)
	x, _ := spi.As[spi.Transactor](s)
	return s, x
}

func (c *client) prepare(x spi.Transactor, body string) string {
	c.Helper()
	out, id, err := x.Prepare(c.ctx, message(body, ""), soon)
	c.must(errors.Join(err, out.Err))
	return id
}

// TestR122_connection_lost: when the connection of the producer that has
// prepared a message is lost, another one of its group is asked over its own;
// and the first one again when it is back.
func TestR122_connection_lost(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	p := newProxy(t, m.address)
	mine, other := open(t, config(t, remote.URL(p.Addr().String()))), open(t, config(t, remote.URL(m.address)))
	mine.createQueue(1)
	var lost atomic.Bool
	asked := make(chan string, 100)
	_, x := mine.transactor(spi.SenderConfig{Group: "g", Checker: func(_ context.Context, m *om.Message) om.TxVerdict {
		if lost.Load() {
			asked <- string(m.Body)
			return om.TxCommit
		}
		return om.TxUnknown
	}})
	mine.prepare(x, "first")
	p.cut()
	_ = p.Close()
	s, _ := other.transactor(spi.SenderConfig{Group: "g", Checker: func(context.Context, *om.Message) om.TxVerdict { return om.TxCommit }})
	r := other.receiver()
	if got := other.receive(r, 1); string(got[0].Message.Body) != "first" {
		t.Errorf("%q is committed", got[0].Message.Body)
	}
	other.must(s.Close(other.ctx))

	newProxyAt(t, m.address, p.Addr().String())
	lost.Store(true)
	_, x = other.transactor(spi.SenderConfig{Group: "g", Checker: func(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }})
	other.prepare(x, "second")
	if got := other.receive(r, 1); string(got[0].Message.Body) != "second" || <-asked != "second" {
		t.Errorf("%q is committed", got[0].Message.Body)
	}
}

// TestR083_bad_checkers: over the network, too, a panic is no answer and the
// checker is asked again; one that hangs holds up no other producer.
func TestR083_bad_checkers(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	ctx := t.Context()
	ap, err := oms.Open(ctx, remote.URL(m.address))
	must(t, err)
	free := make(chan struct{})
	defer func() {
		close(free)
		must(t, ap.Close(context.WithoutCancel(ctx)))
	}()
	must(t, ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: "q"}))
	producer := func(check om.TransactionChecker) om.Producer {
		p, err := ap.NewProducer(ctx, om.WithTransactionChecker(check))
		must(t, err)
		return p
	}
	var hangs, panics atomic.Int32
	hanging := producer(func(context.Context, *om.Message) om.TxVerdict {
		hangs.Add(1)
		<-free
		return om.TxUnknown
	})
	for range 300 {
		_, err := hanging.Prepare(ctx, om.NewMessage("q", nil), om.WithTransactionCheck(soon))
		must(t, err)
	}
	panicking := producer(func(context.Context, *om.Message) om.TxVerdict {
		if panics.Add(1) == 1 {
			panic("the test's checker panics")
		}
		return om.TxCommit
	})
	_, err = panicking.Prepare(ctx, om.NewMessage("q", []byte("good")), om.WithTransactionCheck(soon))
	must(t, err)
	c, err := ap.NewPullConsumer(ctx)
	must(t, err)
	must(t, c.Bind(ctx, "q"))
	d, err := c.Receive(ctx)
	must(t, err)
	if string(d.Body) != "good" || panics.Load() != 2 || hangs.Load() == 0 || hangs.Load() > 256 {
		t.Errorf("%q came after %d questions; %d hang", d.Body, panics.Load(), hangs.Load())
	}
}

// TestNoQuestionsToWhatWasNotMade: a sender that could not be made is not asked.
func TestNoQuestionsToWhatWasNotMade(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	_, err := c.NewSender(c.ctx, spi.SenderConfig{Group: "g", ProducerID: "no\x00name", Checker: func(context.Context, *om.Message) om.TxVerdict {
		t.Error("it is asked")
		return om.TxUnknown
	}})
	if !errors.Is(err, om.CodeBadParameter) {
		t.Fatal(err)
	}
	asked := make(chan bool, 100)
	_, x := c.transactor(spi.SenderConfig{Group: "g", Checker: func(context.Context, *om.Message) om.TxVerdict {
		asked <- true
		return om.TxUnknown
	}})
	c.prepare(x, "x")
	for range 4 {
		<-asked
	}
}

// TestEndsThatAreRefused: what cannot be ended says why, over the network as in
// process, and stays as it is.
func TestEndsThatAreRefused(t *testing.T) {
	m := newMachine(t, store.Options{Memory: true}, server.Options{})
	c := open(t, config(t, remote.URL(m.address)))
	c.createQueue(1)
	cfg := spi.SenderConfig{Group: "g", Checker: func(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }}
	_, x := c.transactor(cfg)
	cfg.Group = "other"
	_, foreign := c.transactor(cfg)
	admin, _ := spi.As[spi.TransactionAdmin](c.Conn)
	out, expired, err := x.Prepare(c.ctx, message("expired", ""), om.TransactionCheck{After: 100 * time.Millisecond, Every: 100 * time.Millisecond, Max: 1})
	c.must(errors.Join(err, out.Err))
	open, ended := c.prepare(x, "open"), c.prepare(x, "ended")
	c.must(x.Rollback(c.ctx, ended))
	for {
		info, err := admin.Transaction(c.ctx, expired)
		c.must(err)
		if info.Parked {
			break
		}
	}
	for name, v := range map[string]struct {
		x    spi.Transactor
		id   string
		code om.Code
	}{
		"unknown":   {x, "00000000000000ff-1", om.CodeTransactionNotExists},
		"malformed": {x, "?", om.CodeTransactionNotExists},
		"empty":     {x, "", om.CodeTransactionNotExists},
		"foreign":   {foreign, open, om.CodeTransactionNotExists},
		"expired":   {x, expired, om.CodeTransactionState},
		"ended":     {x, ended, om.CodeTransactionState},
	} {
		if err := v.x.Commit(c.ctx, v.id); !errors.Is(err, v.code) || !errors.Is(err, om.ErrTransaction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := admin.Transactions(c.ctx, "q", 10)
	c.must(err)
	if len(c.all()) != 0 || len(list) != 2 {
		t.Errorf("%d messages are visible, %d transactions have not ended", len(c.all()), len(list))
	}
}
