package mutant

import (
	"context"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// locked is a value with its lock.
type locked[V any] struct {
	mu sync.Mutex
	v  V
}

func (l *locked[V]) do(f func(*V)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.v)
}

func (l *locked[V]) get() V {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.v
}

func (l *locked[V]) set(v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.v = v
}

// library holds hooks around the portable layer. What is nil stays correct.
type library struct {
	ap        func(om.AccessPoint) om.AccessPoint
	sending   func(*om.ProducerConfig)
	receiving func(*om.ConsumerConfig)
	producer  func(om.Producer) om.Producer
	pull      func(om.PullConsumer) om.PullConsumer
	push      func(om.PushConsumer) om.PushConsumer
	resources func(om.Resources) om.Resources
}

// accessPoint is an access point of a portable layer with a fault.
type accessPoint struct {
	om.AccessPoint
	l *library
}

func (a accessPoint) Attributes() om.Properties { return a.view().Attributes() }
func (a accessPoint) SpecVersion() string       { return a.view().SpecVersion() }

func (a accessPoint) view() om.AccessPoint {
	if a.l.ap != nil {
		return a.l.ap(a.AccessPoint)
	}
	return a.AccessPoint
}

func (a accessPoint) NewProducer(ctx context.Context, opts ...om.ProducerOption) (om.Producer, error) {
	if a.l.sending != nil {
		opts = append(opts, a.l.sending)
	}
	p, err := a.AccessPoint.NewProducer(ctx, opts...)
	if err == nil && a.l.producer != nil {
		p = a.l.producer(p)
	}
	return p, err
}

func (a accessPoint) NewPullConsumer(ctx context.Context, opts ...om.ConsumerOption) (om.PullConsumer, error) {
	if a.l.receiving != nil {
		opts = append(opts, a.l.receiving)
	}
	c, err := a.AccessPoint.NewPullConsumer(ctx, opts...)
	if err == nil && a.l.pull != nil {
		c = a.l.pull(c)
	}
	return c, err
}

func (a accessPoint) NewPushConsumer(ctx context.Context, opts ...om.ConsumerOption) (om.PushConsumer, error) {
	if a.l.receiving != nil {
		opts = append(opts, a.l.receiving)
	}
	c, err := a.AccessPoint.NewPushConsumer(ctx, opts...)
	if err == nil && a.l.push != nil {
		c = a.l.push(c)
	}
	return c, err
}

func (a accessPoint) Resources() om.Resources {
	if a.l.resources != nil {
		return a.l.resources(a.AccessPoint.Resources())
	}
	return a.AccessPoint.Resources()
}

// onSend returns a producer whose Send is replaced.
func onSend(send func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error)) func(om.Producer) om.Producer {
	return func(p om.Producer) om.Producer { return sendingProducer{p, send} }
}

type sendingProducer struct {
	om.Producer
	send func(ctx context.Context, p om.Producer, m *om.Message) (om.SendResult, error)
}

func (p sendingProducer) Send(ctx context.Context, m *om.Message) (om.SendResult, error) {
	return p.send(ctx, p.Producer, m)
}

// onReceive returns a pull consumer whose deliveries go through f.
func onReceive(f func(*om.Delivery)) func(om.PullConsumer) om.PullConsumer {
	return func(c om.PullConsumer) om.PullConsumer { return readingConsumer{c, f} }
}

type readingConsumer struct {
	om.PullConsumer
	f func(*om.Delivery)
}

func (c readingConsumer) Receive(ctx context.Context, opts ...om.ReceiveOption) (*om.Delivery, error) {
	d, err := c.PullConsumer.Receive(ctx, opts...)
	if err == nil {
		c.f(d)
	}
	return d, err
}
