package oms_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// fake is a small correct system in memory with hooks for faults. Set its
// fields before opening it.
type fake struct {
	caps om.Capabilities
	spec string
	// Hooks run before the operation; an error is its result.
	onSend    func(ctx context.Context, call int, ms []*om.Message) error
	onReceive func(ctx context.Context, queue string, call int) error
	onAck     func(ctx context.Context, call int) error
	onExtend  func(ctx context.Context, call int) error
	// onHeartbeat is what a member of an assigned group is answered.
	onHeartbeat func(ctx context.Context, held []int32) ([]int32, error)
	// outcome gives single messages their failure; call counts from 1.
	outcome func(call int, m *om.Message) error
	// attempt names messages beside the failure of outcome.
	attempt func(m *om.Message) string

	mu        sync.Mutex
	changed   chan struct{}
	queues    map[string]*fakeQueue
	calls     map[string]int // by operation
	batches   [][]string     // the bodies of each send
	prepared  map[string]*om.Message
	checker   om.TransactionChecker // of the sender that was made last
	closed    []string              // what was closed, in order
	creds     spi.Credentials
	reads     int // calls of ReadAt
	readBytes int // of bodies, in all of them
}

type fakeQueue struct {
	messages []*om.Message
	groups   map[string][]fakeState
}

type fakeState struct {
	settled bool
	until   time.Time
	lease   int
}

type fakeReceipt struct{ offset, lease int }

var allCaps = om.Capabilities{
	om.CapAdmin, om.CapAssigned, om.CapDelay, om.CapDeadLetter, om.CapExpire, om.CapExtIDs, om.CapLease, om.CapNack, om.CapNested,
	om.CapPartitions, om.CapPriority, om.CapQoS1, om.CapQoS2, om.CapSeek, om.CapStream, om.CapTransacted, om.CapTransaction,
}

func newFake(queues ...string) *fake {
	f := &fake{caps: allCaps, spec: om.SpecVersion, changed: make(chan struct{}), queues: map[string]*fakeQueue{},
		calls: map[string]int{}, prepared: map[string]*om.Message{}}
	for _, q := range queues {
		f.queues[q] = &fakeQueue{groups: map[string][]fakeState{}}
	}
	return f
}

func (f *fake) Info() spi.Info { return spi.Info{Name: "fake", Version: "1", SpecVersion: f.spec} }

func (f *fake) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if cfg.Credentials != nil {
		var err error
		if f.creds, err = cfg.Credentials(ctx); err != nil {
			return nil, err
		}
	}
	return &fakeConn{f}, nil
}

func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	return f.calls[op]
}

func (f *fake) counted(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *fake) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) noteClosed(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, what)
}

// bodies returns what a queue holds.
func (f *fake) bodies(queue string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var bs []string
	for _, m := range f.queues[queue].messages {
		bs = append(bs, string(m.Body))
	}
	return bs
}

// unsettled returns what a group has not acknowledged.
func (f *fake) unsettled(queue, group string) (bs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queues[queue]
	for i, m := range q.messages {
		if states := q.groups[group]; i >= len(states) || !states[i].settled {
			bs = append(bs, string(m.Body))
		}
	}
	return bs
}

// leased returns how many messages of a queue a group was ever given.
func (f *fake) leased(queue, group string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.queues[queue].groups[group] {
		if s.lease > 0 {
			n++
		}
	}
	return n
}

// fill stores messages with these bodies.
func (f *fake) fill(queue string, bodies ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bodies {
		f.store(om.NewMessage(queue, []byte(b)))
	}
}

func (f *fake) store(m *om.Message) (spi.Outcome, error) {
	q := f.queues[m.Destination]
	if q == nil {
		return spi.Outcome{}, om.NewError(om.CodeDestinationNotFound, "", m.Destination, "")
	}
	c := m.Clone()
	c.MessageID = fmt.Sprintf("%s-%d", m.Destination, len(q.messages))
	q.messages = append(q.messages, c)
	f.tell()
	return spi.Outcome{SendResult: om.SendResult{MessageID: c.MessageID, Offset: int64(len(q.messages) - 1)}}, nil
}

type fakeConn struct{ f *fake }

func (c *fakeConn) Capabilities() om.Capabilities { return c.f.caps }

func (c *fakeConn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	c.f.checker = cfg.Checker
	return &fakeSender{f: c.f, end: make(chan struct{})}, ctx.Err()
}

func (c *fakeConn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.f.queues[cfg.Queue] == nil {
		return nil, om.NewError(om.CodeDestinationNotFound, "", cfg.Queue, "")
	}
	return &fakeReceiver{f: c.f, cfg: cfg, end: make(chan struct{}), out: map[int]int{}}, nil
}

func (c *fakeConn) Close(ctx context.Context) error {
	c.f.noteClosed("conn")
	return ctx.Err()
}

type fakeSender struct {
	f    *fake
	end  chan struct{}
	once sync.Once
}

func (s *fakeSender) Send(ctx context.Context, ms []*om.Message) ([]spi.Outcome, error) {
	call := s.f.count("send")
	if s.f.onSend != nil {
		if err := s.f.onSend(ctx, call, ms); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	outs := make([]spi.Outcome, len(ms))
	var bodies []string
	for i, m := range ms {
		bodies = append(bodies, string(m.Body))
		var err error
		if s.f.outcome != nil {
			err = s.f.outcome(call, m)
		}
		if err != nil && s.f.attempt != nil {
			outs[i].MessageID = s.f.attempt(m)
		}
		if err == nil {
			outs[i], err = s.f.store(m)
		}
		outs[i].Err = err
	}
	s.f.batches = append(s.f.batches, bodies)
	return outs, nil
}

func (s *fakeSender) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.end); s.f.noteClosed("sender") })
	return ctx.Err()
}

func (s *fakeSender) Prepare(ctx context.Context, m *om.Message, _ om.TransactionCheck) (spi.Outcome, string, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	id := fmt.Sprintf("tx-%d", len(s.f.prepared))
	s.f.prepared[id] = m.Clone()
	return spi.Outcome{SendResult: om.SendResult{MessageID: "half-" + id}}, id, nil
}

func (s *fakeSender) Commit(ctx context.Context, id string) error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	_, err := s.f.store(s.f.prepared[id])
	return err
}

func (s *fakeSender) Rollback(ctx context.Context, id string) error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.prepared, id)
	return nil
}

type fakeReceiver struct {
	f    *fake
	cfg  spi.ReceiverConfig
	end  chan struct{}
	once sync.Once
	out  map[int]int // the lease of each offset given out; guarded by f.mu
}

func (r *fakeReceiver) states() ([]fakeState, *fakeQueue) {
	q := r.f.queues[r.cfg.Queue]
	s := q.groups[r.cfg.Group]
	for len(s) < len(q.messages) {
		s = append(s, fakeState{})
	}
	q.groups[r.cfg.Group] = s
	return s, q
}

func (r *fakeReceiver) Receive(ctx context.Context, max int) ([]spi.Received, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if call := r.f.count("receive"); r.f.onReceive != nil {
		if err := r.f.onReceive(ctx, r.cfg.Queue, call); err != nil {
			return nil, err
		}
	}
	for {
		select {
		case <-r.end:
			return nil, om.NewError(om.CodeClosed, "", "", "")
		default:
		}
		r.f.mu.Lock()
		states, q := r.states()
		now := time.Now()
		next := time.Hour
		var got []spi.Received
		for i := range states {
			s := &states[i]
			if s.settled || len(got) == max {
				continue
			}
			if wait := s.until.Sub(now); wait > 0 {
				next = min(next, wait)
				continue
			}
			s.lease++
			s.until = now.Add(r.cfg.Lease)
			r.out[i] = s.lease
			m := q.messages[i].Clone()
			if m.Properties == nil {
				m.Properties = om.Properties{}
			}
			m.Ext.DeliveryCount = s.lease
			got = append(got, spi.Received{Message: m, Receipt: fakeReceipt{i, s.lease}, Offset: int64(i), LeaseUntil: s.until})
		}
		changed := r.f.changed
		r.f.mu.Unlock()
		if len(got) > 0 {
			return got, nil
		}
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-r.end:
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (r *fakeReceiver) Heartbeat(ctx context.Context, held []int32) (spi.Assignment, error) {
	ps, err := r.f.onHeartbeat(ctx, held)
	return spi.Assignment{Partitions: ps}, err
}

// settle applies do to the state of each receipt whose lease is the present one.
func (r *fakeReceiver) settle(ctx context.Context, receipts []spi.Receipt, do func(*fakeState)) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	defer r.f.tell()
	states, _ := r.states()
	errs := make([]error, len(receipts))
	for i, rc := range receipts {
		fr := rc.(fakeReceipt)
		s := &states[fr.offset]
		if s.lease != fr.lease || !s.settled && !s.until.After(time.Now()) {
			errs[i] = om.NewError(om.CodeStaleReceipt, "", "", "")
			continue
		}
		delete(r.out, fr.offset)
		do(s)
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return errs, nil
	}
	return nil, nil
}

func (r *fakeReceiver) Ack(ctx context.Context, receipts []spi.Receipt) ([]error, error) {
	if call := r.f.count("ack"); r.f.onAck != nil {
		if err := r.f.onAck(ctx, call); err != nil {
			return nil, err
		}
	}
	return r.settle(ctx, receipts, func(s *fakeState) { s.settled = true })
}

func (r *fakeReceiver) Nack(ctx context.Context, receipts []spi.Receipt, delay time.Duration) ([]error, error) {
	r.f.count("nack")
	return r.settle(ctx, receipts, func(s *fakeState) { s.until = time.Now().Add(delay) })
}

func (r *fakeReceiver) Extend(ctx context.Context, receipts []spi.Receipt, lease time.Duration) ([]error, error) {
	if call := r.f.count("extend"); r.f.onExtend != nil {
		if err := r.f.onExtend(ctx, call); err != nil {
			return nil, err
		}
	}
	return r.settle(ctx, receipts, func(s *fakeState) { s.until = time.Now().Add(lease) })
}

func (r *fakeReceiver) Close(ctx context.Context) error {
	r.once.Do(func() {
		close(r.end)
		r.f.noteClosed("receiver " + r.cfg.Queue)
		r.f.mu.Lock()
		defer r.f.mu.Unlock()
		states, _ := r.states()
		for offset, lease := range r.out {
			if s := &states[offset]; s.lease == lease {
				s.until = time.Time{}
				s.lease++ // receipts given out are stale now
			}
		}
		r.f.tell()
	})
	return ctx.Err()
}

// steal makes the present leases of a queue's messages stale.
func (f *fake) steal(queue, group string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.queues[queue].groups[group] {
		s := &f.queues[queue].groups[group][i]
		s.lease++
		s.until = time.Now().Add(time.Hour)
	}
}

func (c *fakeConn) Resolve(ctx context.Context, queue string, _ int32, p om.Position) (int64, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	n := int64(len(c.f.queues[queue].messages))
	if o, ok := p.Offset(); ok {
		return min(o, n), nil
	}
	if p.IsEnd() {
		return n, nil
	}
	return 0, nil
}

func (c *fakeConn) ReadAt(ctx context.Context, queue string, _ int32, offset int64, limit int) ([]spi.Received, error) {
	got, _ := c.readAt(queue, offset, limit)
	c.f.reads++
	bytes := 0
	for i := range got {
		if bytes += len(got[i].Message.Body); bytes > 8<<20 {
			got = got[:i]
			break
		}
	}
	c.f.readBytes += bytes
	return got, ctx.Err()
}

func (c *fakeConn) Await(ctx context.Context, queue string, _ int32, offset int64) error {
	for {
		got, changed := c.readAt(queue, offset, 1)
		if len(got) > 0 {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readAt also returns the channel that is closed by the next change. A message
// with the body "gap" stands for an offset without one.
func (c *fakeConn) readAt(queue string, offset int64, max int) (got []spi.Received, changed <-chan struct{}) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for i, m := range c.f.queues[queue].messages {
		if int64(i) >= offset && len(got) < max && string(m.Body) != "gap" {
			got = append(got, spi.Received{Message: m.Clone(), Offset: int64(i)})
		}
	}
	return got, c.f.changed
}
