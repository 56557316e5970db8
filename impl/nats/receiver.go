package nats

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// receiver implements spi.Receiver, spi.Nacker and spi.Leaser.
type receiver struct {
	puller
	name  string // of the queue, as the caller names it
	group string
	lease time.Duration
	wait  time.Duration // after which the server delivers again
	turn  chan struct{} // held by the Receive that asks the server
	next  int           // the partition that is asked next

	closing chan struct{}

	mu      sync.Mutex
	closed  bool
	arrived []*delivery // not handed out yet
	out     []*delivery // handed out; settled ones go when keep finds them
	keeper  *time.Timer
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	const op = "bind"
	q, err := c.lookUp(ctx, op, cfg.Queue)
	if err != nil {
		return nil, err
	}
	if err := checkName(op, "group", cfg.Group); err != nil {
		return nil, err
	}
	r := &receiver{name: cfg.Queue, group: cfg.Group, lease: cfg.Lease, wait: c.ackWait, turn: make(chan struct{}, 1), closing: make(chan struct{})}
	r.conn, r.q, r.consumer, r.arrive, r.ended = c, q, token(cfg.Group), r.take, r.closing
	for i := range q.streams {
		info, err := c.join(ctx, q, i, cfg.Group, cfg.Start)
		if err != nil {
			return nil, wrap(err, op, cfg.Queue)
		}
		r.wait = min(r.wait, info.Config.AckWait)
	}
	r.keeper = time.AfterFunc(time.Hour, r.keep)
	r.keeper.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, om.NewError(om.CodeClosed, op, cfg.Queue, "the connection is closed")
	}
	c.receivers[r] = true
	return r, nil
}

// begin checks that an operation may begin.
func (r *receiver) begin(ctx context.Context, op string) error {
	select {
	case <-r.closing:
		return om.NewError(om.CodeClosed, op, r.name, "the receiver is closed")
	default:
		return r.conn.begin(ctx, op, r.name)
	}
}

func (r *receiver) Receive(ctx context.Context, limit int) ([]spi.Received, error) {
	const op = "receive"
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
	case <-r.closing:
	}
	for {
		if err := r.begin(ctx, op); err != nil {
			return nil, err
		}
		if ds := r.hand(limit); len(ds) > 0 {
			return r.open(ds)
		}
		if err := r.fetch(ctx, limit); err != nil && !r.some() {
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				r.forget()
			}
			return nil, wrap(err, op, r.name)
		}
	}
}

// fetch asks for messages that are there, of so many partitions at once that no
// more than limit can come, and then waits for those that are not.
func (r *receiver) fetch(ctx context.Context, limit int) error {
	n := len(r.q.streams)
	at := min(n, limit)
	for asked := 0; asked < n; asked += at {
		partitions := make([]int32, 0, at)
		for range min(at, n-asked) {
			partitions = append(partitions, int32(r.next))
			r.next = (r.next + 1) % n
		}
		if err := r.ask(ctx, partitions, limit/len(partitions), false); err != nil || r.some() {
			return err
		}
	}
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return r.ask(ctx, all, limit, true)
}

func (r *receiver) some() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.arrived) > 0
}

// open opens the messages of deliveries. One that cannot be read is delivered
// again when its lease ends, and fails the call when it came alone.
func (r *receiver) open(ds []*delivery) ([]spi.Received, error) {
	out := make([]spi.Received, 0, len(ds))
	var bad error
	for _, d := range ds {
		got, err := d.place.open(d.msg)
		d.msg = nil
		if err != nil {
			r.conn.log.Error("a message cannot be read", "error", err)
			bad = err
			continue
		}
		got.Receipt, got.LeaseUntil = d, d.until
		got.Message.Ext.DeliveryCount = int(d.count)
		out = append(out, got)
	}
	if len(out) > 0 {
		bad = nil
	}
	return out, bad
}

// Close implements spi.Receiver.
func (r *receiver) Close(ctx context.Context) error {
	r.conn.mu.Lock()
	delete(r.conn.receivers, r)
	r.conn.mu.Unlock()
	return r.shut(ctx)
}

// shut ends the receiver and gives back what it holds.
func (r *receiver) shut(ctx context.Context) error {
	r.mu.Lock()
	before := r.closed
	r.closed = true
	r.mu.Unlock()
	if before {
		return nil
	}
	close(r.closing)
	r.keeper.Stop()
	drained := make(chan struct{})
	go func() {
		r.turn <- struct{}{} // the last Receive has gone
		r.rounds.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-ctx.Done():
	}
	r.mu.Lock()
	for _, d := range append(r.arrived, r.out...) {
		if d.state == held {
			d.state = ended
			r.refuse(d)
		}
	}
	r.arrived, r.out = nil, nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := r.conn.nc.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && r.conn.nc.IsConnected() {
		return wrap(err, "close", r.name)
	}
	return nil
}
