// Package newdriver is a complete driver over a Go map: the mandatory methods
// of package spi and what comes for nothing with package lease. Copy it to begin
// a driver of your own; the guide is docs/writing-a-driver.md.
package newdriver

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/lease"
)

// System is a messaging system in memory, and the driver to it. Make it with New.
type System struct {
	mu      sync.Mutex
	changed chan struct{} // closed when a message comes, or comes back
	queues  map[string]*queue
}

type queue struct {
	messages []*om.Message
	groups   map[string][]state // how far each group is, by the message's place
}

type state int

const (
	free state = iota
	delivered
	acknowledged
)

// New returns a system without queues.
func New() *System { return &System{queues: map[string]*queue{}, changed: make(chan struct{})} }

// CreateQueue makes a queue.
func (s *System) CreateQueue(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[name] = &queue{groups: map[string][]state{}}
}

// Info implements spi.Driver.
func (s *System) Info() spi.Info {
	return spi.Info{Name: "newdriver", Version: "0.1.0", SpecVersion: om.SpecVersion}
}

// Open knows no options and refuses all: they may be mistyped.
func (s *System) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if err := spi.ParseOptions(cfg.URL, new(flag.FlagSet)); err != nil {
		return nil, err
	}
	return &conn{s: s}, ctx.Err()
}

// tell wakes everybody who waits for messages. The caller holds s.mu.
func (s *System) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// conn implements spi.Conn.
type conn struct {
	spi.Life
	s *System
}

// Capabilities declares what comes with lease.Keeper. To declare nothing at all
// conforms, too.
func (c *conn) Capabilities() om.Capabilities { return om.Capabilities{om.CapLease, om.CapNack} }

func (c *conn) Close(ctx context.Context) error { return c.End(ctx, nil) }

func (c *conn) NewSender(ctx context.Context, _ spi.SenderConfig) (spi.Sender, error) {
	if err := c.Begin(ctx, "new sender", ""); err != nil {
		return nil, err
	}
	x := &sender{c: c}
	return x, c.Own(x)
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	if err := c.Begin(ctx, "bind", cfg.Queue); err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	q, ok := c.s.queues[cfg.Queue]
	if !ok {
		return nil, om.NewError(om.CodeDestinationNotFound, "bind", cfg.Queue, "no queue has that name")
	}
	if _, known := q.groups[cfg.Group]; !known && cfg.Start.IsEnd() {
		q.groups[cfg.Group] = slices.Repeat([]state{acknowledged}, len(q.messages))
	}
	r := &receiver{c: c, q: q, group: cfg.Group}
	r.Init(r, lease.Config{Queue: cfg.Queue, Lease: cfg.Lease})
	return r, c.Own(r)
}

// sender implements spi.Sender.
type sender struct {
	spi.Life
	c *conn
}

func (x *sender) Close(ctx context.Context) error {
	x.c.Disown(x)
	return x.End(ctx, nil)
}

func (x *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := x.Begin(ctx, "send", ""); err != nil {
		return nil, err
	}
	x.c.s.mu.Lock()
	defer x.c.s.mu.Unlock()
	outs := make([]spi.Outcome, len(ms))
	for i, m := range ms {
		outs[i] = x.c.store(m)
	}
	x.c.s.tell()
	return outs, nil
}

// store stores a copy of m: the message belongs to the caller.
func (c *conn) store(m *om.Message) (out spi.Outcome) {
	q := c.s.queues[m.Destination]
	refused := spi.Refuse("send", m, c.Capabilities())
	switch {
	case q == nil:
		out.Err = om.NewError(om.CodeDestinationNotFound, "send", m.Destination, "no queue has that name")
	case refused != nil:
		out.Err = refused
	default:
		m = m.Clone()
		if m.Properties == nil {
			m.Properties = om.Properties{}
		}
		m.MessageID = fmt.Sprintf("%s-%d", m.Destination, len(q.messages))
		q.messages = append(q.messages, m)
		out.SendResult = om.SendResult{MessageID: m.MessageID, Partition: -1, Offset: -1}
	}
	return out
}

// receiver implements lease.System; spi.Receiver, spi.Nacker and spi.Leaser are
// the Keeper's. A delivery is named by the message's place.
type receiver struct {
	lease.Keeper[int]
	c     *conn
	q     *queue
	group string
}

func (r *receiver) Close(ctx context.Context) error {
	r.c.Disown(r)
	return r.Keeper.Close(ctx)
}

func (r *receiver) Fetch(ctx context.Context, limit int) error {
	for came := 0; ; {
		r.c.s.mu.Lock()
		states := append(r.q.groups[r.group], make([]state, len(r.q.messages)-len(r.q.groups[r.group]))...)
		r.q.groups[r.group] = states
		for i := 0; i < len(states) && came < limit; i++ {
			if states[i] == free {
				came, states[i] = came+1, delivered
				r.Arrive(i, spi.Received{Message: r.q.messages[i].Clone(), Partition: -1, Offset: -1}, nil)
			}
		}
		changed := r.c.s.changed
		r.c.s.mu.Unlock()
		if came > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *receiver) Tell(_ context.Context, what om.Action, ds []*lease.Delivery[int], delay time.Duration) []error {
	next := map[om.Action]state{om.Ack: acknowledged, om.Nack: free, om.Extend: delivered}[what]
	set := func() {
		r.c.s.mu.Lock()
		defer r.c.s.mu.Unlock()
		for _, d := range ds {
			r.q.groups[r.group][d.Handle] = next
		}
		r.c.s.tell()
	}
	if delay > 0 {
		time.AfterFunc(delay, set)
	} else {
		set()
	}
	return make([]error, len(ds))
}
