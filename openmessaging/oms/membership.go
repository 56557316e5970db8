package oms

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// membership is a source's place in an assigned group, from the opening of the
// source to its closing: one goroutine sends heartbeats, and learns from them
// which partitions the consumer is to hold.
type membership struct {
	src      *source
	assignee spi.Assignee
	listener *listener
	ctx      context.Context // of the heartbeats
	stop     context.CancelFunc
	gone     chan struct{}  // closed when no more are sent
	leaving  sync.WaitGroup // waits for partitions that are revoked, and listeners
	gate     gate

	mu      sync.Mutex
	tenures map[int32]*tenure
	wake    func() // ends the heartbeat that runs
	fenced  error  // another member has taken over
	closing bool   // nothing new is begun
}

func startMembership(src *source, assignee spi.Assignee, l *listener) *membership {
	m := &membership{src: src, assignee: assignee, listener: l, gone: make(chan struct{}), tenures: make(map[int32]*tenure)}
	m.ctx, m.stop = context.WithCancel(context.Background())
	go m.run()
	return m
}

// run sends heartbeats until the source is closed.
func (m *membership) run() {
	defer close(m.gone)
	cfg := m.src.c.cfg
	pace := backoff{policy: cfg.Retry}
	heard := time.Now()
	for m.ctx.Err() == nil {
		held, up := m.held()
		a, err := m.beat(held, up)
		switch {
		case err == nil:
			pace.tries, heard = 0, time.Now()
			m.drop(up)
			m.follow(a)
			continue
		case m.ctx.Err() != nil:
			return
		case errors.Is(err, om.CodeMemberFenced):
			m.fence(err)
			return
		case err == errWoken:
			continue
		case errors.Is(err, om.CodeMemberExpired) || time.Since(heard) >= cfg.Session:
			m.lose()
		}
		m.src.c.report(err)
		pace.pause(m.ctx)
	}
}

// errWoken ends a heartbeat because a partition is ready to be given up.
var errWoken = errors.New("woken")

// held returns the partitions that are held, and those of them before that are
// done with.
func (m *membership) held() (held []int32, up []*tenure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, t := range m.tenures {
		if t.done {
			up = append(up, t)
		} else {
			held = append(held, p)
		}
	}
	slices.Sort(held)
	return held, up
}

// beat sends one heartbeat. No receive runs while partitions are given up. Who
// gets no answer for a session has lost what he holds.
func (m *membership) beat(held []int32, up []*tenure) (spi.Assignment, error) {
	ctx, cancel := context.WithTimeoutCause(m.ctx, m.src.c.cfg.Session,
		om.NewError(om.CodeTimeout, "heartbeat", m.src.queue, "no answer came within the session of %v", m.src.c.cfg.Session))
	defer cancel()
	within, wake := context.WithCancelCause(ctx)
	m.mu.Lock()
	m.wake = func() { wake(errWoken) }
	late := len(up) == 0 && slices.ContainsFunc(held, func(p int32) bool { return m.tenures[p].done })
	m.mu.Unlock()
	if late {
		return spi.Assignment{}, errWoken
	}
	if len(up) > 0 {
		m.gate.close()
		defer m.gate.open()
		within = ctx
	}
	a, err := m.assignee.Heartbeat(within, held)
	if err != nil && within.Err() != nil {
		return a, context.Cause(within)
	}
	return a, m.src.c.ap.errs.wrap(err, "heartbeat", m.src.queue)
}

// drop forgets tenures that the driver knows to be over.
func (m *membership) drop(up []*tenure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range up {
		delete(m.tenures, t.partition)
	}
}

// follow begins with partitions that are new, and finishes with those that are
// not the consumer's any more.
func (m *membership) follow(a spi.Assignment) {
	begun := m.unknown(a.Partitions)
	if len(begun) > 0 {
		m.gate.close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range begun {
		t := newTenure(p)
		if m.tenures[p] = t; m.closing { // it goes back with the source
			t.revoke()
			t.told = true
		}
	}
	if len(begun) > 0 {
		f := m.listener.Assigned
		if m.closing {
			f = nil
		}
		told := m.listener.call(f, m.src.queue, begun)
		m.leaving.Go(func() {
			<-told
			m.gate.open()
		})
	}
	for p, t := range m.tenures {
		if slices.Contains(a.Partitions, p) || !t.revoke() {
			continue
		}
		m.leaving.Go(func() {
			if t.wait(m.ctx) {
				<-m.over(t)
				m.finish(t)
			}
		})
	}
}

// unknown returns those of the partitions that the consumer has not yet.
func (m *membership) unknown(partitions []int32) (begun []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range partitions {
		if m.tenures[p] == nil {
			begun = append(begun, p)
		}
	}
	return begun
}

// over has the listener told that a tenure is over.
func (m *membership) over(t *tenure) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tell(m.listener.Revoked, t)
}

// tell has f told of the tenures whose end the listener does not know. The
// channel is closed when the listener has returned from this and all before. The
// caller holds the lock, so that calls are in the order of what happens.
func (m *membership) tell(f func(string, []int32), tenures ...*tenure) <-chan struct{} {
	var ps []int32
	for _, t := range tenures {
		if !t.told {
			t.told = true
			ps = append(ps, t.partition)
		}
	}
	if len(ps) == 0 {
		f = nil
	}
	slices.Sort(ps)
	return m.listener.call(f, m.src.queue, ps)
}

// tellAll ends all tenures and has f told.
func (m *membership) tellAll(f func(string, []int32)) <-chan struct{} {
	tenures := slices.Collect(maps.Values(m.tenures))
	for _, t := range tenures {
		t.revoke()
	}
	return m.tell(f, tenures...)
}

// finish has a partition given up.
func (m *membership) finish(t *tenure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tenures[t.partition] == t {
		t.done = true
		m.wake()
	}
}

// lose forgets everything that is held: others may have it.
func (m *membership) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	told := m.tellAll(m.listener.lost)
	clear(m.tenures)
	m.leaving.Go(func() { <-told })
}

// fence ends the membership for good: receives give the error from now on.
func (m *membership) fence(err error) {
	m.lose()
	m.mu.Lock()
	m.fenced = err
	m.mu.Unlock()
	m.src.c.report(err)
	m.gate.close() // receives look again
	m.gate.open()
}

// end tells the listener what is given up and stops the heartbeats: the source is
// closed next. It is called when nothing is handled any more, or cut off.
func (m *membership) end(limit context.Context) {
	m.mu.Lock()
	m.closing = true
	told := m.tellAll(m.listener.Revoked)
	m.mu.Unlock()
	until(limit, told)
	m.stop()
	if !until(limit, m.gone) {
		return
	}
	left := make(chan struct{})
	go func() {
		m.leaving.Wait()
		close(left)
	}()
	until(limit, left)
}

// receive blocks for messages of partitions that are held.
func (m *membership) receive(ctx context.Context, max int) (*slab, error) {
	for {
		within, leave, err := m.gate.enter(ctx)
		if err != nil {
			return nil, err
		}
		b, err := m.receiveHeld(within, max)
		interrupted := within.Err() != nil && ctx.Err() == nil
		leave()
		switch {
		case err == nil && len(b.items) > 0:
			return b, nil
		case err != nil && !interrupted:
			return nil, err
		}
	}
}

// receiveHeld receives once and leaves out what is not of a partition that is
// held.
func (m *membership) receiveHeld(ctx context.Context, max int) (*slab, error) {
	m.mu.Lock()
	fenced := m.fenced
	m.mu.Unlock()
	if fenced != nil {
		return nil, fenced
	}
	got, err := m.src.receiveNow(ctx, max)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	got = slices.DeleteFunc(got, func(r spi.Received) bool { return m.tenures[r.Partition] == nil })
	b := m.src.slabOf(got)
	for i := range b.items {
		b.items[i].tenure = m.tenures[b.items[i].Partition]
	}
	return b, nil
}
