package tck

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// gated puts a gate in front of a driver: a case can hold its senders back and
// count what goes through, and is told when the driver panics.
type gated struct {
	spi.Driver
	gate *gate
}

// gate holds sends back while it is shut.
type gate struct {
	panicked func(what string)

	mu   sync.Mutex
	shut chan struct{} // nil while open
	sent int           // messages that came to the driver
	wait chan struct{} // closed when a send waits
}

// close shuts the gate and returns what opens it again, and a channel that is
// closed when the first send waits.
func (g *gate) close() (open func(), waits <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut, wait := make(chan struct{}), make(chan struct{})
	g.shut, g.wait = shut, wait
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.shut, g.wait = nil, nil
		g.mu.Unlock()
		close(shut)
	}), wait
}

func (g *gate) pass(ctx context.Context, n int) error {
	g.mu.Lock()
	shut := g.shut
	if g.wait != nil {
		close(g.wait)
		g.wait = nil
	}
	g.mu.Unlock()
	if shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.mu.Lock()
	g.sent += n
	g.mu.Unlock()
	return nil
}

// messages returns how many messages came to the driver.
func (g *gate) messages() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sent
}

// caught turns a panic of the driver into an error and a failure of the case: it
// may happen in a goroutine of the portable layer, where it would end the process.
func (g *gate) caught(what string, err *error) {
	if p := recover(); p != nil {
		*err = om.NewError(om.CodeServerError, what, "", "the driver panicked: %v", p)
		g.panicked(fmt.Sprintf("the driver panicked in %s: %v\n%s", what, p, trimStack(debug.Stack())))
	}
}

func (d gated) Open(ctx context.Context, cfg spi.Config) (c spi.Conn, err error) {
	defer d.gate.caught("open", &err)
	if c, err = d.Driver.Open(ctx, cfg); err != nil {
		return nil, err
	}
	return gatedConn{spi.ConnWrapper{Conn: c}, d.gate}, nil
}

type gatedConn struct {
	spi.ConnWrapper
	gate *gate
}

func (c gatedConn) NewSender(ctx context.Context, cfg spi.SenderConfig) (s spi.Sender, err error) {
	defer c.gate.caught("new sender", &err)
	if s, err = c.Conn.NewSender(ctx, cfg); err != nil {
		return nil, err
	}
	return gatedSender{spi.SenderWrapper{Sender: s}, c.gate}, nil
}

func (c gatedConn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (r spi.Receiver, err error) {
	defer c.gate.caught("new receiver", &err)
	if r, err = c.Conn.NewReceiver(ctx, cfg); err != nil {
		return nil, err
	}
	return gatedReceiver{spi.ReceiverWrapper{Receiver: r}, c.gate}, nil
}

func (c gatedConn) Close(ctx context.Context) (err error) {
	defer c.gate.caught("close", &err)
	return c.Conn.Close(ctx)
}

type gatedSender struct {
	spi.SenderWrapper
	gate *gate
}

func (s gatedSender) Send(ctx context.Context, ms []*om.Message) (outs []spi.Outcome, err error) {
	defer s.gate.caught("send", &err)
	if err := s.gate.pass(ctx, len(ms)); err != nil {
		return nil, err
	}
	return s.Sender.Send(ctx, ms)
}

func (s gatedSender) Close(ctx context.Context) (err error) {
	defer s.gate.caught("close", &err)
	return s.Sender.Close(ctx)
}

// gatedReceiver has the powers of all receivers, and says unsupported where the
// driver's has not.
type gatedReceiver struct {
	spi.ReceiverWrapper
	gate *gate
}

func (r gatedReceiver) Receive(ctx context.Context, max int) (got []spi.Received, err error) {
	defer r.gate.caught("receive", &err)
	return r.Receiver.Receive(ctx, max)
}

func (r gatedReceiver) Ack(ctx context.Context, receipts []spi.Receipt) (errs []error, err error) {
	defer r.gate.caught("ack", &err)
	return r.Receiver.Ack(ctx, receipts)
}

func (r gatedReceiver) Close(ctx context.Context) (err error) {
	defer r.gate.caught("close", &err)
	return r.Receiver.Close(ctx)
}

func (r gatedReceiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) (errs []error, err error) {
	defer r.gate.caught("nack", &err)
	if n, ok := spi.As[spi.Nacker](r.Receiver); ok {
		return n.Nack(ctx, receipts, delay)
	}
	return nil, om.NewError(om.CodeUnsupported, "nack", "", "the driver has no spi.Nacker")
}

func (r gatedReceiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) (errs []error, err error) {
	defer r.gate.caught("extend", &err)
	if l, ok := spi.As[spi.Leaser](r.Receiver); ok {
		return l.Extend(ctx, receipts, lease)
	}
	return nil, om.NewError(om.CodeUnsupported, "extend", "", "the driver has no spi.Leaser")
}

func (r gatedReceiver) Reject(ctx context.Context, receipts []spi.Receipt, reason string) (errs []error, err error) {
	defer r.gate.caught("reject", &err)
	if d, ok := spi.As[spi.DeadLetterer](r.Receiver); ok {
		return d.Reject(ctx, receipts, reason)
	}
	return nil, om.NewError(om.CodeUnsupported, "reject", "", "the driver has no spi.DeadLetterer")
}
