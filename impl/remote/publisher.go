package remote

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const (
	// requestBytes and requestChunks are from where chunks go into another
	// request.
	requestBytes  = 1 << 20
	requestChunks = 1024
	// doubtWithin is for how long the driver tries to learn what became of a
	// chunk after the connection was lost.
	doubtWithin = 30 * time.Second
)

// publisher sends the chunks of all senders on one stream. What waits while a
// request is written goes together into the next one. When the stream breaks,
// what was not answered is sent again on another.
type publisher struct {
	c *conn

	mu      sync.Mutex
	line    []*item // what waits to be sent
	work    chan struct{}
	started bool
}

// letter is the chunks of one call.
type letter struct {
	items    []item
	left     atomic.Int32 // items without an answer
	answered chan struct{}
	gone     atomic.Bool // nobody waits for it any more
}

// item is a chunk on its way. Only the publisher touches it until it is answered.
type item struct {
	letter *letter
	append *wirepb.Append
	doubt  time.Time // when the stream broke on which it was sent first; zero before

	result *wirepb.AppendResult
	err    error // of the connection, instead of a result
}

func (i *item) answer(r *wirepb.AppendResult, err error) {
	i.result, i.err = r, err
	if i.letter.left.Add(-1) == 0 {
		close(i.letter.answered)
	}
}

func newPublisher(c *conn) *publisher { return &publisher{c: c, work: make(chan struct{}, 1)} }

// post puts a letter at the end of the line.
func (p *publisher) post(ctx context.Context, l *letter) error {
	if err := p.c.begin(ctx, "send", ""); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started && !p.c.spawn(p.run) {
		return errClosed("send", "")
	}
	p.started = true
	for i := range l.items {
		p.line = append(p.line, &l.items[i])
	}
	p.wake()
	return nil
}

func (p *publisher) wake() {
	select {
	case p.work <- struct{}{}:
	default:
	}
}

// await waits until a letter is answered.
func (p *publisher) await(ctx context.Context, l *letter) error {
	var err error
	select {
	case <-l.answered:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.c.closing:
		err = errClosed("send", "")
	}
	l.gone.Store(true)
	return err
}

// take returns the next request, empty when nothing waits.
func (p *publisher) take(into []*item) []*item {
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes, n := 0, 0
	for ; n < len(p.line) && bytes < requestBytes && len(into) < requestChunks; n++ {
		i := p.line[n]
		if i.letter.gone.Load() && i.doubt.IsZero() {
			i.answer(nil, nil)
			continue
		}
		bytes += len(i.append.GetChunk())
		into = append(into, i)
	}
	rest := copy(p.line, p.line[n:])
	clear(p.line[rest:])
	p.line = p.line[:rest]
	return into
}

// putBack puts items before the others, in doubt whether they are stored.
func (p *publisher) putBack(items []*item) {
	now := time.Now()
	for _, i := range items {
		if i.doubt.IsZero() {
			i.doubt = now
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = append(items, p.line...)
}

// run keeps a stream open while there is something to send.
func (p *publisher) run() {
	pause := retryPause.BaseDelay
	for {
		if !p.waits() {
			return
		}
		before := p.c.secrets.before()
		answers, err := p.stream()
		if p.c.life.Err() != nil {
			return
		}
		if answers > 0 {
			pause = retryPause.BaseDelay
		}
		if p.c.secrets.again(before, err) {
			continue
		}
		if !p.giveUp(p.c.failed(p.c.life, err, "send", "")) {
			continue // nothing is left that must be sent again
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-t.C:
		case <-p.c.life.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, retryPause.MaxDelay)
	}
}

// waits blocks until the line is not empty; false when the connection ends.
func (p *publisher) waits() bool {
	for {
		p.mu.Lock()
		n := len(p.line)
		p.mu.Unlock()
		if n > 0 {
			return true
		}
		select {
		case <-p.work:
		case <-p.c.life.Done():
			return false
		}
	}
}

// giveUp answers what is not tried again after a stream broke by err: what was
// never sent, what is in doubt for too long, and all when no retry helps. It
// reports whether anything is left.
func (p *publisher) giveUp(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.line[:0]
	for _, i := range p.line {
		switch {
		case i.letter.gone.Load():
			i.answer(nil, nil)
		case i.doubt.IsZero(), !om.Retryable(err):
			i.answer(nil, err)
		case time.Since(i.doubt) > doubtWithin:
			i.answer(nil, om.NewError(om.CodeTimeout, "send", i.append.GetQueue(),
				"the connection was lost %v ago, and whether the messages are stored is not known: %w", doubtWithin, err))
		default:
			left = append(left, i)
		}
	}
	clear(p.line[len(left):])
	p.line = left
	return len(left) > 0
}

type publishStream = grpc.BidiStreamingClient[wirepb.PublishRequest, wirepb.PublishResponse]

// stream sends on one stream until it breaks, and tells how many requests were
// answered on it.
func (p *publisher) stream() (answers int, err error) {
	ctx, cancel := context.WithCancel(p.c.life)
	defer cancel()
	s, err := p.c.messaging.Publish(ctx)
	if err != nil {
		return 0, err
	}
	sent := &requests{}
	broken := make(chan error, 1)
	go func() { broken <- sent.answered(s, &answers) }()
	for {
		items := p.take(nil)
		if len(items) == 0 {
			select {
			case <-p.work:
				continue
			case err := <-broken:
				p.putBack(sent.rest())
				return answers, err
			}
		}
		q := &wirepb.PublishRequest{Appends: make([]*wirepb.Append, len(items))}
		for k, i := range items {
			q.Appends[k] = i.append
		}
		sent.push(items)
		if s.Send(q) != nil { // the reader knows why
			err := <-broken
			p.putBack(sent.rest())
			return answers, err
		}
	}
}

// requests are those of a stream that are not answered yet.
type requests struct {
	mu    sync.Mutex
	items [][]*item
}

func (r *requests) push(items []*item) {
	r.mu.Lock()
	r.items = append(r.items, items)
	r.mu.Unlock()
}

func (r *requests) pop() []*item {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) == 0 {
		return nil
	}
	first := r.items[0]
	r.items[0] = nil
	r.items = r.items[1:]
	return first
}

// rest returns the items that are not answered, in their order.
func (r *requests) rest() (items []*item) {
	for part := r.pop(); part != nil; part = r.pop() {
		items = append(items, part...)
	}
	return items
}

// answered hands out answers until the stream breaks, and returns why it did.
func (r *requests) answered(s publishStream, n *int) error {
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return om.NewError(om.CodeServiceUnavailable, "send", "", "the server has ended the stream")
		}
		if err != nil {
			return err
		}
		items := r.pop()
		if items == nil || len(items) != len(m.GetResults()) {
			return om.NewError(om.CodeServerError, "send", "", "the server answered %d chunks where %d were sent", len(m.GetResults()), len(items))
		}
		for k, i := range items {
			i.answer(m.GetResults()[k], nil)
		}
		*n++
	}
}
