package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// The server has one AckWait for all of a group, and takes an acknowledgement
// however late it comes, even for a later delivery. So the receiver keeps the
// leases: while one lasts it tells the server that the work goes on, when it
// ends it gives the message back, and after that it settles nothing. A lease
// ends too when the server was not heard for so long that it may have delivered
// the message again.

// delivery is one delivery; its address is the spi.Receipt. The receiver's
// mutex guards until, sure and state.
type delivery struct {
	place
	r     *receiver
	msg   *nats.Msg // until it is handed out
	reply string    // the subject that settles it
	count uint64
	until time.Time // the end of the lease
	sure  time.Time // the server holds it until then
	state state
}

type state uint8

const (
	held    state = iota
	settled       // acknowledged
	ended         // given back, or its lease is over
)

// readyTime is how long a message that came is kept ready for the next Receive.
const readyTime = time.Second

// sureFrom is until when the server surely holds what it was told of at t.
func (r *receiver) sureFrom(t time.Time) time.Time { return t.Add(r.wait - r.wait/6) }

// take takes a message that has come.
func (r *receiver) take(partition int32, n *nats.Msg) {
	now := time.Now()
	at, count, err := r.q.place(n, r.name, partition)
	if err != nil {
		return // not a delivery
	}
	d := &delivery{place: at, r: r, msg: n, reply: n.Reply, count: count, until: now.Add(readyTime), sure: r.sureFrom(now)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.refuse(d)
		return
	}
	r.arrived = append(r.arrived, d)
	r.keepSoon()
}

// refuse gives a message back, as far as the connection lets it.
func (r *receiver) refuse(d *delivery) { _ = r.conn.nc.Publish(d.reply, nak) }

// giveUp ends a lease. The message is given back unless the server may have
// delivered it again already.
func (r *receiver) giveUp(d *delivery, now time.Time) {
	if d.state == held && now.Before(d.sure) {
		r.refuse(d)
	}
	d.state = ended
}

// hand hands out up to limit messages that have come.
func (r *receiver) hand(limit int) []*delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	ds := make([]*delivery, 0, min(limit, len(r.arrived)))
	n := 0
	for ; n < len(r.arrived) && len(ds) < limit; n++ {
		if d := r.arrived[n]; d.holds(now) {
			d.until = now.Add(r.lease)
			ds = append(ds, d)
		} else {
			r.giveUp(d, now)
		}
	}
	clear(r.arrived[:n])
	r.arrived = r.arrived[n:]
	r.out = append(r.out, ds...)
	return ds
}

func (d *delivery) holds(now time.Time) bool {
	return d.state == held && now.Before(d.until) && now.Before(d.sure)
}

// forget ends all leases without telling the server.
func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range append(r.arrived, r.out...) {
		if d.state == held {
			d.state = ended
		}
	}
	r.arrived, r.out = nil, nil
}

// keepSoon has keep called when it is next needed.
func (r *receiver) keepSoon() {
	if !r.closed && len(r.arrived)+len(r.out) > 0 {
		r.keeper.Reset(max(min(r.lease, r.wait, readyTime)/4, time.Millisecond))
	}
}

// keep ends leases that are over, and has the server hold the others.
func (r *receiver) keep() {
	now := time.Now()
	r.mu.Lock()
	var last []*delivery
	look := func(ds []*delivery) (rest []*delivery) {
		rest = ds[:0]
		for _, d := range ds {
			switch {
			case d.state != held:
				continue
			case !d.holds(now):
				r.giveUp(d, now)
				continue
			case d.sure.Sub(now) < r.wait/2:
				last = append(last, d)
			}
			rest = append(rest, d)
		}
		clear(ds[len(rest):])
		return rest
	}
	r.arrived, r.out = look(r.arrived), look(r.out)
	r.mu.Unlock()
	if len(last) > 0 {
		_, _ = r.settle(context.Background(), "extend", last, progress, func(*delivery) {})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keepSoon()
}

// What a receiver says of a delivery. A server that is started again remembers
// only what was given back with a delay, so that is the least.
var (
	ack      = []byte("+ACK")
	nak      = []byte(`-NAK {"delay":1}`)
	progress = []byte("+WPI")
)

func (r *receiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	return r.settleAll(ctx, "ack", receipts, ack, func(d *delivery) { d.state = settled })
}

func (r *receiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	say := nak
	if delay > 0 {
		say = fmt.Appendf(nil, `-NAK {"delay":%d}`, delay)
	}
	return r.settleAll(ctx, "nack", receipts, say, func(d *delivery) { d.state = ended })
}

func (r *receiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	until := time.Now().Add(lease)
	return r.settleAll(ctx, "extend", receipts, progress, func(d *delivery) { d.until = until })
}

func (r *receiver) settleAll(ctx context.Context, op string, receipts []spi.Receipt, say []byte, done func(*delivery)) ([]error, error) {
	if err := r.begin(ctx, op); err != nil {
		return nil, err
	}
	ds := make([]*delivery, len(receipts))
	for i, v := range receipts {
		d, ok := v.(*delivery)
		if !ok || d.r != r {
			return nil, om.NewError(om.CodeBadParameter, op, r.name, "receipt %d is not one of this receiver", i)
		}
		ds[i] = d
	}
	return r.settle(ctx, op, ds, say, done)
}

// settle tells the server of deliveries that are held still and calls done for
// each that it has confirmed.
func (r *receiver) settle(ctx context.Context, op string, ds []*delivery, say []byte, done func(*delivery)) ([]error, error) {
	errs := make([]error, len(ds))
	s := &settling{r: r, op: op, say: say, done: done, sent: time.Now(), connects: r.conn.nc.Stats().Reconnects, errs: errs}
	r.mu.Lock()
	for i, d := range ds {
		switch {
		case d.holds(s.sent):
			s.add(d, i)
		case d.state != settled || op != "ack":
			errs[i] = stale(op, d)
		}
	}
	r.mu.Unlock()
	for len(s.runs) > 0 {
		n := min(len(s.runs), maxCall)
		r.conn.calls.do(ctx, n, s)
		s.runs = s.runs[n:]
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.explain(ctx, op, ds, errs)
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return errs, nil
	}
	return nil, nil
}

// explain finds out why nobody took what was said of deliveries.
func (r *receiver) explain(ctx context.Context, op string, ds []*delivery, errs []error) {
	why := make(map[int32]error)
	for i, err := range errs {
		if !errors.Is(err, nats.ErrNoResponders) {
			continue
		}
		at := ds[i].partition
		if _, ok := why[at]; !ok {
			why[at] = wrap(r.why(ctx, at, nats.ErrNoResponders), op, r.name)
		}
		if errs[i] = why[at]; errors.Is(errs[i], jetstream.ErrConsumerNotFound) {
			errs[i] = stale(op, ds[i])
		}
	}
}

func stale(op string, d *delivery) error {
	return om.NewError(om.CodeStaleReceipt, op, d.name, "the delivery of partition %d, offset %d has ended and settles nothing any more; use a longer lease or extend it", d.partition, d.offset())
}

// settling implements requests for runs of deliveries. One server takes what is
// said of a partition in the order in which one connection says it, so that
// the answer to the last of a run stands for all. Of several servers each may
// have been the leader, so that there every delivery is a run.
type settling struct {
	r        *receiver
	op       string
	say      []byte
	done     func(*delivery)
	sent     time.Time
	ds       []*delivery
	places   []int // of ds in errs
	runs     []run
	errs     []error
	connects uint64
}

// run is ds[from:to], all of one partition.
type run struct{ from, to int }

func (s *settling) add(d *delivery, place int) {
	s.ds, s.places = append(s.ds, d), append(s.places, place)
	n := len(s.ds)
	if last := len(s.runs) - 1; last >= 0 && !s.r.q.clustered && s.ds[n-2].partition == d.partition {
		s.runs[last].to = n
	} else {
		s.runs = append(s.runs, run{n - 1, n})
	}
}

func (s *settling) subject(i int) string { return s.ds[s.runs[i].from].reply }

func (s *settling) publish(i int, reply string) error {
	nc, last := s.r.conn.nc, s.runs[i].to-1
	for _, d := range s.ds[s.runs[i].from:last] {
		if err := nc.Publish(d.reply, s.say); err != nil {
			return err
		}
	}
	return nc.PublishRequest(s.ds[last].reply, reply, s.say)
}

func (s *settling) answered(i int, _ *nats.Msg, err error) {
	if err == nil && s.connects != s.r.conn.nc.Stats().Reconnects {
		err = nats.ErrDisconnected // meanwhile, and some may be lost
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for k := s.runs[i].from; k < s.runs[i].to; k++ {
		if err != nil {
			s.errs[s.places[k]] = wrap(err, s.op, s.r.name)
			continue
		}
		s.done(s.ds[k])
		s.ds[k].sure = s.r.sureFrom(s.sent)
	}
}
