package stdio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var errNoHandle = errors.New("it has no handle")

// conn implements spi.Conn and, whatever the child declares, all optional
// interfaces of a Conn that have an operation in the protocol. The portable
// client calls none whose capability is not declared; a call that comes all
// the same goes to the child, which must refuse it.
type conn struct {
	*link
	handle       uint64
	capabilities om.Capabilities
	closeGrace   time.Duration

	closing  atomic.Bool
	over     chan struct{}         // closed when Close is done
	closeErr atomic.Pointer[error] // told once
}

// call is that of the link while the connection is open.
func (c *conn) call(ctx context.Context, op, resource string, r *request) (*answer, error) {
	if c.closing.Load() {
		return nil, closed(op, resource)
	}
	return c.link.call(ctx, op, resource, r)
}

func (c *conn) Capabilities() om.Capabilities { return slices.Clone(c.capabilities) }

func (c *conn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	const op = "new sender"
	a, err := c.call(ctx, op, "", &request{Op: "sender", Handle: c.handle, Checker: cfg.Checker != nil, Group: cfg.Group})
	if err != nil {
		return nil, err
	}
	if a.Handle == 0 {
		return nil, c.broken(op, "", errNoHandle)
	}
	s := &sender{endpoint{conn: c, handle: a.Handle}, nil}
	if cfg.Checker != nil {
		s.release = c.addChecker(a.Handle, cfg.Checker)
	}
	return s, nil
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	const op = "bind"
	a, err := c.call(ctx, op, cfg.Queue, &request{
		Op: "receiver", Handle: c.handle, Queue: cfg.Queue, Group: cfg.Group,
		Position: wirePosition(cfg.Start), Filter: wireFilter(cfg.Filter), LeaseMS: lasting(cfg.Lease),
	})
	if err != nil {
		return nil, err
	}
	if a.Handle == 0 {
		return nil, c.broken(op, cfg.Queue, errNoHandle)
	}
	return &receiver{endpoint{conn: c, handle: a.Handle, queue: cfg.Queue}}, nil
}

// Close asks the child to close. The last connection of a child ends its input
// and waits for its end. When ctx ends first that goes on without the caller.
func (c *conn) Close(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.closing.CompareAndSwap(false, true) {
		go c.shut()
	}
	select {
	case <-c.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := c.closeErr.Swap(nil); err != nil {
		return *err
	}
	return nil
}

func (c *conn) shut() {
	defer close(c.over)
	limit, stop := context.WithTimeout(context.Background(), c.closeGrace)
	defer stop()
	_, err := c.plain(limit, "close", "", &request{Op: "close", Handle: c.handle})
	if limit.Err() != nil {
		c.end(0, fmt.Errorf("the child did not answer close within %v", c.closeGrace))
	}
	if c.leave() {
		end, _ := limit.Deadline()
		c.end(time.Until(end), nil)
		c.work.Wait()
	}
	c.mu.Lock()
	if c.failure != nil {
		err = c.failed("close", "")
	}
	c.mu.Unlock()
	if err != nil {
		c.closeErr.Store(&err)
	}
}

// Ping implements spi.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	_, err := c.call(ctx, "ping", "", &request{Op: "ping"})
	return err
}
