package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/lease"
)

// waitTime is how long a request for messages waits at the server; it is
// renewed, so that one that a server has forgotten costs no more than that.
const waitTime = 4 * time.Second

// receiver implements spi.Receiver, spi.Nacker, spi.Leaser and lease.System. A
// delivery is named by the subject that settles it. The server has one AckWait
// for all of a group, and takes an acknowledgement however late it comes, even
// for a later delivery: hence the Keeper.
type receiver struct {
	lease.Keeper[string]
	c    *conn
	q    *queue
	cfg  spi.ReceiverConfig
	next string       // the subject to ask for messages
	made atomic.Int64 // when the stream was made
	mu   sync.Mutex   // held while it is found out why nothing comes
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	q, err := c.lookUp(ctx, cfg.Queue)
	if err := cmp.Or(err, spi.CheckName("bind", "group", cfg.Group)); err != nil {
		return nil, err
	}
	consumer, err := c.join(ctx, q, cfg.Group, cfg.Start)
	if err != nil {
		return nil, err
	}
	r := &receiver{c: c, q: q, cfg: cfg, next: "$JS.API.CONSUMER.MSG.NEXT." + q.stream + "." + spi.Token(cfg.Group)}
	r.made.Store(q.CachedInfo().Created.UnixNano())
	r.Init(r, lease.Config{Queue: cfg.Queue, Lease: cfg.Lease, Wait: min(c.ackWait, consumer.CachedInfo().Config.AckWait)})
	return r, c.Own(r)
}

func (r *receiver) Close(ctx context.Context) error {
	r.c.Disown(r)
	return r.Keeper.Close(ctx)
}

// Fetch implements lease.System. The server sends what is there, or else waits
// for the first messages, and says when there are no more. Messages that are on
// their way when it returns arrive later.
func (r *receiver) Fetch(ctx context.Context, limit int) error {
	within, end := r.c.calls.Breaks.Within(ctx, waitTime+answerTime, nats.ErrTimeout, func(err error) bool { return concerns(err, r.next) })
	over, left, inbox := make(chan error, 1), limit, r.c.nc.NewInbox()
	sub, err := r.c.nc.Subscribe(inbox, func(n *nats.Msg) { // one at a time
		var err error
		switch status := n.Header.Get("Status"); {
		case n.Reply != "":
			r.take(n)
			if left--; left > 0 {
				return
			}
		case status == "404" || status == "408": // no more
		case status == "503":
			err = nats.ErrNoResponders
		default:
			err = errors.New("the server says " + n.Header.Get("Description"))
		}
		select {
		case over <- err:
		default:
		}
	})
	if err != nil {
		return end(err)
	}
	r.Late.Add(1)
	sub.SetClosedHandler(func(string) { r.Late.Done() })
	_ = sub.SetPendingLimits(-1, -1)
	if err = r.c.calls.ready(); err == nil {
		err = r.c.nc.PublishRequest(r.next, inbox, fmt.Appendf(nil, `{"batch":%d,"no_wait":true,"expires":%d}`, limit, waitTime))
	}
	if err == nil {
		select {
		case err = <-over:
			_ = sub.Unsubscribe()
			if err != nil {
				err = r.why(ctx, err)
			}
			return end(err)
		case <-within.Done():
			err = within.Err()
		}
	}
	_ = sub.Drain()
	return end(err)
}

// take takes a message that has come.
func (r *receiver) take(n *nats.Msg) {
	meta, err := n.Metadata()
	if err != nil {
		return // not a delivery
	}
	got, err := r.q.unpack(r.cfg.Queue, n.Subject, meta.Sequence.Stream, meta.Timestamp, n.Header, n.Data)
	if err != nil {
		r.c.log.Error("a message cannot be read", "error", err)
	}
	got.Message.Ext.DeliveryCount = int(meta.NumDelivered)
	r.Arrive(n.Reply, got, err)
}

// why finds out why the server does not give messages: the queue or the group
// is gone, or else what it said. It is nil when the group was made anew, which
// the receiver does itself where the queue was deleted and made anew.
func (r *receiver) why(ctx context.Context, said error) error {
	made := r.made.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.c.moving.RLock()
	defer r.c.moving.RUnlock()
	if r.made.Load() != made { // another call has found out
		return nil
	}
	within, end := r.c.calls.bound(ctx)
	_, err := r.q.Consumer(within, spi.Token(r.cfg.Group))
	err = end(err)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		r.c.queues.Delete(r.q.Name)
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		r.Forget()
		if q, lost := r.c.lookUp(ctx, r.cfg.Queue); lost == nil {
			if now := q.CachedInfo().Created.UnixNano(); now != made {
				r.made.Store(now)
				_, err = r.c.join(ctx, q, r.cfg.Group, r.cfg.Start)
			}
		}
	case err == nil && !strings.Contains(said.Error(), "Consumer Deleted"):
		err = said
	}
	return err
}

// Tell implements lease.System. One server takes what is said of a consumer in
// the order in which one connection says it, so that the answer to the last
// stands for all. Of several servers each may have been the leader, so that
// there everything is answered. A server that is started again remembers only
// what was given back with a delay, so that it is 1 ns at least.
func (r *receiver) Tell(ctx context.Context, what om.Action, ds []*lease.Delivery[string], delay time.Duration) []error {
	say := []byte("+ACK")
	switch what {
	case om.Nack:
		say = fmt.Appendf(nil, `-NAK {"delay":%d}`, max(delay, 1))
	case om.Extend:
		say = []byte("+WPI")
	}
	nc := r.c.nc
	connects, asked := nc.Stats().Reconnects, ds
	if !r.q.clustered {
		asked = ds[len(ds)-1:]
		for _, d := range ds[:len(ds)-1] {
			_ = nc.Publish(d.Handle, say) // if this fails, so does the last
		}
	}
	answers := r.c.calls.ask(ctx, len(asked), func(i int) string { return asked[i].Handle }, func(i int, reply string) error { return nc.PublishRequest(asked[i].Handle, reply, say) })
	lost := nc.Stats().Reconnects != connects // meanwhile, and some that were said may be too
	why := sync.OnceValue(func() error { return cmp.Or(r.why(ctx, nats.ErrNoResponders), error(jetstream.ErrConsumerNotFound)) })
	errs := make([]error, len(ds))
	for i, d := range ds {
		err := answers[min(i, len(answers)-1)].Err
		if errors.Is(err, nats.ErrNoResponders) {
			err = why()
		} else if err == nil && lost {
			err = nats.ErrDisconnected
		}
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			err = lease.Stale(what.String(), r.cfg.Queue, d)
		}
		errs[i] = err
	}
	return errs
}
