package tck

import (
	"context"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// gated puts a gate in front of a driver's senders, and counts what goes
// through, so that a case can hold the answer of any driver back.
type gated struct {
	spi.Driver
	gate *gate
}

// gate holds sends back while it is shut.
type gate struct {
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

func (d gated) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return gatedConn{spi.ConnWrapper{Conn: c}, d.gate}, nil
}

type gatedConn struct {
	spi.ConnWrapper
	gate *gate
}

func (c gatedConn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	s, err := c.Conn.NewSender(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return gatedSender{spi.SenderWrapper{Sender: s}, c.gate}, nil
}

type gatedSender struct {
	spi.SenderWrapper
	gate *gate
}

func (s gatedSender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := s.gate.pass(ctx, len(ms)); err != nil {
		return nil, err
	}
	return s.Sender.Send(ctx, ms)
}
