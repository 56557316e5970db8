package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// waitTime is how long a request for messages waits at the server; it is
// renewed, so that one that a server has forgotten costs no more than that.
const waitTime = 5 * time.Second

// puller asks the consumers of one name on a queue's streams for messages.
type puller struct {
	conn     *conn
	q        *queue
	consumer string
	arrive   func(partition int32, n *nats.Msg)
	ended    <-chan struct{} // closed to end rounds; may be nil
	rounds   sync.WaitGroup  // that messages may still come from
}

// round is one request to each of some partitions.
type round struct {
	p    *puller
	wait bool // it is enough when one message has come

	mu   sync.Mutex
	left map[int32]int // messages that a partition may still send
	came bool
	over bool
	done chan struct{} // closed when it is over
	at   int32         // the partition of err
	err  error
}

// ask asks partitions for up to limit messages each, which go to arrive. It
// returns when all have sent what is there; with wait when one message has
// come, or none within waitTime. Messages that are on their way when it returns
// arrive later.
func (p *puller) ask(ctx context.Context, partitions []int32, limit int, wait bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	nc, lost := p.conn.nc, p.conn.connected()
	r := &round{p: p, wait: wait, left: make(map[int32]int), done: make(chan struct{})}
	for _, partition := range partitions {
		r.left[partition] = limit
	}
	inbox := nc.NewInbox() + "."
	sub, err := nc.Subscribe(inbox+"*", r.take)
	if err != nil {
		return err
	}
	p.rounds.Add(1)
	sub.SetClosedHandler(func(string) { p.rounds.Done() })
	_ = sub.SetPendingLimits(-1, -1)
	request := fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, limit)
	if wait {
		request = fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, limit, waitTime)
	}
	for _, partition := range partitions {
		if err = nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.q.streams[partition]+"."+p.consumer, inbox+strconv.Itoa(int(partition)), request); err != nil {
			break
		}
	}
	timer := time.NewTimer(waitTime + answerTime)
	defer timer.Stop()
	if err == nil {
		select {
		case <-r.done:
		case <-ctx.Done():
			err = ctx.Err()
		case <-lost:
			err = nats.ErrDisconnected
		case <-p.ended:
		case <-timer.C:
			err = nats.ErrTimeout
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.left) == 0 {
		_ = sub.Unsubscribe()
	} else {
		_ = sub.Drain()
	}
	if err == nil && r.err != nil {
		err = p.why(ctx, r.at, r.err)
	}
	return err
}

// take takes a message or what the server says instead of one.
func (r *round) take(n *nats.Msg) {
	partition, _ := strconv.Atoi(n.Subject[strings.LastIndexByte(n.Subject, '.')+1:]) // of the stream's subject and the inbox alike
	if n.Reply != "" {
		r.p.arrive(int32(partition), n)
		r.count(int32(partition), 1, nil)
		return
	}
	const all = 1 << 30
	switch n.Header.Get("Status") {
	case "404", "408": // no more
		r.count(int32(partition), all, nil)
	case noResponders:
		r.count(int32(partition), all, nats.ErrNoResponders)
	default:
		r.count(int32(partition), all, errors.New("the server says "+n.Header.Get("Description")))
	}
}

func (r *round) count(partition int32, n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := r.left[partition]; left > n {
		r.left[partition] = left - n
	} else {
		delete(r.left, partition)
	}
	if err != nil {
		r.at, r.err = partition, err
	}
	r.came = r.came || n == 1
	if over := len(r.left) == 0 || r.err != nil || r.wait && r.came; over && !r.over {
		r.over = true
		close(r.done)
	}
}

// why finds out why a partition does not send: its stream or consumer is gone,
// or else what the server said. It is nil when the consumer was made anew.
func (p *puller) why(ctx context.Context, partition int32, said error) error {
	p.conn.moving.RLock()
	defer p.conn.moving.RUnlock()
	_, err := p.conn.js.Consumer(ctx, p.q.streams[partition], p.consumer)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		p.conn.forget(p.q.Name)
		return err
	case err != nil:
		return err
	case strings.Contains(said.Error(), "Consumer Deleted"):
		return nil
	}
	return said
}
