// Package newdriver is a complete driver over a Go map: the mandatory methods
// of package spi and nothing else. Copy it to begin a driver of your own; the
// guide is docs/writing-a-driver.md.
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

type state struct {
	settled  bool
	delivery int
	until    time.Time // the end of the lease
}

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
	return s.endpoint(), ctx.Err()
}

// tell wakes everybody who waits for messages. The caller holds s.mu.
func (s *System) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// endpoint is a connection, a sender, or a part of a receiver.
type endpoint struct {
	s    *System
	life context.Context
	end  context.CancelFunc
	made []func(context.Context) error // closes what was made; guarded by s.mu
}

func (s *System) endpoint() *endpoint {
	e := &endpoint{s: s}
	e.life, e.end = context.WithCancel(context.Background())
	return e
}

// enter locks the system for a call, unless its context or endpoint has ended.
func (e *endpoint) enter(ctx context.Context, op string) error {
	err := ctx.Err()
	if e.life.Err() != nil {
		err = om.NewError(om.CodeClosed, op, "", "it was closed")
	}
	if err == nil {
		e.s.mu.Lock()
	}
	return err
}

func (e *endpoint) Close(ctx context.Context) error {
	e.end()
	e.s.mu.Lock()
	made := e.made
	e.s.mu.Unlock()
	for _, end := range made {
		_ = end(ctx)
	}
	return nil
}

// Capabilities declares nothing: that is a conforming driver, too.
func (e *endpoint) Capabilities() om.Capabilities { return nil }

func (e *endpoint) NewSender(ctx context.Context, _ spi.SenderConfig) (spi.Sender, error) {
	if err := e.enter(ctx, "new sender"); err != nil {
		return nil, err
	}
	defer e.s.mu.Unlock()
	sender := e.s.endpoint()
	e.made = append(e.made, sender.Close)
	return sender, nil
}

func (e *endpoint) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	if err := e.enter(ctx, "new receiver"); err != nil {
		return nil, err
	}
	defer e.s.mu.Unlock()
	q, ok := e.s.queues[cfg.Queue]
	if !ok {
		return nil, om.NewError(om.CodeDestinationNotFound, "bind", cfg.Queue, "no queue has that name")
	}
	if _, known := q.groups[cfg.Group]; !known && cfg.Start.IsEnd() {
		q.groups[cfg.Group] = slices.Repeat([]state{{settled: true}}, len(q.messages))
	}
	r := &receiver{e.s.endpoint(), q, cfg, map[int]int{}}
	e.made = append(e.made, r.Close)
	return r, nil
}

func (e *endpoint) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	if err := e.enter(ctx, "send"); err != nil {
		return nil, err
	}
	defer e.s.mu.Unlock()
	outs := make([]spi.Outcome, len(ms))
	for i, m := range ms {
		outs[i] = e.s.store(m)
	}
	e.s.tell()
	return outs, nil
}

// store stores a copy of m: the message belongs to the caller.
func (s *System) store(m *om.Message) (out spi.Outcome) {
	q := s.queues[m.Destination]
	refused := spi.Refuse("send", m, nil)
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

// receiver implements spi.Receiver.
type receiver struct {
	*endpoint
	q   *queue
	cfg spi.ReceiverConfig
	out map[int]int // place → delivery, of what it was given
}

// receipt holds the number of its delivery: an old one is told from a new one.
type receipt struct{ place, delivery int }

func (r *receiver) Receive(ctx context.Context, max int) ([]spi.Received, error) {
	for {
		if err := r.enter(ctx, "receive"); err != nil {
			return nil, err
		}
		got, next := r.take(max)
		changed := r.s.changed
		r.s.mu.Unlock()
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-changed:
		case <-time.After(next): // the lease of somebody ends
		case <-ctx.Done():
		case <-r.life.Done():
		}
	}
}

// take leases what is free, or tells how long to wait. The caller holds s.mu.
func (r *receiver) take(max int) (got []spi.Received, next time.Duration) {
	now, next := time.Now(), time.Hour
	states := append(r.q.groups[r.cfg.Group], make([]state, len(r.q.messages)-len(r.q.groups[r.cfg.Group]))...)
	r.q.groups[r.cfg.Group] = states
	for i := range states {
		st := &states[i]
		switch {
		case st.settled || len(got) == max:
		case st.until.After(now):
			next = min(next, st.until.Sub(now))
		default:
			st.delivery++
			st.until = now.Add(r.cfg.Lease)
			r.out[i] = st.delivery
			got = append(got, spi.Received{Message: r.q.messages[i].Clone(), Receipt: receipt{i, st.delivery}, Partition: -1, Offset: -1, LeaseUntil: st.until})
		}
	}
	return got, next
}

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	if err := r.enter(ctx, "ack"); err != nil {
		return nil, err
	}
	defer r.s.mu.Unlock()
	errs := make([]error, len(receipts))
	for i, v := range receipts {
		rc := v.(receipt)
		st := &r.q.groups[r.cfg.Group][rc.place]
		if ended := st.delivery != rc.delivery || !st.until.After(time.Now()); ended && !st.settled {
			errs[i] = om.NewError(om.CodeStaleReceipt, "ack", r.cfg.Queue, "the lease has ended")
			continue
		}
		st.settled = true
	}
	return errs, nil
}

// Close gives back what was not acknowledged.
func (r *receiver) Close(ctx context.Context) error {
	_ = r.endpoint.Close(ctx)
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for i, delivery := range r.out {
		if st := &r.q.groups[r.cfg.Group][i]; st.delivery == delivery {
			st.until = time.Time{}
		}
	}
	r.s.tell()
	return nil
}
