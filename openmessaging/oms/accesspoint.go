package oms

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

type accessPoint struct {
	conn        spi.Conn
	specVersion string
	attributes  om.Properties
	caps        om.Capabilities
	errs        wrapper
	logger      *slog.Logger

	mu        sync.Mutex
	closed    bool
	endpoints map[om.Lifecycle]struct{}
	shut      chan struct{} // closed when the close is over
	abort     context.CancelFunc
	shutErr   error
}

func newAccessPoint(conn spi.Conn, specVersion string, attributes om.Properties, logger *slog.Logger) *accessPoint {
	return &accessPoint{
		conn:        conn,
		specVersion: specVersion,
		attributes:  attributes,
		caps:        slices.Clone(conn.Capabilities()),
		errs:        newWrapper(conn),
		logger:      logger,
		endpoints:   make(map[om.Lifecycle]struct{}),
	}
}

func (a *accessPoint) SpecVersion() string           { return a.specVersion }
func (a *accessPoint) Attributes() om.Properties     { return a.attributes.Clone() }
func (a *accessPoint) Capabilities() om.Capabilities { return slices.Clone(a.caps) }

// ready returns nil while the access point is open and ctx has not ended.
func (a *accessPoint) ready(ctx context.Context, op, resource string) error {
	if err := ended(ctx, op, resource); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return om.NewError(om.CodeClosed, op, resource, "the access point is closed")
	}
	return nil
}

// launch registers an endpoint, so that Close finds it, and starts it.
func (a *accessPoint) launch(ctx context.Context, op string, e om.Lifecycle) error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return om.NewError(om.CodeClosed, op, "", "the access point is closed")
	}
	a.endpoints[e] = struct{}{}
	a.mu.Unlock()
	if err := e.Start(ctx); err != nil {
		a.forget(e)
		return err
	}
	return nil
}

func (a *accessPoint) forget(e om.Lifecycle) {
	a.mu.Lock()
	delete(a.endpoints, e)
	a.mu.Unlock()
}

func (a *accessPoint) NewProducer(ctx context.Context, opts ...om.ProducerOption) (om.Producer, error) {
	const op = "new producer"
	if err := a.ready(ctx, op, ""); err != nil {
		return nil, err
	}
	cfg, err := producerConfig(opts)
	if err != nil {
		return nil, err
	}
	p := newProducer(a, cfg)
	if err := a.launch(ctx, op, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (a *accessPoint) NewPushConsumer(ctx context.Context, opts ...om.ConsumerOption) (om.PushConsumer, error) {
	const op = "new push consumer"
	if err := a.ready(ctx, op, ""); err != nil {
		return nil, err
	}
	cfg, err := consumerConfig(opts, a.logger)
	if err != nil {
		return nil, err
	}
	c := newPushConsumer(a, cfg)
	if err := a.launch(ctx, op, c); err != nil {
		return nil, err
	}
	return c, nil
}

func (a *accessPoint) NewPullConsumer(ctx context.Context, opts ...om.ConsumerOption) (om.PullConsumer, error) {
	const op = "new pull consumer"
	if err := a.ready(ctx, op, ""); err != nil {
		return nil, err
	}
	cfg, err := consumerConfig(opts, a.logger)
	if err != nil {
		return nil, err
	}
	c := newPullConsumer(a, cfg)
	if err := a.launch(ctx, op, c); err != nil {
		return nil, err
	}
	return c, nil
}

func (a *accessPoint) NewStreamConsumer(ctx context.Context, opts ...om.ConsumerOption) (om.StreamConsumer, error) {
	const op = "new stream consumer"
	if err := a.ready(ctx, op, ""); err != nil {
		return nil, err
	}
	streamer, err := a.streamer(op, "", om.CapStream)
	if err != nil {
		return nil, err
	}
	if _, err := consumerConfig(opts, a.logger); err != nil {
		return nil, err
	}
	c := newStreamConsumer(a, streamer)
	if err := a.launch(ctx, op, c); err != nil {
		return nil, err
	}
	return c, nil
}

func (a *accessPoint) streamer(op, resource string, c om.Capability) (spi.Streamer, error) {
	if !a.caps.Has(c) {
		return nil, unsupported(op, resource, c)
	}
	s, ok := spi.As[spi.Streamer](a.conn)
	if !ok {
		return nil, notHonest(op, resource, c, "Streamer")
	}
	return s, nil
}

func (a *accessPoint) Resources() om.Resources { return &resources{ap: a} }

func (a *accessPoint) Ping(ctx context.Context) error {
	if err := a.ready(ctx, "ping", ""); err != nil {
		return err
	}
	p, ok := spi.As[spi.Pinger](a.conn)
	if !ok {
		return om.NewError(om.CodeUnsupported, "ping", "", "the driver offers no spi.Pinger")
	}
	return a.errs.wrap(p.Ping(ctx), "ping", "")
}

func (a *accessPoint) As(target any) bool {
	asser, ok := spi.As[spi.Asser](a.conn)
	return ok && target != nil && asser.As(target)
}

func (a *accessPoint) Close(ctx context.Context) error {
	a.mu.Lock()
	first := !a.closed
	if first {
		a.closed = true
		a.shut = make(chan struct{})
		var limit context.Context
		// The values of ctx go on: a consumer sees by them that one of its own
		// handlers closes it.
		limit, a.abort = context.WithCancel(context.WithoutCancel(ctx))
		go a.shutDown(limit)
	}
	a.mu.Unlock()
	select {
	case <-a.shut:
	default:
		select {
		case <-a.shut:
		case <-ctx.Done():
			a.abort()
			return ended(ctx, "close", "")
		}
	}
	if !first {
		return nil
	}
	return a.shutErr
}

// shutDown closes the endpoints together, so that they share the caller's
// time, and then the connection.
func (a *accessPoint) shutDown(limit context.Context) {
	a.mu.Lock()
	endpoints := make([]om.Lifecycle, 0, len(a.endpoints))
	for e := range a.endpoints {
		endpoints = append(endpoints, e)
	}
	a.mu.Unlock()
	errs := make([]error, len(endpoints)+1)
	var closing sync.WaitGroup
	for i, e := range endpoints {
		closing.Go(func() { errs[i] = release(limit, e.Close) })
	}
	closing.Wait()
	errs[len(endpoints)] = a.errs.wrap(release(limit, a.conn.Close), "close", "")
	a.shutErr = errors.Join(errs...)
	close(a.shut)
	a.abort()
}
