package memory

import (
	"context"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// sender implements spi.Sender, spi.TransactedSender and spi.Transactor.
type sender struct {
	conn    *conn
	checker om.TransactionChecker
	id      string // of the producer; empty without one
	epoch   int
	group   string // of producers; empty for none but itself
	life
	asking sync.WaitGroup  // calls of the checker
	ctx    context.Context // of these calls
	cancel context.CancelFunc
}

func newSender(c *conn, cfg spi.SenderConfig) *sender {
	s := &sender{conn: c, checker: cfg.Checker, id: cfg.ProducerID, group: cfg.Group}
	if s.id != "" {
		c.s.epochs[s.id]++
		s.epoch = c.s.epochs[s.id]
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	c.senders[s] = true
	return s
}

// accepted is a message that passed all checks, as it will be stored.
type accepted struct {
	m         *om.Message
	queue     *queue
	partition int32
}

func (a *accepted) publish() om.SendResult {
	id, now := a.queue.idOf(a.m), time.Now()
	if first, ok := a.queue.ids[id]; ok && id != "" && now.Sub(first.at) < a.queue.config.Deduplication.Window {
		return first.result
	}
	partition, offset := a.queue.publish(a.m, a.partition)
	r := om.SendResult{MessageID: a.m.MessageID, Partition: partition, Offset: offset}
	if id != "" {
		first := known{now, r}
		first.result.Duplicate = true
		a.queue.ids[id] = first
	}
	return r
}

// known is where the first message with an id is, as repeated ones are told.
type known struct {
	at     time.Time
	result om.SendResult
}

// idOf returns what the message is known by in the queue, empty without.
func (q *queue) idOf(m *om.Message) string {
	switch by := q.config.Deduplication.By; by {
	case "":
		return ""
	case om.DeduplicateByKey:
		return m.Ext.MessageKey
	default:
		return m.Properties.GetString(by, "")
	}
}

func (s *sender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	const op = "send"
	sys := s.conn.s
	if err := sys.enter(ctx, &s.life, op, "", sys.flowing); err != nil {
		return nil, err
	}
	defer sys.mu.Unlock()
	outs := make([]spi.Outcome, len(ms))
	accepts := make([]*accepted, len(ms))
	refused := -1
	turns := map[*queue]int32{} // one turn for each queue and call
	for i, m := range ms {
		if outs[i].Err = s.fenced(op, m.Destination); outs[i].Err == nil {
			accepts[i], outs[i].Err = s.conn.accept(op, m, turns)
		}
		if outs[i].Err != nil && refused < 0 {
			refused = i
		}
	}
	for i, a := range accepts {
		switch {
		case a == nil:
		case refused >= 0 && sys.caps.Has(om.CapAtomicBatch):
			outs[i].Err = om.NewError(om.CodeBadRequest, op, ms[i].Destination, "not stored, because message %d of the batch was refused; send it again without that one", refused)
		default:
			outs[i].SendResult = a.publish()
		}
	}
	return outs, nil
}

// fenced tells whether a later sender has the producer id.
func (s *sender) fenced(op, resource string) error {
	if s.epoch == s.conn.s.epochs[s.id] {
		return nil
	}
	return om.NewError(om.CodeProducerFenced, op, resource, "another producer with the id %q has started; stop this one, or give it another id", s.id)
}

// accept checks a message and returns the copy that is to be stored.
func (c *conn) accept(op string, m *om.Message, turns map[*queue]int32) (*accepted, error) {
	if c.readOnly {
		return nil, om.NewError(om.CodeForbidden, op, m.Destination, "the account may not send; use another one")
	}
	q, err := c.s.queue(op, m.Destination)
	if err != nil {
		return nil, err
	}
	if err := c.s.check(op, m); err != nil {
		return nil, err
	}
	if n, ok := m.Ext.Partition.Get(); ok {
		if _, err := q.partition(op, n); err != nil {
			return nil, err
		}
	}
	a := &accepted{m: copyIn(m), queue: q}
	a.partition = q.choose(m, func() int32 {
		if _, ok := turns[q]; !ok {
			turns[q] = q.nextTurn()
		}
		return turns[q]
	})
	a.m.MessageID = c.s.newID()
	if a.m.Ext.Priority < 1 || a.m.Ext.Priority > 10 {
		a.m.Ext.Priority = 0 // R040
	}
	a.m.Ext.ExpireAt = a.m.Ext.ExpireAt.Truncate(time.Millisecond)
	a.m.Ext.TransactionID, a.m.Ext.StoredAt, a.m.Ext.StoreHost, a.m.Ext.DeliveryCount = "", time.Time{}, "", 0
	return a, nil
}

var limits = spi.Limits{Body: MaxBody, Properties: MaxProperties, Header: MaxHeader}

// check refuses what the system does not declare and what is over the limits.
func (s *System) check(op string, m *om.Message) error {
	if err := spi.Refuse(op, m, s.caps); err != nil {
		return err
	}
	if m.Compression != "" && m.Compression != gzipped {
		return om.NewError(om.CodeUnsupported, op, m.Destination, "there is no compression %q; use %q or none", m.Compression, gzipped)
	}
	if !s.caps.Has(om.CapLimits) {
		return nil
	}
	return limits.Check(op, m)
}

func (s *sender) Close(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.conn.s.mu.Lock()
	s.shut(&ending{om.CodeClosed, "the sender is closed"})
	s.conn.s.mu.Unlock()
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.conn.s.mu.Lock()
	defer s.conn.s.mu.Unlock()
	delete(s.conn.senders, s)
	return nil
}

// shut ends the sender. A checker that is being asked is told so, and its
// answer has no effect.
func (s *sender) shut(why *ending) {
	s.end = why
	s.cancel()
	for _, t := range s.conn.s.transactions {
		if t.sender == s && s.group == "" {
			t.timer.Stop()
		}
	}
	s.conn.s.wake()
}

// wait blocks until no call of the checker runs, or ctx ends.
func (s *sender) wait(ctx context.Context) error {
	idle := make(chan struct{})
	go func() {
		s.asking.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
