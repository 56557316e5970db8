package nats

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// conn implements spi.Conn, spi.Admin, spi.Describer, spi.Seeker, spi.Streamer,
// spi.Pinger and spi.Asser.
type conn struct {
	*options
	log          *slog.Logger
	nc           *nats.Conn
	js           jetstream.JetStream
	calls        *calls
	capabilities om.Capabilities
	moving       sync.RWMutex // held while groups are moved

	mu        sync.Mutex
	queues    map[string]*queue // by long name, as they were when last looked up
	receivers map[*receiver]bool
	lost      chan struct{} // closed when the present connection is lost
	ended     bool
	closed    chan struct{} // closed with the connection
}

// begin checks that an operation may begin.
func (c *conn) begin(ctx context.Context, op, resource string) error {
	select {
	case <-c.closed:
		return om.NewError(om.CodeClosed, op, resource, "the connection is closed")
	default:
		return ctx.Err()
	}
}

// connected returns what is closed when the present connection is lost.
func (c *conn) connected() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

func (c *conn) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.lost)
	c.lost = make(chan struct{})
}

func (c *conn) Capabilities() om.Capabilities { return c.capabilities }

func (c *conn) Close(ctx context.Context) (err error) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		<-c.closed
		return nil
	}
	c.ended = true
	receivers := c.receivers
	c.receivers = nil
	c.mu.Unlock()
	for r := range receivers {
		err = errors.Join(err, r.shut(ctx))
	}
	close(c.closed)
	c.nc.Close()
	return err
}

func (c *conn) Ping(ctx context.Context) error {
	if err := c.begin(ctx, "ping", ""); err != nil {
		return err
	}
	_, err := c.js.AccountInfo(ctx)
	return wrap(err, "ping", "")
}

// As gives the *nats.Conn and the jetstream.JetStream to who asks for them.
func (c *conn) As(target any) bool {
	switch t := target.(type) {
	case **nats.Conn:
		*t = c.nc
	case *jetstream.JetStream:
		*t = c.js
	default:
		return false
	}
	return true
}

func (c *conn) NewSender(ctx context.Context, _ spi.SenderConfig) (spi.Sender, error) {
	if err := c.begin(ctx, "new sender", ""); err != nil {
		return nil, err
	}
	return newSender(c), nil
}
