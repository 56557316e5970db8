package memory

import (
	"context"
	"flag"
	"maps"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

type driver struct {
	s    *System
	name string
}

func (d *driver) Info() spi.Info {
	return spi.Info{Name: d.name, Version: "1.0.0", SpecVersion: om.SpecVersion}
}

func (d *driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := spi.ParseOptions(cfg.URL, new(flag.FlagSet)); err != nil {
		return nil, err
	}
	a, err := d.s.authenticate(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := &conn{s: d.s, readOnly: a.readOnly, senders: map[*sender]bool{}, receivers: map[*receiver]bool{}}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.s.conns[c] = true
	return c, nil
}

// authenticate returns the account of the credentials; the secrets are in no
// error (G39).
func (s *System) authenticate(ctx context.Context, cfg spi.Config) (account, error) {
	if !s.caps.Has(om.CapAuth) {
		return account{}, nil
	}
	refused := func(why string) (account, error) {
		return account{}, om.NewError(om.CodeUnauthorized, "open", cfg.URL.String(), "%s", why)
	}
	if cfg.Credentials == nil {
		return refused("the system wants credentials; open it with an account's id and key")
	}
	given, err := cfg.Secrets(ctx)
	if err != nil {
		return account{}, err
	}
	a, ok := s.accounts[given.AccountID]
	if !ok || a.key != given.AccountKey || cfg.URL.Account != "" && cfg.URL.Account != given.AccountID {
		return refused("no account has this id and key; check both")
	}
	return a, nil
}

// conn implements spi.Conn and all that may be behind it.
type conn struct {
	s        *System
	readOnly bool

	life
	senders   map[*sender]bool
	receivers map[*receiver]bool
}

// begin begins an operation that needs a capability, "" for none.
func (c *conn) begin(ctx context.Context, needs om.Capability, op, resource string) error {
	return c.s.begin(ctx, &c.life, needs, op, resource)
}

// beginQueue is begin for an operation on a queue.
func (c *conn) beginQueue(ctx context.Context, needs om.Capability, op, name string) (*queue, error) {
	if err := c.begin(ctx, needs, op, name); err != nil {
		return nil, err
	}
	q, err := c.s.queue(op, name)
	if err != nil {
		c.s.mu.Unlock()
	}
	return q, err
}

func (c *conn) Capabilities() om.Capabilities { return slices.Clone(c.s.caps) }

func (c *conn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	if err := c.begin(ctx, "", "new sender", ""); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	return newSender(c, cfg), nil
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	const op = "bind"
	q, err := c.beginQueue(ctx, "", op, cfg.Queue)
	if err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	if cfg.Lease <= 0 {
		return nil, om.NewError(om.CodeBadParameter, op, cfg.Queue, "the lease %v is not positive", cfg.Lease)
	}
	if cfg.Filter != (om.Filter{}) {
		if err := c.s.need(om.CapFilter, op, cfg.Queue); err != nil {
			return nil, err
		}
	}
	if cfg.Member != nil {
		if err := c.s.need(om.CapAssigned, op, cfg.Queue); err != nil {
			return nil, err
		}
	}
	g, err := q.group(op, cfg.Group, cfg.Start)
	if err == nil {
		err = g.admits(op, cfg.Member)
	}
	if err != nil {
		return nil, err
	}
	if err := g.setFilter(op, cfg.Filter); err != nil {
		return nil, err
	}
	r := &receiver{conn: c, group: g, queue: cfg.Queue, lease: cfg.Lease}
	c.receivers[r], g.receivers[r] = true, true
	if r.config = cfg.Member; r.config != nil {
		g.join(r)
	}
	return r, nil
}

func (c *conn) Close(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.s.mu.Lock()
	senders := slices.Collect(maps.Keys(c.senders))
	c.shut(&ending{om.CodeClosed, "the connection is closed"})
	c.s.mu.Unlock()
	for _, s := range senders {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// shut ends the connection and all that was made by it.
func (c *conn) shut(why *ending) {
	c.end = why
	for s := range c.senders {
		s.shut(why)
	}
	for r := range c.receivers {
		r.shut(why)
	}
	delete(c.s.conns, c)
	c.s.wake()
}

func (c *conn) Ping(ctx context.Context) error {
	if err := c.begin(ctx, "", "ping", ""); err != nil {
		return err
	}
	c.s.mu.Unlock()
	return nil
}

// As gives the System to who asks for a *System.
func (c *conn) As(target any) bool { return spi.Give(target, c.s) }
