package server

import (
	"cmp"
	"context"
	"io"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	"github.com/openmessaging/openmessaging-go/internal/semconv"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const (
	maxPolls   = 64    // open polls of a stream
	maxSettles = 64    // settles of a stream that are under way; more are not read
	maxRanges  = 65536 // of one settle
	// closeWithin bounds giving back at the end of a stream.
	closeWithin = 10 * time.Second
)

// subscription is a receive stream: a receiver of the broker and its client.
type subscription struct {
	s        *Server
	stream   grpc.BidiStreamingServer[wirepb.ReceiveRequest, wirepb.ReceiveResponse]
	receiver *broker.Receiver
	wanted   *wirepb.Subscribe
	queue    string          // by its long name
	ctx      context.Context // ends with the stream, or when the server cuts it off
	fail     context.CancelCauseFunc

	holding sync.Mutex
	held    int // messages that count against the caller's quota

	settles chan struct{} // has room for maxSettles
	settled chan struct{} // told of each settle; has room for one
	running sync.WaitGroup

	sending sync.Mutex // guards out and over
	out     *outbox
	over    bool

	mu    sync.Mutex // guards the polls
	polls []*poll    // the first one is being served
	asked chan struct{}

	quiet   context.CancelFunc // ends the heartbeat that waits; takeRequests' own, as is beating
	beating chan struct{}      // closed when it is answered
}

// poll is credit for one batch.
type poll struct {
	id     uint64
	limit  int
	ctx    context.Context
	cancel context.CancelFunc
}

// Receive implements wirepb.MessagingServiceServer.
func (m *messaging) Receive(stream grpc.BidiStreamingServer[wirepb.ReceiveRequest, wirepb.ReceiveResponse]) error {
	r := &subscription{
		s: m.s, stream: stream, settles: make(chan struct{}, maxSettles), settled: make(chan struct{}, 1),
		asked: make(chan struct{}, 1), out: m.s.newOutbox(stream, "receive"),
	}
	r.ctx, r.fail = context.WithCancelCause(stream.Context())
	defer r.fail(nil)
	requests := make(chan error, 1)
	begun := make(chan error, 1)
	go func() {
		err := r.begin(m.broker)
		begun <- err
		close(begun)
		if err == nil {
			requests <- r.takeRequests()
		}
	}()
	if err := r.await(begun); err != nil {
		r.fail(nil)
		go func() { // what it began in spite of that is ended
			if <-begun; r.receiver != nil {
				r.end(err)
			}
		}()
		return err
	}
	r.running.Go(r.servePolls)
	err := r.wait(requests)
	r.end(err)
	return err
}

// await waits for begin, for a while.
func (r *subscription) await(begun <-chan error) error {
	handshake := time.NewTimer(r.s.opts.Handshake)
	defer handshake.Stop()
	select {
	case err := <-begun:
		return err
	case <-handshake.C:
		return om.NewError(om.CodeTimeout, "bind", "", "the stream has not said within %v which queue it is for", r.s.opts.Handshake)
	case <-r.s.life.Done():
		return errDraining
	}
}

// begin takes the first request and makes the receiver.
func (r *subscription) begin(b *broker.Broker) error {
	q, err := r.stream.Recv()
	if err != nil {
		return err
	}
	s := q.GetSubscribe()
	if s == nil {
		return om.NewError(om.CodeBadRequest, "bind", "", "the first request of a stream says which queue it is for")
	}
	start, err := om.ParsePosition(s.GetStart())
	if err != nil {
		return err
	}
	if err := r.s.allow(r.ctx, wirepb.MessagingService_Receive_FullMethodName, s); err != nil {
		return err
	}
	r.receiver, err = b.NewReceiver(r.ctx, broker.ReceiverConfig{
		Queue: s.GetQueue(), Group: s.GetGroup(), Start: start, Filter: wire.FromFilter(s.GetFilter()), Lease: wire.Duration(s.GetLease()),
		Member: member(r.ctx, s.GetMember()),
	})
	if err != nil {
		return err
	}
	r.wanted, r.queue = s, om.JoinQueueName(om.SplitQueueName(s.GetQueue(), om.DefaultNamespace))
	return r.send(&wirepb.ReceiveResponse{Response: &wirepb.ReceiveResponse_Subscribed{Subscribed: &wirepb.Subscribed{}}})
}

// wait returns when the stream is over: nil when the client has closed it.
func (r *subscription) wait(requests <-chan error) error {
	select {
	case err := <-requests:
		return err
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-r.s.life.Done():
	}
	r.refusePolls()
	for r.receiver.InFlight() > 0 {
		select {
		case <-r.settled:
		case err := <-requests:
			return err
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		case <-r.s.drained:
			return errDraining
		}
	}
	return errDraining
}

// end finishes what is under way, or cuts it off after an error, and gives the
// rest back.
func (r *subscription) end(err error) {
	if err != nil {
		r.fail(nil)
	}
	r.refusePolls()
	for range maxSettles {
		r.settles <- struct{}{} // when there is room no settle is under way
	}
	r.fail(nil)
	r.running.Wait()
	r.sending.Lock()
	r.over = true
	r.sending.Unlock()
	defer r.release(0)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), closeWithin)
	defer cancel()
	if err := r.receiver.Close(ctx); err != nil {
		r.s.opts.Logger.Warn("messages could not be given back; they come again when their lease ends", "queue", r.queue, "error", err)
	}
}

func (r *subscription) send(m *wirepb.ReceiveResponse) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	if r.over {
		return r.ctx.Err()
	}
	return r.out.send(m)
}

func (r *subscription) takeRequests() error {
	for {
		q, err := r.stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch v := q.GetRequest().(type) {
		case *wirepb.ReceiveRequest_Poll:
			err = r.addPoll(v.Poll)
		case *wirepb.ReceiveRequest_Cancel:
			r.cancelPoll(v.Cancel.GetPoll())
		case *wirepb.ReceiveRequest_Settle:
			err = r.settle(v.Settle)
		case *wirepb.ReceiveRequest_Heartbeat:
			err = r.heartbeat(v.Heartbeat)
		default:
			err = om.NewError(om.CodeBadRequest, "receive", r.queue, "a request that this server does not know; it speaks protocol %d", wire.Protocol)
		}
		if err != nil {
			return err
		}
	}
}

func (r *subscription) addPoll(q *wirepb.Poll) error {
	p := &poll{id: q.GetPoll(), limit: int(q.GetMaxMessages())}
	p.ctx, p.cancel = context.WithCancel(r.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.polls) == maxPolls {
		p.cancel()
		return om.NewError(om.CodeBadRequest, "receive", r.queue, "%d polls are open; wait for one of them", maxPolls)
	}
	if r.s.isDraining() {
		p.cancel()
	}
	r.polls = append(r.polls, p)
	if len(r.polls) == 1 {
		r.asked <- struct{}{}
	}
	return nil
}

func (r *subscription) cancelPoll(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.polls {
		if p.id == id {
			p.cancel()
		}
	}
}

// refusePolls ends the polls that wait.
func (r *subscription) refusePolls() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.polls {
		p.cancel()
	}
}

// servePolls answers polls one after the other, so that no more than one batch
// waits to be sent.
func (r *subscription) servePolls() {
	for {
		select {
		case <-r.asked:
		case <-r.ctx.Done():
			return
		}
		for p := r.firstPoll(); p != nil; p = r.nextPoll() {
			if err := r.serve(p); err != nil {
				r.fail(err)
				return
			}
		}
	}
}

func (r *subscription) firstPoll() *poll {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polls[0]
}

// nextPoll forgets the first poll, which is answered, and returns the next.
func (r *subscription) nextPoll() *poll {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.polls[0].cancel()
	if r.polls = r.polls[1:]; len(r.polls) == 0 {
		r.polls = nil
		return nil
	}
	return r.polls[0]
}

// serve waits for messages and sends them, or an empty batch. An error ends the
// stream.
func (r *subscription) serve(p *poll) error {
	b := &wirepb.Batch{Poll: p.id}
	spans, err := r.take(p)
	if err == nil {
		if err := r.allowed(); err != nil { // the right may have gone while the poll waited
			return cmp.Or(r.receiver.Return(receipts(spans)), err)
		}
		b.Spans, err = travelling(spans)
		b.Lease = time.Until(spans[0].Ends).Milliseconds()
	}
	switch {
	case err == nil:
		r.delivered(b.Spans, spans)
	case r.ctx.Err() != nil:
		return err
	case r.s.isDraining():
		b.Error = wire.Error(errDraining)
	case p.ctx.Err() == nil:
		b.Error = wire.Error(away(err))
		r.s.opts.Metrics.Failed(away(err))
	}
	return r.send(&wirepb.ReceiveResponse{Response: &wirepb.ReceiveResponse_Batch{Batch: b}})
}

// delivered counts and traces a batch.
func (r *subscription) delivered(travelling []*wirepb.Span, spans []broker.Span) {
	messages, bytes := count(spans), 0
	for _, s := range travelling {
		bytes += len(s.GetChunk())
	}
	r.s.opts.Metrics.Delivered(r.queue, messages, bytes)
	if r.s.opts.Tracer == nil {
		return
	}
	var from []trace.SpanContext
	for _, s := range travelling {
		from = contexts(from, s.GetChunk())
	}
	finish(r.s.span(r.ctx, semconv.Receive, r.queue, from, false, semconv.Group(r.wanted.GetGroup()), semconv.Count(messages)), nil)
}

// settle has deliveries settled. It blocks while too many settles are under way.
func (r *subscription) settle(q *wirepb.Settle) error {
	if n := len(q.GetRanges()); n == 0 || n > maxRanges {
		return om.NewError(om.CodeBadRequest, "settle", r.queue, "%d ranges are not in 1 to %d", n, maxRanges)
	}
	rs := fromRanges(q.GetRanges())
	if err := r.allowed(); err != nil {
		return err
	}
	if q.GetAction() == wirepb.Action_ACTION_RETURN { // at once, before a close that follows
		return r.answerSettle(q, nil, r.receiver.Return(rs))
	}
	select {
	case r.settles <- struct{}{}:
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	go func() {
		defer func() { <-r.settles }()
		errs, err := r.settleNow(q, rs)
		if err := r.answerSettle(q, errs, err); err != nil {
			r.fail(err)
		}
	}()
	return nil
}

// actions are the words for what becomes of deliveries.
var actions = map[wirepb.Action]string{
	wirepb.Action_ACTION_ACK: "ack", wirepb.Action_ACTION_NACK: "nack", wirepb.Action_ACTION_EXTEND: "extend",
	wirepb.Action_ACTION_REJECT: "reject", wirepb.Action_ACTION_RETURN: "return",
}

func (r *subscription) settleNow(q *wirepb.Settle, rs []broker.Receipts) ([]error, error) {
	d := wire.Duration(q.GetMillis())
	switch q.GetAction() {
	case wirepb.Action_ACTION_ACK:
		return r.receiver.Ack(r.ctx, rs)
	case wirepb.Action_ACTION_NACK:
		return r.receiver.Nack(r.ctx, rs, d)
	case wirepb.Action_ACTION_REJECT:
		return r.receiver.Reject(r.ctx, rs, q.GetReason())
	case wirepb.Action_ACTION_EXTEND:
		return r.receiver.Extend(r.ctx, rs, d)
	}
	return nil, om.NewError(om.CodeBadRequest, "settle", r.queue, "no such action: %v", q.GetAction())
}

func (r *subscription) answerSettle(q *wirepb.Settle, errs []error, err error) error {
	r.released()
	out := &wirepb.Settled{Settle: q.GetSettle(), Error: wire.Error(away(err))}
	r.s.opts.Metrics.Failed(away(err))
	messages := 0
	for i, v := range q.GetRanges() {
		if err == nil && (errs == nil || errs[i] == nil) {
			messages += int(v.GetTo() - v.GetFrom())
		}
	}
	r.s.opts.Metrics.Settled(r.queue, actions[q.GetAction()], messages)
	finish(r.s.span(r.ctx, semconv.Settle, r.queue, nil, false, semconv.Group(r.wanted.GetGroup()), semconv.Count(messages)), err)
	for i, err := range errs {
		if err != nil {
			r.s.opts.Metrics.Failed(err)
			out.Errors = append(out.Errors, &wirepb.RangeError{Index: int32(i), Error: wire.Error(err)})
		}
	}
	defer func() {
		select {
		case r.settled <- struct{}{}:
		default:
		}
	}()
	return r.send(&wirepb.ReceiveResponse{Response: &wirepb.ReceiveResponse_Settled{Settled: out}})
}
