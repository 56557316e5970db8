package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const (
	// cancelGrace is how long a call whose context has ended waits for the
	// child to answer it.
	cancelGrace = 2 * time.Second
	// maxAbandoned is how many calls may be left without an answer for good.
	maxAbandoned = 1024
	// maxAsks is how many questions the child may have open.
	maxAsks = 64
)

// link carries calls to a child and their answers back. It is up until end is
// called, by Close or by who finds that the child does not keep the protocol.
type link struct {
	name    string // of the driver
	child   *child
	patient time.Duration  // how long a child may be silent before it counts as hanging
	grace   time.Duration  // cancelGrace
	lines   chan []byte    // to the child
	work    sync.WaitGroup // goroutines

	life    context.Context // ends when the end begins
	stop    context.CancelFunc
	endOnce sync.Once
	down    chan struct{} // closed when the child has ended
	probing atomic.Bool
	asks    atomic.Int32

	mu        sync.Mutex
	lastID    uint64
	pending   map[uint64]*pending
	abandoned int
	failure   error              // why the link is down; nil for an orderly end
	users     int                // connections
	checkers  map[uint64]checker // by the handle of the sender
	secrets   []string           // hidden where errors show what the child wrote
}

// pending is a call that waits for its answer.
type pending struct {
	answered  chan *answer // has room for one
	abandoned bool
}

// newLink returns a link for one connection. It does nothing before run.
func newLink(name string, p *child, patient time.Duration) *link {
	l := &link{
		name: name, child: p, patient: patient, grace: cancelGrace, lines: make(chan []byte), down: make(chan struct{}),
		pending: make(map[uint64]*pending), users: 1, checkers: make(map[uint64]checker),
	}
	l.life, l.stop = context.WithCancel(context.Background())
	return l
}

func (l *link) run() {
	l.work.Go(l.read)
	l.work.Go(l.write)
}

// enter adds a connection; it reports false when the link is on its end.
func (l *link) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == 0 || l.life.Err() != nil {
		return false
	}
	l.users++
	return true
}

// leave takes a connection away and reports whether it was the last.
func (l *link) leave() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users--
	return l.users == 0
}

// call sends a request and waits for its answer. op and resource are for errors.
func (l *link) call(ctx context.Context, op, resource string, r *request) (*answer, error) {
	p, err := l.send(ctx, op, resource, r)
	if err != nil {
		return nil, err
	}
	return l.wait(ctx, op, resource, r.ID, p)
}

func (l *link) send(ctx context.Context, op, resource string, r *request) (*pending, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := l.register(op, resource, r)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(r)
	switch {
	case err != nil:
		err = om.NewError(om.CodeBadRequest, op, resource, "%w", err)
	case len(line) > maxLine:
		err = om.NewError(om.CodeBodyTooLarge, op, resource, "the request takes %d bytes, a line of the protocol has at most %d; send less at once", len(line), maxLine)
	default:
		select {
		case l.lines <- append(line, '\n'):
			return p, nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-l.down:
			err = l.downError(op, resource)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, r.ID)
	return nil, err
}

// wait waits for an answer. It cancels the call when ctx ends.
func (l *link) wait(ctx context.Context, op, resource string, id uint64, p *pending) (*answer, error) {
	var a *answer
	select {
	case a = <-p.answered:
	case <-l.down:
	case <-ctx.Done():
		if a = l.cancel(id, p); a == nil && !l.isDown() {
			return nil, ctx.Err()
		}
	}
	if a == nil { // down, perhaps just after the answer
		select {
		case a = <-p.answered:
		default:
			return nil, l.downError(op, resource)
		}
	}
	if a.Error == nil {
		return a, nil
	}
	if code := om.Code(a.Error.Code); ctx.Err() != nil && (code == om.CodeCanceled || code == om.CodeTimeout) {
		return nil, ctx.Err()
	}
	return nil, a.Error.err(op, resource)
}

// register gives the request its id.
func (l *link) register(op, resource string, r *request) (*pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isDown() {
		return nil, l.failed(op, resource)
	}
	l.lastID++
	r.ID = l.lastID
	p := &pending{answered: make(chan *answer, 1)}
	l.pending[r.ID] = p
	return p, nil
}

// cancel tells the child that nobody waits for a call any more and waits for
// the answer, nil when none comes within the grace.
func (l *link) cancel(id uint64, p *pending) *answer {
	t := time.NewTimer(l.grace)
	defer t.Stop()
	line, _ := json.Marshal(&request{Op: "cancel", Target: id})
	select {
	case l.lines <- append(line, '\n'):
		select {
		case a := <-p.answered:
			return a
		case <-l.down:
			return nil
		case <-t.C:
		}
	case a := <-p.answered:
		return a
	case <-l.down:
		return nil
	case <-t.C:
	}
	l.mu.Lock()
	select {
	case a := <-p.answered:
		l.mu.Unlock()
		return a
	default:
	}
	p.abandoned = true
	l.abandoned++
	many := l.abandoned > maxAbandoned
	l.mu.Unlock()
	if many {
		l.spawn(func() {
			l.end(0, fmt.Errorf("the child left more than %d canceled calls without an answer", maxAbandoned))
		})
	}
	l.probe()
	return nil
}

// plain is call for the link's own needs: nothing is canceled when ctx ends.
func (l *link) plain(ctx context.Context, op, resource string, r *request) (*answer, error) {
	p, err := l.send(ctx, op, resource, r)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-p.answered:
		return a, a.Error.err(op, resource)
	case <-l.down:
		return nil, l.downError(op, resource)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tell sends what has no answer.
func (l *link) tell(r *request) {
	line, _ := json.Marshal(r)
	select {
	case l.lines <- append(line, '\n'):
	case <-l.down:
	}
}

// probe finds out whether the child hangs: it must answer ping at once.
func (l *link) probe() {
	if !l.probing.CompareAndSwap(false, true) {
		return
	}
	l.spawn(func() {
		defer l.probing.Store(false)
		ctx, stop := context.WithTimeout(l.life, l.patient)
		defer stop()
		if _, err := l.plain(ctx, "ping", "", &request{Op: "ping"}); errors.Is(err, context.DeadlineExceeded) {
			l.end(0, fmt.Errorf("the child hangs: it answered neither a canceled call nor ping within %v", l.patient))
		}
	})
}

// spawn runs f in a goroutine that the end of the link waits for.
func (l *link) spawn(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isDown() {
		l.work.Go(f)
	}
}

func (l *link) write() {
	for {
		select {
		case line := <-l.lines:
			if _, err := l.child.in.Write(line); err != nil {
				l.end(dregs, fmt.Errorf("the child does not read its input (%w)", err))
				return
			}
		case <-l.down:
			return
		}
	}
}

// read ends the link with the child's output at the latest.
func (l *link) read() {
	grace, err := l.readAnswers(newLineReader(l.child.out, maxLine))
	close(l.child.read)
	l.end(grace, err)
}

// readAnswers returns when the output is over or not as it should be.
func (l *link) readAnswers(lines *lineReader) (grace time.Duration, err error) {
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, errTooLong), errors.Is(err, errUnfinished):
			return dregs, fmt.Errorf("the child wrote %w: %s", err, l.shown(line))
		case err != nil:
			return dregs, errors.New("the child's output ended")
		}
		a, err := decode(line)
		if err == nil {
			err = l.dispatch(a)
		}
		if err != nil {
			return 0, fmt.Errorf("the child wrote %w: %s", err, l.shown(line))
		}
	}
}

func (l *link) dispatch(a *answer) error {
	if a.Ask != 0 {
		if l.asks.Add(1) > maxAsks {
			return fmt.Errorf("a question too many (%d may be open)", maxAsks)
		}
		l.spawn(func() {
			defer l.asks.Add(-1)
			l.check(a)
		})
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pending[a.ID]
	if p == nil {
		return fmt.Errorf("an answer to id %d, which waits for none", a.ID)
	}
	delete(l.pending, a.ID)
	if !p.abandoned {
		p.answered <- a
		return nil
	}
	l.abandoned--
	if a.Handle != 0 && a.Error == nil && !l.isDown() {
		l.work.Go(func() { l.drop(a.Handle) })
	}
	return nil
}

// drop closes a handle that came when nobody waited for it any more.
func (l *link) drop(handle uint64) {
	ctx, stop := context.WithTimeout(l.life, l.patient)
	defer stop()
	_, _ = l.call(ctx, "close", "", &request{Op: "close", Handle: handle})
}
