package oms

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

const (
	// replyExpires is after how long the reply queue of a producer that died is
	// deleted, and how long one may be without its connection.
	replyExpires = 5 * time.Minute
	// replyGroup is the group that receives replies.
	replyGroup = "reply"
	// replyLease is for the time from the arrival of a reply to its
	// acknowledgement: what is late by more comes again and is dropped.
	replyLease = 30 * time.Second
	// replyBatch is the most replies in one receive.
	replyBatch = 256
	// deleteWait bounds the deletion of a reply queue, which would expire anyhow.
	deleteWait = 5 * time.Second
)

// replies is a reply queue and the requests that wait for what comes there.
type replies struct {
	queue    string // the long name
	ap       *accessPoint
	admin    spi.Admin
	receiver spi.Receiver
	onLate   func(*om.Message)
	cancel   context.CancelFunc
	settled  chan []spi.Receipt // to be acknowledged
	gone     chan struct{}      // closed when no reply comes any more
	done     sync.WaitGroup

	late    atomic.Int64
	mu      sync.Mutex
	waiting map[string]chan *om.Message // by correlation id; each has room for one
	err     error                       // why gone is closed
}

// openReplies makes a reply queue and begins to receive from it.
func openReplies(ctx context.Context, p *producer) (*replies, error) {
	const op = "request"
	admin, ok := spi.As[spi.Admin](p.ap.conn)
	if !ok {
		return nil, notHonest(op, "", om.CapRequestReply, "Admin")
	}
	q := &replies{
		queue: om.JoinQueueName(om.DefaultNamespace, om.ReplyQueuePrefix+rand.Text()),
		ap:    p.ap, admin: admin, onLate: p.cfg.OnLateReply,
		settled: make(chan []spi.Receipt, 64), gone: make(chan struct{}), waiting: make(map[string]chan *om.Message),
	}
	if err := admin.CreateQueue(ctx, om.QueueConfig{Name: q.queue, Partitions: 1, Expires: replyExpires}); err != nil {
		return nil, p.ap.errs.wrap(err, op, q.queue)
	}
	var err error
	if q.receiver, err = p.ap.conn.NewReceiver(ctx, spi.ReceiverConfig{Queue: q.queue, Group: replyGroup, Lease: replyLease}); err != nil {
		q.delete(ctx)
		return nil, p.ap.errs.wrap(err, op, q.queue)
	}
	life, cancel := context.WithCancel(context.Background())
	q.cancel = cancel
	q.done.Go(func() { q.receive(life, p.cfg.Retry) })
	q.done.Go(func() { q.acknowledge(life) })
	return q, nil
}

// receive hands replies to those who wait, until ctx ends or the queue is gone.
func (q *replies) receive(ctx context.Context, pauses om.RetryPolicy) {
	defer close(q.settled)
	pace := backoff{policy: pauses}
	for {
		got, err := q.receiver.Receive(ctx, replyBatch)
		err = q.ap.errs.wrap(err, "receive", q.queue)
		switch {
		case ctx.Err() != nil:
			q.lose(ctx.Err())
			return
		case errors.Is(err, om.ErrDestination), errors.Is(err, om.ErrClosed), errors.Is(err, om.ErrSecurity):
			q.lose(err)
			return
		case err != nil:
			q.ap.logger.Warn("replies cannot be received; it is tried again", "queue", q.queue, "error", err)
			pace.pause(ctx)
			continue
		}
		pace.tries = 0
		receipts := make([]spi.Receipt, len(got))
		for i := range got {
			receipts[i] = got[i].Receipt
			q.hand(got[i].Message)
		}
		select {
		case q.settled <- receipts:
		case <-ctx.Done():
		}
	}
}

// acknowledge settles replies beside their receiving, as many at a time as have
// come. One that cannot be settled comes again and is dropped.
func (q *replies) acknowledge(ctx context.Context) {
	for receipts := range q.settled {
		for more := true; more; {
			select {
			case some := <-q.settled:
				receipts, more = append(receipts, some...), some != nil
			default:
				more = false
			}
		}
		if _, err := q.receiver.Ack(ctx, receipts); err != nil && ctx.Err() == nil {
			q.ap.logger.Debug("replies cannot be acknowledged", "queue", q.queue, "error", err)
		}
	}
}

// hand gives a reply to the request that waits for it.
func (q *replies) hand(m *om.Message) {
	q.mu.Lock()
	answer := q.waiting[m.Ext.CorrelationID]
	if answer != nil {
		delete(q.waiting, m.Ext.CorrelationID) // another one is late
		answer <- m
	}
	q.mu.Unlock()
	if answer == nil {
		q.tooLate(m)
	}
}

// tooLate drops a reply.
func (q *replies) tooLate(m *om.Message) {
	late := q.late.Add(1)
	if q.onLate != nil {
		q.onLate(m)
		return
	}
	q.ap.logger.LogAttrs(context.Background(), slog.LevelDebug, "a reply that no request waits for was dropped",
		slog.String("queue", q.queue), slog.String("correlation_id", m.Ext.CorrelationID), slog.Int64("dropped", late))
}

// wait has the reply to a request told.
func (q *replies) wait(request *om.Message) (<-chan *om.Message, error) {
	id := request.Ext.CorrelationID
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[id] != nil {
		return nil, badParameter("request", request.Destination, "a request with the correlation id %q is under way; use another one for each, or none", id)
	}
	answer := make(chan *om.Message, 1)
	q.waiting[id] = answer
	return answer, nil
}

// forget ends the waiting for the reply to a request. One that came when nobody
// looked any more is late.
func (q *replies) forget(id string, answer <-chan *om.Message) {
	q.mu.Lock()
	if q.waiting[id] == answer {
		delete(q.waiting, id)
	}
	q.mu.Unlock()
	select {
	case m := <-answer:
		q.tooLate(m)
	default:
	}
}

// lose notes that no reply comes any more.
func (q *replies) lose(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	close(q.gone)
}

// lost returns why no reply comes any more, nil while they do.
func (q *replies) lost() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// close ends receiving and deletes the queue.
func (q *replies) close(limit context.Context) {
	q.cancel()
	q.done.Wait()
	if err := release(limit, q.receiver.Close); err != nil {
		q.ap.logger.Debug("the receiver of replies cannot be closed", "queue", q.queue, "error", err)
	}
	q.delete(limit)
}

// delete deletes the queue; one that cannot be deleted expires.
func (q *replies) delete(limit context.Context) {
	limit, cancel := context.WithTimeout(context.WithoutCancel(limit), deleteWait)
	defer cancel()
	if err := q.admin.DeleteQueue(limit, q.queue); err != nil && !errors.Is(err, om.ErrDestination) {
		q.ap.logger.Debug("a reply queue cannot be deleted; it expires", "queue", q.queue, "error", err)
	}
}
