package remote

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// SendTransacted implements spi.TransactedSender.
func (s *sender) SendTransacted(ctx context.Context, ms []*om.Message, acks []spi.TransactedAck) ([]om.SendResult, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	q := &wirepb.PublishTransactedRequest{}
	for i, a := range acks {
		r, ok := spi.As[*receiver](a.Receiver)
		if !ok || r.conn != s.conn {
			return nil, om.NewError(om.CodeBadParameter, "ack", "", "receiver %d is not one of this connection", i)
		}
		ranges, _, err := batch.Ranges("ack", r.cfg.Queue, a.Receipts)
		if err != nil {
			return nil, err
		}
		q.Acknowledgements = append(q.Acknowledgements, &wirepb.Acknowledgement{Queue: text(r.cfg.Queue), Group: text(r.cfg.Group), Ranges: travelling(ranges)})
	}
	e := s.transacted.Get().(*batch.Encoder)
	for range maxDivisions {
		outcomes := make([]spi.Outcome, len(ms))
		parts := e.Divide(ms, outcomes, func(name string) (batch.Queue, error) { return s.conn.queue(ctx, name) })
		if err := batch.Refusal(outcomes); err != nil {
			return nil, err
		}
		q.Appends = q.Appends[:0]
		for i := range parts {
			q.Appends = append(q.Appends, s.append(&parts[i], e.Encode(&parts[i], ms)))
		}
		out, err := s.publishTransacted(ctx, q)
		if err != nil {
			return nil, err // the parts' memory may still be read
		}
		divided := true
		for i, r := range out.GetResults() {
			if r.GetPartitions() != 0 {
				s.conn.forget(parts[i].Queue.(*queue))
			}
			divided = divided && r.GetError() == nil
			e.Stored(&parts[i], r.GetPartition(), r.GetBase(), knownMessages(r), outcomes)
			e.Release(&parts[i])
		}
		if divided {
			s.transacted.Put(e)
			return batch.Results(outcomes), nil
		}
	}
	return nil, om.NewError(om.CodeServiceUnavailable, "send", "", "the partitions of a queue change all the time")
}

// publishTransacted makes the call, and again while no answer comes.
func (s *sender) publishTransacted(ctx context.Context, q *wirepb.PublishTransactedRequest) (*wirepb.PublishTransactedResponse, error) {
	var doubt time.Time
	for pause := retryPause.BaseDelay; ; pause = min(2*pause, retryPause.MaxDelay) {
		out, err := call(s.conn, ctx, "send", "", s.conn.messaging.PublishTransacted, q)
		if err == nil && len(out.GetResults()) != len(q.GetAppends()) {
			return nil, om.NewError(om.CodeServerError, "send", "", "the server answered %d chunks where %d were sent", len(out.GetResults()), len(q.GetAppends()))
		}
		if om.CodeOf(err) != om.CodeServiceUnavailable {
			return out, err
		}
		if doubt.IsZero() {
			doubt = time.Now()
		}
		if time.Since(doubt) > doubtWithin {
			return nil, om.NewError(om.CodeTimeout, "send", "",
				"the connection was lost %v ago, and whether the messages are stored is not known: %w", doubtWithin, err)
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}
