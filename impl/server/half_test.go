package server_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// checkStream is a stream of questions.
type checkStream struct {
	*client
	grpc.BidiStreamingClient[wirepb.CheckTransactionsRequest, wirepb.CheckTransactionsResponse]
}

func (c *client) checks() *checkStream {
	c.Helper()
	s, err := c.CheckTransactions(c.ctx)
	c.must(err)
	return &checkStream{c, s}
}

func (c *client) checksOf(group string) *checkStream {
	c.Helper()
	s := c.checks()
	c.must(s.hello(group))
	return s
}

func (s *checkStream) hello(group string) error {
	return s.Send(&wirepb.CheckTransactionsRequest{Request: &wirepb.CheckTransactionsRequest_ProducerGroup{ProducerGroup: group}})
}

func (s *checkStream) answer(question uint64, v wirepb.Verdict) error {
	return s.Send(&wirepb.CheckTransactionsRequest{Request: &wirepb.CheckTransactionsRequest_Answer{Answer: &wirepb.CheckAnswer{Question: question, Verdict: v}}})
}

// prepare prepares a message for q that is checked soon, and returns its id.
func (c *client) prepare(group, body string, sequence uint64) string {
	c.Helper()
	var b chunk.Builder
	b.Reset(7, sequence, "h", om.SpecVersion, time.Now())
	m := om.NewMessage("", []byte(body))
	m.BornAt = time.Now()
	b.Add(m)
	_, err := c.Prepare(c.ctx, &wirepb.PrepareRequest{Append: &wirepb.Append{Queue: "q", Partition: -1, Chunk: b.Finish()}, ProducerGroup: group,
		Check: &wirepb.TransactionCheck{After: 100, Every: 100, Max: 1000}})
	c.must(err)
	return string(chunk.AppendID(nil, 7, sequence))
}

func TestChecksOutOfPlace(t *testing.T) {
	f := newFixture(t, server.Options{Handshake: time.Second})
	c := f.dial()
	for name, v := range map[string]struct {
		say  func(s *checkStream) error
		code om.Code
	}{
		"an answer first": {func(s *checkStream) error { return s.answer(1, wirepb.Verdict_VERDICT_COMMIT) }, om.CodeBadRequest},
		"no request":      {func(s *checkStream) error { return s.Send(&wirepb.CheckTransactionsRequest{}) }, om.CodeBadRequest},
		"an empty group":  {func(s *checkStream) error { return s.hello("") }, om.CodeBadRequest},
		"a second group": {func(s *checkStream) error {
			if err := s.hello("g"); err != nil {
				return err
			}
			return s.hello("h")
		}, om.CodeBadRequest},
		"nothing": {func(*checkStream) error { return nil }, om.CodeTimeout},
	} {
		s := c.checks()
		f.must(v.say(s))
		if _, err := s.Recv(); code(err) != v.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, q := range map[string]*wirepb.EndTransactionRequest{
		"no group":               {TransactionId: "0-0", Verdict: wirepb.Verdict_VERDICT_COMMIT},
		"no verdict":             {TransactionId: "0-0", ProducerGroup: "g"},
		"a verdict that is none": {TransactionId: "0-0", ProducerGroup: "g", Verdict: 99},
	} {
		if _, err := c.EndTransaction(f.ctx, q); code(err) != om.CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.alive()
}

// TestAnswersOfOthers: an answer to a question that was not asked on its stream,
// or was answered before, has no effect.
func TestAnswersOfOthers(t *testing.T) {
	f := newFixture(t, server.Options{})
	mine, foreign := f.dial().checksOf("mine"), f.dial().checksOf("foreign")
	id := mine.prepare("mine", "hidden", 1)
	q, err := mine.Recv()
	f.must(err)
	for n := range uint64(10) {
		f.must(foreign.answer(n, wirepb.Verdict_VERDICT_COMMIT))
		f.must(mine.answer(1000+n, wirepb.Verdict_VERDICT_COMMIT))
	}
	f.must(mine.answer(q.GetQuestion(), wirepb.Verdict_VERDICT_UNSPECIFIED))
	f.must(mine.answer(q.GetQuestion(), wirepb.Verdict_VERDICT_COMMIT)) // it was answered
	q, err = mine.Recv()                                                // it is asked again, so all that was said has been heard
	f.must(err)
	queue, err := f.broker.Queue("test", "q")
	f.must(err)
	if end := queue.PartitionInfos()[0].End; end != 0 {
		t.Errorf("%d messages are committed", end)
	}
	f.must(mine.answer(q.GetQuestion(), wirepb.Verdict_VERDICT_COMMIT))
	f.until("the commit", func() bool { return queue.PartitionInfos()[0].End == 1 })
	if err := f.broker.EndTransaction(f.ctx, id, "mine", broker.Epoch{}, om.TxCommit); err != nil {
		t.Error(err)
	}
	f.alive()
}

// TestProducerThatDoesNotRead: one that does not read its questions is
// disconnected, and others are asked meanwhile.
func TestProducerThatDoesNotRead(t *testing.T) {
	f := newFixture(t, server.Options{Stall: time.Second})
	deaf := f.dial(grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10)).checksOf("deaf")
	good := f.dial().checksOf("good")
	for i := range uint64(400) {
		good.prepare("deaf", string(make([]byte, 16<<10)), i)
	}
	good.prepare("good", "x", 1000)
	q, err := good.Recv()
	f.must(err)
	f.must(good.answer(q.GetQuestion(), wirepb.Verdict_VERDICT_COMMIT))
	queue, err := f.broker.Queue("test", "q")
	f.must(err)
	f.until("the commit", func() bool { return queue.PartitionInfos()[0].End == 1 })
	f.until("the end of the connection", func() bool { return f.log.count("does not read what it asked for") == 1 })
	again := f.dial().checksOf("deaf")
	_, err = again.Recv()
	f.must(err)
	_ = deaf
	f.alive()
}

// TestFencedProducerIsNotAsked: a stream of an epoch that has passed ends when it
// is opened.
func TestFencedProducerIsNotAsked(t *testing.T) {
	f := newFixture(t, server.Options{})
	c := f.dial()
	var epochs []uint32
	for range 2 {
		r, err := c.OpenProducer(f.ctx, &wirepb.OpenProducerRequest{ProducerId: "p"})
		f.must(err)
		epochs = append(epochs, r.GetEpoch())
	}
	id := c.prepare("g", "x", 1)
	s := c.checks()
	f.must(s.Send(&wirepb.CheckTransactionsRequest{
		Request: &wirepb.CheckTransactionsRequest_ProducerGroup{ProducerGroup: "g"}, ProducerId: "p", ProducerEpoch: epochs[0],
	}))
	if _, err := s.Recv(); code(err) != om.CodeProducerFenced {
		t.Error(err)
	}
	end := func(epoch uint32) error {
		_, err := c.EndTransaction(context.Background(), &wirepb.EndTransactionRequest{
			TransactionId: id, ProducerGroup: "g", Verdict: wirepb.Verdict_VERDICT_COMMIT, ProducerId: "p", ProducerEpoch: epoch,
		})
		return err
	}
	if err := end(epochs[0]); code(err) != om.CodeProducerFenced {
		t.Error(err)
	}
	f.must(end(epochs[1]))
}
