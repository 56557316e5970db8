package oms

import (
	"cmp"
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// producer implements openmessaging.Producer.
type producer struct {
	lifecycle
	ap    *accessPoint
	cfg   om.ProducerConfig
	hooks *chain[om.SendInterceptor]
	run   atomic.Pointer[sendRun]
}

// sendRun is what a producer works with from a Start to its Stop.
type sendRun struct {
	cfg         om.ProducerConfig
	errs        wrapper
	atomicBatch bool
	sender      spi.Sender
	buffer      *buffer
	direct      calls // calls of the driver beside the buffer
	asking      *asking
	ctx         context.Context
	cancel      context.CancelCauseFunc
	done        chan struct{} // closed when the dispatcher has gone
}

func newProducer(ap *accessPoint, cfg om.ProducerConfig) *producer {
	cfg.Group = cmp.Or(cfg.Group, rand.Text()) // it outlives a Stop and Start
	p := &producer{ap: ap, cfg: cfg, hooks: newChain(cfg.Interceptors)}
	p.lifecycle.open = p.openRun
	p.lifecycle.quit = p.quitRun
	p.lifecycle.released = func() { ap.forget(p) }
	return p
}

func (p *producer) openRun(ctx context.Context) error {
	cfg := spi.SenderConfig{ProducerID: p.cfg.ID}
	if cfg.ProducerID != "" && !p.ap.caps.Has(om.CapFencing) {
		return unsupported("start producer", cfg.ProducerID, om.CapFencing)
	}
	if p.ap.caps.Has(om.CapTransaction) {
		cfg.Checker, cfg.Group = p.guarded(), p.cfg.Group
	}
	sender, err := p.ap.conn.NewSender(ctx, cfg)
	if err != nil {
		return p.ap.errs.wrap(err, "start producer", "")
	}
	r := &sendRun{
		cfg:         p.cfg,
		errs:        p.ap.errs,
		atomicBatch: p.ap.caps.Has(om.CapAtomicBatch),
		sender:      sender,
		buffer:      newBuffer(p.cfg),
		asking:      newAsking(),
		done:        make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	p.run.Store(r)
	go r.dispatch()
	return nil
}

// quitRun sends what the buffer holds and closes the driver's sender. When
// limit ends first, what is not answered fails.
func (p *producer) quitRun(limit context.Context) error {
	r := p.run.Load()
	closed := p.closed.Load()
	r.asking.stop(stopCut(closed))
	r.direct.refuse()
	r.buffer.refuse(p.ready("send", ""))
	graceful := r.buffer.wait(limit) && r.direct.wait(limit)
	c := stopCut(closed || p.closed.Load())
	if !graceful {
		r.cancel(c)
	}
	r.buffer.end(c)
	if graceful {
		<-r.done
	}
	r.asking.close(limit)
	err := p.ap.errs.wrap(release(limit, r.sender.Close), "stop producer", "")
	if !graceful {
		grace := time.NewTimer(closeGrace)
		defer grace.Stop()
		select {
		case <-r.done:
		case <-grace.C:
		}
	}
	r.cancel(c)
	return err
}

// current returns what the producer works with while it is started and ctx has
// not ended.
func (p *producer) current(ctx context.Context, op, queue string) (*sendRun, error) {
	if err := p.ready(op, queue); err != nil {
		return nil, err
	}
	if err := ended(ctx, op, queue); err != nil {
		return nil, err
	}
	return p.run.Load(), nil
}

// admit checks a message and makes it ready for the driver.
func (p *producer) admit(op string, m *om.Message, now, born time.Time) error {
	if err := m.Validate(op, now); err != nil {
		return err
	}
	if err := spi.Refuse(op, m, p.ap.caps); err != nil {
		return err
	}
	stamp(m, born, hostname())
	return nil
}

// prepare runs the Before hooks on a copy of the caller's message and admits it.
func (p *producer) prepare(ctx context.Context, links []*om.SendInterceptor, op string, m *om.Message, now time.Time) (trail, error) {
	t, err := begin(ctx, links, m)
	if err == nil {
		if priorityOutOfRange(m) {
			m.Ext.Priority = 0
		}
		err = p.admit(op, m, now, bornNow(now))
	}
	if err != nil {
		t.end(m, om.SendResult{}, err)
	}
	return t, err
}

func (p *producer) AddInterceptor(i om.SendInterceptor) (remove func()) { return p.hooks.add(i) }

func (p *producer) Flush(ctx context.Context) error {
	r, err := p.current(ctx, "flush", "")
	if err != nil {
		return err
	}
	if r.buffer.wait(ctx) && r.direct.wait(ctx) {
		return nil
	}
	return ended(ctx, "flush", "")
}

func noMessage(op string) error {
	return badParameter(op, "", "the message is nil")
}
