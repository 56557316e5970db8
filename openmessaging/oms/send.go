package oms

import (
	"context"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// pack makes a parcel of a copy of m that is ready for the driver.
func (p *producer) pack(ctx context.Context, m *om.Message) (*parcel, error) {
	if m == nil {
		return nil, noMessage("send")
	}
	links := p.hooks.load()
	pc := newParcel(m, len(links) > 0)
	t, err := p.prepare(ctx, links, "send", &pc.single, time.Now())
	if err != nil {
		return nil, err
	}
	if len(t.passed) > 0 {
		pc.trails = []trail{t}
	}
	pc.bytes = sizeOf(&pc.single)
	return pc, nil
}

// post hands a parcel over. A parcel that is refused is finished with the
// error.
func (r *sendRun) post(ctx context.Context, pc *parcel, watched bool) error {
	pc.arm(ctx, r.buffer, r.cfg.SendTimeout, watched)
	err := r.buffer.put(ctx, pc)
	if err != nil && pc.claim() {
		pc.finish(nil, err)
	}
	return err
}

func (p *producer) Send(ctx context.Context, m *om.Message) (om.SendResult, error) {
	r, err := p.current(ctx, "send", queueOf(m))
	if err != nil {
		return om.SendResult{}, err
	}
	pc, err := p.pack(ctx, m)
	if err != nil {
		return om.SendResult{}, err
	}
	if err := r.post(ctx, pc, false); err != nil {
		return om.SendResult{}, err
	}
	select {
	case <-pc.done:
	case <-ctx.Done():
		pc.abandon(r.buffer, ended(ctx, "send", m.Destination))
		<-pc.done
	}
	result, err := pc.result(0)
	if err == nil {
		giveBack(m, &pc.single)
	}
	return result, err
}

func (p *producer) SendAsync(ctx context.Context, m *om.Message) *om.Future[om.SendResult] {
	refused := func(err error) *om.Future[om.SendResult] {
		f := om.NewFuture[om.SendResult](nil)
		f.Complete(om.SendResult{}, err)
		return f
	}
	r, err := p.current(ctx, "send", queueOf(m))
	if err != nil {
		return refused(err)
	}
	pc, err := p.pack(ctx, m)
	if err != nil {
		return refused(err)
	}
	back := &givingBack{}
	f := om.NewFuture[om.SendResult](func() {
		pc.abandon(r.buffer, om.WrapError(context.Canceled, "send", pc.destination()))
		back.stop()
	})
	pc.finished = func(pc *parcel) {
		result, err := pc.result(0)
		if err == nil {
			back.do(m, &pc.single)
		}
		f.Complete(result, err)
	}
	_ = r.post(ctx, pc, true) // a refusal comes by the future
	return f
}

func (p *producer) SendOneway(ctx context.Context, m *om.Message) error {
	r, err := p.current(ctx, "send", queueOf(m))
	if err != nil {
		return err
	}
	pc, err := p.pack(ctx, m)
	if err != nil {
		return err
	}
	return r.post(ctx, pc, false)
}

func queueOf(m *om.Message) string {
	if m == nil {
		return ""
	}
	return m.Destination
}
