package oms_test

import (
	"context"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// SendTransacted implements spi.TransactedSender.
func (s *fakeSender) SendTransacted(ctx context.Context, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
	call := s.f.count("transacted")
	if s.f.onSend != nil {
		if err := s.f.onSend(ctx, call, ms); err != nil {
			return nil, err
		}
	}
	for _, a := range acks {
		if errs, err := a.Receiver.Ack(ctx, a.Receipts); err != nil || errs != nil {
			return nil, om.NewError(om.CodeStaleReceipt, "ack", "", "")
		}
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	results := make([]om.SendResult, len(ms))
	for i, m := range ms {
		out, err := s.f.store(m)
		if err != nil {
			return nil, err
		}
		results[i] = out.SendResult
	}
	return results, nil
}

func TestSendTransacted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("in", "a", "b")
		f.fill("in", "1", "2", "3")
		ap := open(t, f)
		var ended []string
		p := producer(t, ap, om.WithSendInterceptor(om.SendInterceptor{
			After: func(_ context.Context, m *om.Message, r om.SendResult) {
				ended = append(ended, string(m.Body)+" "+r.MessageID)
			},
			Failed: func(_ context.Context, m *om.Message, _ error) { ended = append(ended, string(m.Body)+" failed") },
		}))
		c := puller(t, ap, []string{"in"})
		ds, err := c.ReceiveBatch(t.Context(), 3)
		ok(t, err)
		one, two := msg("a", "one"), msg("b", "two")
		results, err := p.SendTransacted(t.Context(), []*om.Message{one, two}, ds[0], ds[1])
		ok(t, err)
		equal(t, "results", len(results), 2)
		equal(t, "id", one.MessageID, results[0].MessageID)
		sameList(t, "told", ended, []string{"one " + one.MessageID, "two " + two.MessageID})
		sameList(t, "unsettled", f.unsettled("in", "default"), []string{"3"})
		ok(t, ds[0].Ack(t.Context()))
		is(t, ds[1].Nack(t.Context(), 0), om.CodeStaleReceipt)

		ended = nil
		bad := msg("a", "bad")
		bad.Ext.Delay = -1
		_, err = p.SendTransacted(t.Context(), []*om.Message{msg("a", "good"), bad}, ds[2])
		is(t, err, om.CodeBadParameter)
		_, err = p.SendTransacted(t.Context(), []*om.Message{msg("a", "good"), nil})
		is(t, err, om.CodeBadParameter)
		equal(t, "calls of the driver", f.counted("transacted"), 1)
		sameList(t, "told", ended, []string{"bad failed", "good failed", "good failed"})

		foreign := open(t, newFake("x"))
		ok(t, producer(t, foreign).Flush(t.Context()))
		_, err = producer(t, foreign).SendTransacted(t.Context(), nil, ds[2])
		is(t, err, om.CodeBadParameter)
		_, err = p.SendTransacted(t.Context(), nil, nil)
		is(t, err, om.CodeBadParameter)
		_, err = p.SendTransacted(t.Context(), nil, ds[0])
		ok(t, err) // it is acknowledged already
		_, err = p.SendTransacted(t.Context(), nil)
		ok(t, err)
		equal(t, "calls of the driver", f.counted("transacted"), 1)

		ok(t, c.Close(t.Context()))
		_, err = p.SendTransacted(t.Context(), nil, ds[2])
		is(t, err, om.CodeClosed)
	})
}

func TestSendTransactedRetries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake("a")
		p := producer(t, open(t, f), om.WithRetry(om.RetryPolicy{Attempts: 3, Min: time.Millisecond}))
		fail := om.CodeStorageBusy
		f.onSend = func(_ context.Context, call int, _ []*om.Message) error {
			if call < 3 {
				return om.NewError(fail, "send", "", "")
			}
			return nil
		}
		_, err := p.SendTransacted(t.Context(), []*om.Message{msg("a", "1")})
		ok(t, err)
		equal(t, "calls", f.counted("transacted"), 3)
		f.calls["transacted"], fail = 0, om.CodeTimeout
		_, err = p.SendTransacted(t.Context(), []*om.Message{msg("a", "2")})
		is(t, err, om.ErrTimeout) // it may have happened
		equal(t, "calls", f.counted("transacted"), 1)
		f.onSend = func(ctx context.Context, _ int, _ []*om.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		_, err = p.SendTransacted(t.Context(), []*om.Message{msg("a", "3")})
		is(t, err, om.ErrTimeout)
		equal(t, "after", time.Since(began), 30*time.Second)
		sameList(t, "stored", f.bodies("a"), []string{"1"})
		f.onSend, f.caps = nil, nil
		_, err = producer(t, open(t, f)).SendTransacted(t.Context(), []*om.Message{msg("a", "4")})
		is(t, err, om.ErrUnsupported)
		_, err = open(t, f).NewProducer(t.Context(), om.WithProducerID("p"))
		is(t, err, om.ErrUnsupported)
	})
}
