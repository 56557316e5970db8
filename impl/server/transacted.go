package server

import (
	"cmp"
	"context"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// PublishTransacted implements wirepb.MessagingServiceServer.
func (m *messaging) PublishTransacted(ctx context.Context, q *wirepb.PublishTransactedRequest) (*wirepb.PublishTransactedResponse, error) {
	if n := len(q.GetAppends()); n > maxAppends {
		return nil, om.NewError(om.CodeBadRequest, "send", "", "%d chunks are not in 0 to %d", n, maxAppends)
	}
	p, messages, bytes := newPublication(q.GetAppends())
	if err := m.s.pay(ctx, messages, bytes); err != nil {
		return nil, err
	}
	for i, a := range q.GetAppends() {
		if err := m.add(ctx, p, i, a); err != nil {
			p.finish(err)
			if p.results[i].GetPartitions() == 0 {
				return nil, err
			}
			p.refuse(i, err)
			return &wirepb.PublishTransactedResponse{Results: p.results}, nil
		}
	}
	err := m.broker.PublishTransacted(ctx, p.appends, acknowledgements(q))
	p.finish(err)
	if err != nil {
		return nil, err
	}
	for i := range p.appends {
		a := &p.appends[i]
		place(p.results[i], a)
		m.s.opts.Metrics.Published(a.Queue.Name(), p.counts[i], len(a.Chunk))
	}
	for _, a := range q.GetAcknowledgements() {
		messages := 0
		for _, r := range a.GetRanges() {
			messages += int(r.GetTo() - r.GetFrom())
		}
		m.s.opts.Metrics.Settled(om.JoinQueueName(om.SplitQueueName(a.GetQueue(), om.DefaultNamespace)), "ack", messages)
	}
	return &wirepb.PublishTransactedResponse{Results: p.results}, nil
}

// finish ends the spans of a publication that is answered as one.
func (p *publication) finish(err error) {
	for i, s := range p.spans {
		finish(s, cmp.Or(err, p.appends[i].Err))
	}
}

func acknowledgements(q *wirepb.PublishTransactedRequest) []broker.Acknowledgement {
	acks := make([]broker.Acknowledgement, len(q.GetAcknowledgements()))
	for i, a := range q.GetAcknowledgements() {
		acks[i] = broker.Acknowledgement{Queue: a.GetQueue(), Group: a.GetGroup(), Receipts: fromRanges(a.GetRanges())}
	}
	return acks
}

func fromRanges(ranges []*wirepb.Range) []broker.Receipts {
	rs := make([]broker.Receipts, len(ranges))
	for i, v := range ranges {
		rs[i] = broker.Receipts{Partition: v.GetPartition(), Lease: v.GetLease(), From: v.GetFrom(), To: v.GetTo()}
	}
	return rs
}

// OpenProducer implements wirepb.MessagingServiceServer.
func (m *messaging) OpenProducer(ctx context.Context, q *wirepb.OpenProducerRequest) (*wirepb.OpenProducerResponse, error) {
	e, err := m.broker.OpenProducer(ctx, producerID(ctx, q.GetProducerId()))
	return &wirepb.OpenProducerResponse{Epoch: e.Number}, err
}

// epoch returns the epoch of the producer that a request is from.
func epoch(ctx context.Context, q interface {
	GetProducerId() string
	GetProducerEpoch() uint32
}) (e broker.Epoch) {
	if id := q.GetProducerId(); id != "" {
		e = broker.Epoch{ProducerID: producerID(ctx, id), Number: q.GetProducerEpoch()}
	}
	return e
}

// producerID is the broker's name of a producer: nobody fences off another
// user's.
func producerID(ctx context.Context, id string) string {
	if c := callerOf(ctx); c != nil && id != "" {
		return c.principal.Name + "/" + id
	}
	return id
}
