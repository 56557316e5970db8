package remote

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openmessaging/openmessaging-go/impl/batch"
	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// conn implements spi.Conn, spi.Admin, spi.Describer, spi.Seeker, spi.Streamer,
// spi.Pinger and spi.Asser.
type conn struct {
	cc           *grpc.ClientConn
	messaging    wirepb.MessagingServiceClient
	resources    wirepb.ResourceServiceClient
	secrets      *secrets // nil without credentials
	log          *slog.Logger
	capabilities om.Capabilities
	limits       *wirepb.Limits
	host         string
	publisher    *publisher

	life  context.Context // of the streams; ends with the connection
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu        sync.Mutex
	over      bool // no more tasks
	receivers map[*receiver]bool
	queues    map[string]*queue // by the name that callers use
	ended     bool
	closing   chan struct{} // closed when Close begins
	closed    chan struct{} // closed when Close is done
	closeErr  error
}

// queue is what the driver remembers of a queue.
type queue struct {
	name       string
	partitions int
}

// Partitions implements batch.Queue.
func (q *queue) Partitions() int { return q.partitions }

// PartitionOf implements batch.Queue.
func (q *queue) PartitionOf(key string) int32 { return chunk.Partition(key, q.partitions) }

// NextPartition implements batch.Queue: the server chooses.
func (q *queue) NextPartition() int32 { return -1 }

var _ batch.Queue = (*queue)(nil)

func newConn(cc *grpc.ClientConn, secrets *secrets, log *slog.Logger) *conn {
	c := &conn{
		cc: cc, messaging: wirepb.NewMessagingServiceClient(cc), resources: wirepb.NewResourceServiceClient(cc),
		secrets: secrets, log: log, receivers: make(map[*receiver]bool), queues: make(map[string]*queue),
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.publisher = newPublisher(c)
	return c
}

// spawn runs f in a goroutine that the end of the connection waits for; it
// reports false when the connection has ended.
func (c *conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.tasks.Go(f)
	}
	return !c.over
}

// hangUp ends everything that goes on.
func (c *conn) hangUp() {
	c.end()
	_ = c.cc.Close() // it is open
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.tasks.Wait()
}

// begin checks that an operation may begin.
func (c *conn) begin(ctx context.Context, op, resource string) error {
	select {
	case <-c.closing:
		return errClosed(op, resource)
	default:
		return ctx.Err()
	}
}

func errClosed(op, resource string) error {
	return om.NewError(om.CodeClosed, op, resource, "the connection is closed")
}

// failed returns the error that the error of a gRPC call stands for.
func (c *conn) failed(ctx context.Context, err error, op, resource string) error {
	if status.Code(err) == codes.Unauthenticated && c.secrets != nil {
		c.secrets.forget()
	}
	err = wire.FromStatus(ctx, err, op, resource)
	if ctx.Err() == nil && c.life.Err() != nil {
		return errClosed(op, resource)
	}
	return err
}

// call makes one call, a second time when the server does not take the
// credentials any more.
func call[Q, R any](c *conn, ctx context.Context, op, resource string, f func(context.Context, Q, ...grpc.CallOption) (R, error), q Q) (R, error) {
	if err := c.begin(ctx, op, resource); err != nil {
		var none R
		return none, err
	}
	before := c.secrets.before()
	r, err := f(ctx, q)
	if c.secrets.again(before, err) {
		r, err = f(ctx, q)
	}
	if err != nil {
		return r, c.failed(ctx, err, op, resource)
	}
	return r, nil
}

// As gives the gRPC connection to who asks for it.
func (c *conn) As(target any) bool { return spi.Give[grpc.ClientConnInterface](target, c.cc) }

func (c *conn) Capabilities() om.Capabilities { return slices.Clone(c.capabilities) }

func (c *conn) NewSender(ctx context.Context, cfg spi.SenderConfig) (spi.Sender, error) {
	if err := c.begin(ctx, "new sender", ""); err != nil {
		return nil, err
	}
	s := newSender(c)
	if s.producerID = cfg.ProducerID; s.producerID != "" {
		r, err := call(c, ctx, "open producer", s.producerID, c.messaging.OpenProducer, &wirepb.OpenProducerRequest{ProducerId: text(s.producerID)})
		if err != nil {
			return nil, err
		}
		s.epoch = r.GetEpoch()
	}
	s.answers(cfg)
	return s, nil
}

func (c *conn) NewReceiver(ctx context.Context, cfg spi.ReceiverConfig) (spi.Receiver, error) {
	if err := c.begin(ctx, "bind", cfg.Queue); err != nil {
		return nil, err
	}
	r := newReceiver(c, cfg)
	if _, err := r.open(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	ended := c.ended
	c.receivers[r] = true
	c.mu.Unlock()
	if ended {
		_ = r.Close(ctx)
		return nil, errClosed("bind", cfg.Queue)
	}
	return r, nil
}

func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		<-c.closed
		return c.closeErr
	}
	c.ended = true
	close(c.closing)
	receivers := slices.Collect(maps.Keys(c.receivers))
	c.mu.Unlock()
	errs := make([]error, len(receivers))
	var all sync.WaitGroup
	for i, r := range receivers {
		all.Go(func() { errs[i] = r.Close(ctx) })
	}
	all.Wait()
	c.hangUp()
	c.closeErr = errors.Join(errs...)
	close(c.closed)
	return c.closeErr
}

// queue returns what is known of a queue, and asks when nothing is.
func (c *conn) queue(ctx context.Context, name string) (batch.Queue, error) {
	c.mu.Lock()
	q := c.queues[name]
	c.mu.Unlock()
	if q != nil {
		return q, nil
	}
	q = &queue{name: name, partitions: 1}
	if !om.IsReplyQueue(name) { // which has one
		r, err := call(c, ctx, "send", name, c.resources.GetQueue, &wirepb.GetQueueRequest{Queue: text(name)})
		if err != nil {
			var e *om.Error
			if errors.As(err, &e) {
				told := *e
				told.Op = "send"
				err = &told
			}
			return nil, err
		}
		q.partitions = max(1, int(r.GetQueue().GetPartitions()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.queues[name]; known != nil {
		return known, nil
	}
	if len(c.queues) >= maxKnown {
		maps.DeleteFunc(c.queues, func(name string, _ *queue) bool { return om.IsReplyQueue(name) })
	}
	c.queues[name] = q
	return q, nil
}

// maxKnown is how many queues are remembered before reply queues, which come and
// go, are forgotten.
const maxKnown = 4096

// forget has a queue asked for again: what is known of it is wrong.
func (c *conn) forget(q *queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queues[q.name] == q {
		delete(c.queues, q.name)
	}
}
