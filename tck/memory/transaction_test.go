package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

// asked is a checker that tells what it is asked and answers in turn.
func asked(verdicts ...om.TxVerdict) (om.TransactionChecker, chan *om.Message) {
	ms := make(chan *om.Message, 10)
	return func(_ context.Context, m *om.Message) om.TxVerdict {
		v := verdicts[0]
		verdicts = verdicts[1:]
		ms <- m
		return v
	}, ms
}

func TestR079_transactions(t *testing.T) {
	bubble(t, func(f *fixture) {
		check, _ := asked()
		s := f.newSender(check)
		x := as[spi.Transactor](f, s)
		r := f.receiver("q", "g")
		out, id, err := x.Prepare(f.Context(), msg("yes"), om.TransactionCheck{})
		f.ok(err)
		f.ok(out.Err)
		_, no, err := x.Prepare(f.Context(), msg("no"), om.TransactionCheck{})
		f.ok(err)
		f.empty(r)
		f.ok(x.Commit(f.Context(), id))
		f.ok(x.Commit(f.Context(), id))
		f.ok(x.Rollback(f.Context(), no))
		f.ok(x.Rollback(f.Context(), no))
		f.is(x.Rollback(f.Context(), id), om.CodeTransactionState)
		f.is(x.Commit(f.Context(), no), om.CodeTransactionState)
		f.is(x.Commit(f.Context(), "none"), om.CodeTransactionNotExists)
		d := f.gets(r, "yes")[0]
		if d.Message.Ext.TransactionID != id || d.Message.MessageID != out.MessageID || out.Offset != -1 {
			t.Errorf("%+v, %+v", d.Message, out)
		}
		f.ack(r, d)
		time.Sleep(time.Hour)
		f.empty(r)

		_, _, err = as[spi.Transactor](f, f.sender).Prepare(f.Context(), msg("a"), om.TransactionCheck{})
		f.is(err, om.CodeCheckerMissing)
		out, _, err = x.Prepare(f.Context(), msg("a", to("x")), om.TransactionCheck{})
		f.ok(err)
		f.is(out.Err, om.CodeDestinationNotFound)

		_, id, err = x.Prepare(f.Context(), msg("slow", delay(time.Second)), om.TransactionCheck{})
		f.ok(err)
		f.ok(x.Commit(f.Context(), id))
		f.empty(r)
		time.Sleep(time.Second)
		f.gets(r, "slow")

		_, id, err = x.Prepare(f.Context(), msg("orphan"), om.TransactionCheck{})
		f.ok(err)
		f.ok(as[spi.Admin](f, f.conn).DeleteQueue(f.Context(), "q"))
		f.is(x.Commit(f.Context(), id), om.CodeDestinationNotFound)
		time.Sleep(time.Hour) // nobody is asked about it
	})
}

func TestR083_checker(t *testing.T) {
	bubble(t, func(f *fixture) {
		check, ms := asked(om.TxUnknown, om.TxUnknown, om.TxCommit, om.TxRollback)
		s := f.newSender(check)
		x := as[spi.Transactor](f, s)
		r := f.receiver("q", "g")
		start := time.Now()
		_, id, err := x.Prepare(f.Context(), msg("a"), om.TransactionCheck{})
		f.ok(err)
		got, err := r.Receive(f.Context(), 1) // is woken by the third question
		f.ok(err)
		if time.Since(start) != 3*time.Second || got[0].Message.Ext.TransactionID != id {
			t.Errorf("after %v: %+v", time.Since(start), got[0].Message.Ext)
		}
		for range 3 {
			if m := <-ms; string(m.Body) != "a" || m.Ext.TransactionID != id {
				t.Errorf("asked about %+v", m)
			}
		}
		f.ack(r, got...)
		_, id, err = x.Prepare(f.Context(), msg("b"), om.TransactionCheck{})
		f.ok(err)
		<-ms
		synctest.Wait()
		f.is(x.Commit(f.Context(), id), om.CodeTransactionState)
		f.empty(r)

		_, id, err = x.Prepare(f.Context(), msg("c"), om.TransactionCheck{})
		f.ok(err)
		f.ok(s.Close(f.Context()))
		time.Sleep(time.Hour)
		if len(ms) > 0 {
			t.Error("asked after the sender was closed")
		}
		f.is(as[spi.Transactor](f, f.sender).Commit(f.Context(), id), om.CodeTransactionNotExists)
		f.ok(as[spi.TransactionAdmin](f, f.conn).EndTransaction(f.Context(), id, om.TxCommit))
		f.gets(r, "c")
	}, memory.WithTransactionTimeout(time.Second))
}

func TestCloseWaitsForTheChecker(t *testing.T) {
	bubble(t, func(f *fixture) {
		running, ended := make(chan bool), false
		s := f.newSender(func(ctx context.Context, _ *om.Message) om.TxVerdict {
			close(running)
			<-ctx.Done()
			time.Sleep(time.Minute)
			ended = true
			return om.TxCommit
		})
		_, _, err := as[spi.Transactor](f, s).Prepare(f.Context(), msg("a"), om.TransactionCheck{})
		f.ok(err)
		<-running
		if err := s.Close(f.within(time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		f.ok(f.conn.Close(f.Context()))
		if !ended {
			t.Error("the checker still runs")
		}
		f.conn = open(f.T, f.sys)
		f.empty(f.receiver("q", "g"))
	})
}
