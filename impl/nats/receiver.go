package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	c      *conn
	q      *queue
	cfg    spi.ReceiverConfig
	turns  lease.Turns
	rounds sync.WaitGroup // requests that messages may still come from
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	q, err := c.lookUp(ctx, cfg.Queue)
	if err := cmp.Or(err, spi.CheckName("bind", "group", cfg.Group)); err != nil {
		return nil, err
	}
	wait := c.ackWait
	for i := range q.streams {
		consumer, err := c.join(ctx, q, int32(i), cfg.Group, cfg.Start)
		if err != nil {
			return nil, err
		}
		wait = min(wait, consumer.CachedInfo().Config.AckWait)
	}
	r := &receiver{c: c, q: q, cfg: cfg}
	r.Init(r, lease.Config{Queue: cfg.Queue, Lease: cfg.Lease, Wait: wait})
	return r, c.Own(r)
}

func (r *receiver) Close(ctx context.Context) error {
	r.c.Disown(r)
	err := r.Keeper.Close(ctx)
	_, late := spi.Bound(ctx, func() (any, error) { r.rounds.Wait(); return nil, nil }, func(any) {})
	return cmp.Or(err, late)
}

// Fetch implements lease.System.
func (r *receiver) Fetch(ctx context.Context, limit int) error {
	return r.turns.Fetch(r.q.Partitions, limit, func(partitions []int, limit int, wait bool) (bool, error) {
		return r.ask(ctx, partitions, limit, wait)
	})
}

// ask asks partitions for up to limit messages each. Messages that are on their
// way when it returns arrive later.
func (r *receiver) ask(ctx context.Context, partitions []int, limit int, wait bool) (came bool, err error) {
	subjects := make([]string, len(partitions))
	for i, p := range partitions {
		subjects[i] = "$JS.API.CONSUMER.MSG.NEXT." + r.q.streams[p] + "." + spi.Token(r.cfg.Group)
	}
	within, end := r.c.calls.Breaks.Within(ctx, waitTime+answerTime, nats.ErrTimeout, func(err error) bool {
		return slices.ContainsFunc(subjects, func(s string) bool { return concerns(err, s) })
	})
	round, inbox := lease.NewRound(partitions, limit, wait), r.c.nc.NewInbox()+"."
	sub, err := r.c.nc.Subscribe(inbox+"*", func(n *nats.Msg) {
		p, err := strconv.Atoi(n.Subject[strings.LastIndexByte(n.Subject, '.')+1:]) // of the stream's subject and the inbox alike
		switch status := n.Header.Get("Status"); {
		case err != nil || p >= r.q.Partitions:
		case n.Reply != "":
			r.take(n, int32(p))
			round.Came(p, 1, nil)
		case status == "404" || status == "408": // no more
			round.Came(p, 0, nil)
		case status == "503":
			round.Came(p, 0, nats.ErrNoResponders)
		default:
			round.Came(p, 0, errors.New("the server says "+n.Header.Get("Description")))
		}
	})
	if err != nil {
		return false, end(err)
	}
	r.rounds.Add(1)
	sub.SetClosedHandler(func(string) { r.rounds.Done() })
	_ = sub.SetPendingLimits(-1, -1)
	request := fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, limit)
	if wait {
		request = fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, limit, waitTime)
	}
	err = r.c.calls.ready()
	for i := 0; err == nil && i < len(partitions); i++ {
		err = r.c.nc.PublishRequest(subjects[i], inbox+strconv.Itoa(partitions[i]), request)
	}
	if err == nil {
		if came, err = round.Await(within); err != nil && within.Err() == nil {
			err = r.why(ctx, err)
		}
	}
	if round.Done() {
		_ = sub.Unsubscribe()
	} else {
		_ = sub.Drain()
	}
	return came, end(err)
}

// take takes a message that has come.
func (r *receiver) take(n *nats.Msg, p int32) {
	meta, err := n.Metadata()
	if err != nil {
		return // not a delivery
	}
	got, err := r.q.unpack(r.cfg.Queue, p, meta.Sequence.Stream, meta.Timestamp, n.Header, n.Data)
	if err != nil {
		r.c.log.Error("a message cannot be read", "error", err)
	}
	got.Message.Ext.DeliveryCount = int(meta.NumDelivered)
	r.Arrive(n.Reply, got, err)
}

// why finds out why a partition does not answer: the queue or the group is gone,
// of which the first stream decides, or else what the server said. It is nil
// when the group was made anew.
func (r *receiver) why(ctx context.Context, said error) error {
	r.c.moving.RLock()
	defer r.c.moving.RUnlock()
	ctx, end := r.c.calls.bound(ctx)
	_, err := r.c.js.Consumer(ctx, r.q.streams[0], spi.Token(r.cfg.Group))
	err = end(err)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		r.c.queues.Delete(r.q.Name)
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		r.Forget()
	case err == nil && !strings.Contains(said.Error(), "Consumer Deleted"):
		err = said
	}
	return err
}

// Tell implements lease.System. One server takes what is said of a partition in
// the order in which one connection says it, so that the answer to the last of
// a run stands for all. Of several servers each may have been the leader, so
// that there every delivery is a run. A server that is started again remembers
// only what was given back with a delay, so that it is 1 ns at least.
func (r *receiver) Tell(ctx context.Context, what om.Action, ds []*lease.Delivery[string], delay time.Duration) []error {
	say := []byte("+ACK")
	switch what {
	case om.Nack:
		say = fmt.Appendf(nil, `-NAK {"delay":%d}`, max(delay, 1))
	case om.Extend:
		say = []byte("+WPI")
	}
	nc := r.c.nc
	connects := nc.Stats().Reconnects
	var lasts []int // the last of each run
	for i, d := range ds {
		if !r.q.clustered && i+1 < len(ds) && ds[i+1].Partition == d.Partition {
			_ = nc.Publish(d.Handle, say) // if this fails, so does the last
		} else {
			lasts = append(lasts, i)
		}
	}
	answers := r.c.calls.ask(ctx, len(lasts), func(i int) *nats.Msg { return &nats.Msg{Subject: ds[lasts[i]].Handle, Data: say} })
	lost := nc.Stats().Reconnects != connects // meanwhile, and some of a run may be too
	why := sync.OnceValue(func() error { return r.why(ctx, nats.ErrNoResponders) })
	errs := make([]error, 0, len(ds))
	for i, a := range answers {
		if errors.Is(a.Err, nats.ErrNoResponders) {
			a.Err = why()
		} else if a.Err == nil && lost {
			a.Err = nats.ErrDisconnected
		}
		for len(errs) <= lasts[i] {
			err := a.Err
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				err = lease.Stale(what.String(), r.cfg.Queue, ds[len(errs)])
			}
			errs = append(errs, err)
		}
	}
	return errs
}
