package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// link is a receive stream. Requests wait in a line for the one goroutine that
// writes, so that no caller is held up by flow control; another reads.
type link struct {
	r      *receiver
	stream grpc.BidiStreamingClient[wirepb.ReceiveRequest, wirepb.ReceiveResponse]
	cancel context.CancelFunc
	broken chan struct{} // closed when the stream is over
	err    error         // why; set before broken is closed

	mu      sync.Mutex
	line    []*wirepb.ReceiveRequest
	closing bool // the line ends the stream
	work    chan struct{}
	last    uint64 // number of the last poll or settle
	polls   map[uint64]*poll
	settles map[uint64]chan *wirepb.Settled
	beats   map[uint64]chan *wirepb.Membership
	open    int           // polls that are not dealt with
	quiet   chan struct{} // set by close; closed when open is zero
}

// openLink opens a stream and subscribes.
func openLink(ctx context.Context, r *receiver) (*link, error) {
	life, cancel := context.WithCancel(r.conn.life)
	stop := context.AfterFunc(ctx, cancel) // while it is opened
	l := &link{
		r: r, cancel: cancel, broken: make(chan struct{}), work: make(chan struct{}, 1),
		polls: make(map[uint64]*poll), settles: make(map[uint64]chan *wirepb.Settled), beats: make(map[uint64]chan *wirepb.Membership),
	}
	before := r.conn.secrets.before()
	err := l.subscribe(life)
	if r.conn.secrets.again(before, err) {
		err = l.subscribe(life)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, r.conn.failed(ctx, err, "bind", r.cfg.Queue)
	}
	if !r.conn.spawn(l.read) || !r.conn.spawn(l.write) {
		cancel()
		return nil, errClosed("bind", r.cfg.Queue)
	}
	return l, nil
}

func (l *link) subscribe(ctx context.Context) (err error) {
	if l.stream, err = l.r.conn.messaging.Receive(ctx); err != nil {
		return err
	}
	cfg := l.r.cfg
	q := &wirepb.Subscribe{Queue: text(cfg.Queue), Group: text(cfg.Group), Start: cfg.Start.String(), Filter: filter(cfg.Filter), Lease: wire.Millis(cfg.Lease), Member: member(cfg.Member)}
	err = l.stream.Send(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Subscribe{Subscribe: q}})
	if err != nil && err != io.EOF { // Recv tells what ended the stream
		return err
	}
	m, err := l.stream.Recv()
	if err == nil && m.GetSubscribed() == nil {
		err = om.NewError(om.CodeServerError, "bind", cfg.Queue, "the server did not answer the subscription")
	}
	return err
}

func (l *link) isBroken() bool {
	select {
	case <-l.broken:
		return true
	default:
		return false
	}
}

// post puts requests into the line; l.mu is held.
func (l *link) post(qs ...*wirepb.ReceiveRequest) {
	l.line = append(l.line, qs...)
	select {
	case l.work <- struct{}{}:
	default:
	}
}

func (l *link) write() {
	for {
		select {
		case <-l.work:
		case <-l.broken:
			return
		}
		l.mu.Lock()
		line, closing := l.line, l.closing
		l.line = nil
		l.mu.Unlock()
		for _, q := range line {
			if l.stream.Send(q) != nil {
				return // read knows why
			}
		}
		if closing {
			_ = l.stream.CloseSend()
			return
		}
	}
}

func (l *link) read() {
	defer l.cancel()
	for {
		m, err := l.stream.Recv()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			l.err = err
			close(l.broken)
			return
		}
		switch v := m.GetResponse().(type) {
		case *wirepb.ReceiveResponse_Batch:
			l.took(v.Batch)
		case *wirepb.ReceiveResponse_Settled:
			l.mu.Lock()
			if c := l.settles[v.Settled.GetSettle()]; c != nil {
				delete(l.settles, v.Settled.GetSettle())
				c <- v.Settled
			}
			l.mu.Unlock()
		case *wirepb.ReceiveResponse_Membership:
			l.mu.Lock()
			if c := l.beats[v.Membership.GetHeartbeat()]; c != nil {
				delete(l.beats, v.Membership.GetHeartbeat())
				c <- v.Membership
			}
			l.mu.Unlock()
		}
	}
}

// took hands a batch to its poll.
func (l *link) took(b *wirepb.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.polls[b.GetPoll()]
	if p == nil {
		return // the server answers what was not asked
	}
	delete(l.polls, p.id)
	p.answer <- arrived{b, time.Now()}
	if p.dropped {
		p.giveBack()
	}
}

// dealtWith ends a poll; l.mu is held.
func (p *poll) dealtWith() {
	close(p.over)
	if p.link.open--; p.link.open == 0 && p.link.quiet != nil {
		close(p.link.quiet)
	}
}

// giveBack ends an answered poll whose messages nobody has seen: they go back as
// if they had never been delivered. l.mu is held.
func (p *poll) giveBack() {
	var ranges []*wirepb.Range
	for _, s := range (<-p.answer).batch.GetSpans() {
		ranges = append(ranges, &wirepb.Range{Partition: s.GetPartition(), Lease: s.GetLease(), From: s.GetBase(), To: s.GetBase() + count(s)})
	}
	if len(ranges) > 0 {
		p.link.postReturn(ranges)
	}
	p.dealtWith()
}

// giveBack returns ranges that nobody has seen.
func (l *link) giveBack(ranges []*wirepb.Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.postReturn(ranges)
}

func (l *link) postReturn(ranges []*wirepb.Range) {
	l.last++
	l.post(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Settle{Settle: &wirepb.Settle{
		Settle: l.last, Action: wirepb.Action_ACTION_RETURN, Ranges: ranges,
	}}})
}

// poll is a question for messages that is under way.
type poll struct {
	link   *link
	id     uint64
	limit  int
	answer chan arrived  // has room for one
	over   chan struct{} // closed when it is dealt with

	quit    bool // the server was told to end it; guarded by link.mu
	dropped bool // nobody claims it any more; guarded by link.mu
}

// arrived is a batch and when it came.
type arrived struct {
	batch *wirepb.Batch
	at    time.Time
}

// poll asks for messages. Who has the poll waits for it or drops it, or leaves it
// to somebody else.
func (l *link) poll(limit int) (*poll, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet != nil {
		return nil, l.r.errClosed("receive")
	}
	l.last++
	p := &poll{link: l, id: l.last, limit: limit, answer: make(chan arrived, 1), over: make(chan struct{})}
	l.polls[p.id] = p
	l.open++
	l.post(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Poll{Poll: &wirepb.Poll{Poll: p.id, MaxMessages: int32(limit)}}})
	return p, nil
}

// wait waits for the messages. When ctx ends first the poll is left to the next
// receive, and the server is told to end it. The batch is empty when it has ended
// it.
func (p *poll) wait(ctx context.Context) (a arrived, err error) {
	l := p.link
	select {
	case a = <-p.answer:
		l.mu.Lock()
		p.dealtWith()
		l.mu.Unlock()
		return a, nil
	case <-l.broken:
		return a, l.why(ctx, "receive")
	case <-l.r.closing:
		p.drop()
		return a, l.r.errClosed("receive")
	case <-ctx.Done():
		l.mu.Lock()
		p.cancel()
		l.mu.Unlock()
		l.r.leave(p, nil)
		return a, ctx.Err()
	}
}

// cancel has the server end the poll; l.mu is held.
func (p *poll) cancel() {
	if !p.quit && p.link.polls[p.id] != nil {
		p.quit = true
		p.link.post(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Cancel{Cancel: &wirepb.CancelPoll{Poll: p.id}}})
	}
}

// drop ends a poll that nobody waits for.
func (p *poll) drop() {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	p.dropped = true
	if p.link.polls[p.id] == nil {
		p.giveBack()
		return
	}
	p.cancel()
}

// why returns why the stream broke.
func (l *link) why(ctx context.Context, op string) error {
	if l.err == nil {
		return om.NewError(om.CodeServiceUnavailable, op, l.r.cfg.Queue, "the server has ended the stream")
	}
	err := l.r.conn.failed(ctx, l.err, op, l.r.cfg.Queue)
	if errors.Is(err, om.CodeUnauthorized) && l.r.conn.secrets != nil { // the next stream tells whether it can be mended
		return om.NewError(om.CodeServiceUnavailable, op, l.r.cfg.Queue, "%w: %s", errLoggedOut, err)
	}
	return err
}

// settle sends a settle and waits for its answer.
func (l *link) settle(ctx context.Context, op string, q *wirepb.Settle) (*wirepb.Settled, error) {
	answer := make(chan *wirepb.Settled, 1)
	l.mu.Lock()
	l.last++
	q.Settle = l.last
	l.settles[q.Settle] = answer
	l.post(&wirepb.ReceiveRequest{Request: &wirepb.ReceiveRequest_Settle{Settle: q}})
	l.mu.Unlock()
	var err error
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.r.closing:
		err = l.r.errClosed(op)
	case <-l.broken:
		err = l.why(ctx, op)
	}
	l.mu.Lock()
	delete(l.settles, q.Settle)
	l.mu.Unlock()
	return nil, err
}

// close ends the stream: what was not seen goes back uncounted, then the server
// gives back what was not settled, and tells when that is durable.
func (l *link) close(ctx context.Context) error {
	defer l.cancel()
	l.mu.Lock()
	l.quiet = make(chan struct{}) // the polls that wait cancel themselves
	if l.open == 0 {
		close(l.quiet)
	}
	l.mu.Unlock()
	select {
	case <-l.quiet:
	case <-l.broken:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	l.closing = true
	l.post()
	l.mu.Unlock()
	select {
	case <-l.broken:
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.err != nil {
		l.r.conn.log.Debug("a receiver's stream broke while it was closed; the server gives back what it had", "queue", l.r.cfg.Queue, "error", l.err)
	}
	return nil
}
