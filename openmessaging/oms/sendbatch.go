package oms

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// batch is the messages of one call and what became of them. Where a message
// cannot go to the driver as it is, a copy goes or, when it is refused, none.
type batch struct {
	ms     []*om.Message // the caller's
	work   []*om.Message // what goes to the driver
	index  []int         // the places of work in ms; nil when they are the same
	trails []trail       // by the places of work; nil without interceptors
	errs   []error       // by the places of ms; nil while none has failed
}

func (b *batch) place(i int) int {
	if b.index == nil {
		return i
	}
	return b.index[i]
}

func (b *batch) fail(place int, err error) {
	if b.errs == nil {
		b.errs = make([]error, len(b.ms))
	}
	b.errs[place] = err
}

// end tells the interceptors of message i of work its end.
func (b *batch) end(i int, r om.SendResult, err error) {
	if b.trails != nil {
		b.trails[i].end(b.work[i], r, err)
	}
}

// check makes the batch ready for the driver. With copies the caller's
// messages are not touched.
func (p *producer) check(ctx context.Context, ms []*om.Message, copies bool) *batch {
	b := &batch{ms: ms, work: ms}
	links := p.hooks.load()
	copies = copies || len(links) > 0
	var slab []om.Message
	var bodies []byte
	if copies {
		slab = make([]om.Message, len(ms))
		bodies = make([]byte, 0, bodyBytes(ms))
	}
	now := time.Now()
	born := bornNow(now)
	for i, m := range ms {
		var t trail
		var err error
		same := false
		switch {
		case m == nil:
			err = noMessage("send")
		case copies:
			bodies = copyTo(&slab[i], m, bodies, len(links) > 0)
			m = &slab[i]
			t, err = p.prepare(ctx, links, "send", m, now)
		case priorityOutOfRange(m):
			shallow := *m
			shallow.Ext.Priority = 0
			m = &shallow
			err = p.admit("send", m, now, born)
		default:
			same = true
			err = p.admit("send", m, now, born)
		}
		if err == nil && same && b.index == nil {
			continue
		}
		b.detach(i)
		if err != nil {
			b.fail(i, err)
			continue
		}
		b.work = append(b.work, m)
		b.index = append(b.index, i)
		if len(links) > 0 {
			b.trails = append(b.trails, t)
		}
	}
	if b.errs != nil && p.ap.caps.Has(om.CapAtomicBatch) {
		b.refuseRest()
	}
	return b
}

func bodyBytes(ms []*om.Message) (n int) {
	for _, m := range ms {
		if m != nil {
			n += len(m.Body)
		}
	}
	return n
}

// detach gives work a slice of its own, with the messages before place n.
func (b *batch) detach(n int) {
	if b.index != nil {
		return
	}
	b.work = append(make([]*om.Message, 0, len(b.ms)), b.ms[:n]...)
	b.index = make([]int, n, len(b.ms))
	for i := range b.index {
		b.index[i] = i
	}
}

// refuseRest fails the good messages of an atomic batch that has a bad one.
func (b *batch) refuseRest() {
	first := 0
	for b.errs[first] == nil {
		first++
	}
	for i, m := range b.work {
		err := om.NewError(om.CodeBadRequest, "send", m.Destination,
			"not sent: the driver stores a batch whole or not at all, and message %d is refused: %w", first, b.errs[first])
		b.end(i, om.SendResult{}, err)
		b.fail(b.index[i], err)
	}
	b.work, b.index, b.trails = nil, []int{}, nil
}

// part returns the end of the part of work from i on that fits into one call.
func (b *batch) part(i int, cfg *om.ProducerConfig) (end, bytes int) {
	for end = i; end < len(b.work) && end-i < cfg.BatchMessages; end++ {
		size := sizeOf(b.work[end])
		if end > i && bytes+size > cfg.BatchBytes {
			break
		}
		bytes += size
	}
	return end, bytes
}

func (p *producer) SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
	r, err := p.current(ctx, "send", "")
	if err != nil {
		return nil, err
	}
	if len(ms) == 0 {
		return nil, nil
	}
	t := r.direct.enter()
	if t == nil {
		return nil, om.NewError(om.CodeNotRunning, "send", "", "the producer is stopping")
	}
	defer r.direct.leave(t)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })()

	b := p.check(ctx, ms, false)
	results := make([]om.SendResult, len(ms))
	first := true
	for i := 0; i < len(b.work); {
		end, _ := b.part(i, &r.cfg)
		outs, whole := r.sendPart(ctx, b.work[i:end], first)
		first = false
		for k := range outs {
			b.record(i+k, &outs[k], results)
		}
		i = end
		if whole != nil {
			b.giveUp(i, outs[len(outs)-1].Err)
			break
		}
	}
	return results, om.NewBatchError(b.errs)
}

// sendPart sends what fits into one call, the first part of a batch not before
// what the buffer holds has been answered.
func (r *sendRun) sendPart(ctx context.Context, ms []*om.Message, first bool) ([]spi.Outcome, error) {
	if d := r.cfg.SendTimeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, sendTimeoutCut(d))
		defer cancel()
	}
	if first {
		r.buffer.wait(ctx)
	}
	if err := ended(ctx, "send", ""); err != nil {
		outs := make([]spi.Outcome, len(ms))
		for i, m := range ms {
			outs[i].Err = ended(ctx, "send", m.Destination)
		}
		return outs, err
	}
	return r.deliver(ctx, ms, nil)
}

// record keeps the outcome of message i of work.
func (b *batch) record(i int, out *spi.Outcome, results []om.SendResult) {
	place := b.place(i)
	if out.Err != nil {
		b.fail(place, out.Err)
	} else {
		results[place] = out.SendResult
		m := b.work[i]
		m.MessageID = out.MessageID
		if m != b.ms[place] {
			giveBack(b.ms[place], m)
		}
	}
	b.end(i, out.SendResult, out.Err)
}

// giveUp fails the messages of work from i on, which are not sent because a
// call before them failed as a whole.
func (b *batch) giveUp(i int, cause error) {
	for ; i < len(b.work); i++ {
		err := om.NewError(om.CodeOf(cause), "send", b.work[i].Destination, "not sent after an earlier part of the batch failed: %w", cause)
		b.fail(b.place(i), err)
		b.end(i, om.SendResult{}, err)
	}
}
