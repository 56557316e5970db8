// Package bench measures a messaging system through the portable client, and
// the store below the embedded broker without it.
package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// Config says what is measured.
type Config struct {
	Scenario   string // publish, send, consume, filter or roundtrip
	URL        string // empty: the embedded broker in a temporary folder
	Size       int    // body bytes
	Messages   int64
	Batch      int // messages in one call
	Producers  int
	Consumers  int
	Queues     int
	Partitions int
	Groups     int // consumer groups of each queue that never read
	Routes     int // from each queue, each to a queue of its own
	Keep       int // per cent of the messages that the filter lets pass
	Keys       int // that the messages have at random; 0: none
	Rate       int // messages a second, 0 for as many as possible
	// Delay is that of the messages of a round trip. Those that are published
	// get delays of Delay to twice as much.
	Delay time.Duration
	Limit bool // measure a bare Badger loop as well
	// Progress, when set, is told how far the measured part is.
	Progress func(done, total int64)
}

// Run measures. When ctx ends it returns what was measured until then.
func Run(ctx context.Context, cfg Config) (r Result, err error) {
	dir, err := os.MkdirTemp("", "oms-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	url := cfg.URL
	if url == "" {
		url = badger.URL(dir + "/store")
	}
	r = Result{
		Scenario: cfg.Scenario, Size: cfg.Size, Batch: cfg.Batch, Producers: cfg.Producers,
		Consumers: cfg.Consumers, Queues: cfg.Queues, Partitions: cfg.Partitions, Groups: cfg.Groups, Routes: cfg.Routes,
	}
	limit := limiter{rates: make(map[way][]float64)}
	if cfg.Limit {
		// Before and after, because disks change their mind.
		if err := limit.measure(ctx, dir, cfg); err != nil {
			return r, err
		}
	}
	if err := measure(ctx, dir, url, cfg, &r); err != nil {
		return r, err
	}
	if cfg.Limit && ctx.Err() == nil {
		if err := limit.measure(ctx, dir, cfg); err != nil {
			return r, err
		}
		best := limit.best()
		ratio := r.MessagesPerSecond / best
		r.LimitMessagesPerSecond, r.RatioToLimit = &best, &ratio
	}
	r.Interrupted = ctx.Err() != nil
	return r, nil
}

// session is what a scenario works with.
type session struct {
	cfg    Config
	ap     om.AccessPoint
	queues []string
}

func measure(ctx context.Context, dir, url string, cfg Config, r *Result) (err error) {
	ap, err := oms.Open(ctx, url)
	if err != nil {
		return err
	}
	last := context.WithoutCancel(ctx)
	defer func() { err = cmp.Or(err, ap.Close(last)) }()
	s := &session{cfg: cfg, ap: ap}
	run := rand.Uint32()
	for i := range cfg.Queues {
		name := fmt.Sprintf("bench-%08x-%d", run, i)
		if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: name, Partitions: cfg.Partitions}); err != nil {
			return err
		}
		defer func() { err = cmp.Or(err, ap.Resources().DeleteQueue(last, name)) }()
		s.queues = append(s.queues, name)
		if err := s.addRoutes(ctx, name); err != nil {
			return err
		}
		defer func() { err = cmp.Or(err, s.removeRoutes(last, name)) }()
		for g := range cfg.Groups {
			if err := ap.Resources().SeekGroup(ctx, name, fmt.Sprintf("idle-%d", g), om.Begin()); err != nil {
				return err
			}
		}
	}
	if err := prepare(dir, cfg.Messages*int64(cfg.Size)); err != nil {
		return err
	}
	switch cfg.Scenario {
	case "publish":
		return ignoreEnd(ctx, s.publish(ctx, r, s.cfg.Progress))
	case "send":
		return ignoreEnd(ctx, s.send(ctx, r))
	case "consume":
		return ignoreEnd(ctx, s.consume(ctx, r))
	case "filter":
		return ignoreEnd(ctx, s.filter(ctx, r))
	case "roundtrip":
		return ignoreEnd(ctx, s.roundtrip(ctx, r))
	}
	return fmt.Errorf("no scenario is named %q", cfg.Scenario)
}

// ignoreEnd drops the error of a run that the user has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// together runs n workers until one fails or all are done.
func together(ctx context.Context, n int, work func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := work(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// shares hands out parts of n messages to workers.
type shares struct{ left atomic.Int64 }

func newShares(n int64) *shares {
	s := new(shares)
	s.left.Store(n)
	return s
}

// take returns how many of the next batch the caller gets, 0 at the end.
func (s *shares) take(batch int) int {
	rest := s.left.Add(-int64(batch)) + int64(batch)
	return int(max(0, min(rest, int64(batch))))
}

// pace blocks until message number i of a run with that rate is due.
func pace(ctx context.Context, began time.Time, i int64, rate int) (due time.Time, err error) {
	if rate <= 0 {
		return time.Now(), ctx.Err()
	}
	due = began.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
	if wait := time.Until(due); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return due, ctx.Err()
}

func (s *session) messages(n int, queue string) []*om.Message {
	ms, values, bodies := make([]*om.Message, n), make([]om.Message, n), make([]byte, n*s.cfg.Size)
	for i := range ms {
		body := bodies[i*s.cfg.Size : (i+1)*s.cfg.Size : (i+1)*s.cfg.Size]
		for k := 0; k < len(body)/2; k++ { // half random, half not
			body[k] = byte(rand.Uint32())
		}
		values[i] = *om.NewMessage(queue, body)
		ms[i] = &values[i]
		if s.cfg.Delay > 0 {
			ms[i].Ext.Delay = s.cfg.Delay + rand.N(s.cfg.Delay)
		}
		if s.cfg.Keys > 0 {
			ms[i].Ext.MessageKey = fmt.Sprintf("key-%06d", rand.N(s.cfg.Keys))
		}
		if s.cfg.Scenario == "filter" {
			ms[i].Properties[filterProperty] = om.Long(int64(i % 100))
		}
	}
	return ms
}

// inTurn returns a function that names the queues in turn.
func (s *session) inTurn() func() string {
	var next atomic.Int64
	return func() string { return s.queues[int(next.Add(1)-1)%len(s.queues)] }
}

func (s *session) publish(ctx context.Context, r *Result, progress func(done, total int64)) error {
	work := newShares(s.cfg.Messages)
	queue := s.inTurn()
	producers := make([]om.Producer, s.cfg.Producers)
	batches := make([][]*om.Message, s.cfg.Producers)
	for i := range producers {
		var err error
		if producers[i], err = s.ap.NewProducer(ctx, om.WithBatch(s.cfg.Batch, 8<<20)); err != nil {
			return err
		}
		batches[i] = s.messages(s.cfg.Batch, "")
	}
	m := newMeter(s.cfg.Size, s.cfg.Messages, progress)
	var sent atomic.Int64
	err := together(ctx, len(producers), func(ctx context.Context, i int) error {
		for n := work.take(s.cfg.Batch); n > 0; n = work.take(s.cfg.Batch) {
			if _, err := pace(ctx, m.began, sent.Add(int64(n))-int64(n), s.cfg.Rate); err != nil {
				return err
			}
			batch, destination := batches[i][:n], queue()
			for _, m := range batch {
				m.Destination = destination
			}
			began := time.Now()
			if _, err := producers[i].SendBatch(ctx, batch); err != nil {
				return err
			}
			m.add(n, time.Since(began))
		}
		return nil
	})
	m.fill(r)
	return err
}

func (s *session) send(ctx context.Context, r *Result) error {
	r.Batch = 1
	work := newShares(s.cfg.Messages)
	producers := make([]om.Producer, s.cfg.Producers)
	for i := range producers {
		var err error
		if producers[i], err = s.ap.NewProducer(ctx); err != nil {
			return err
		}
	}
	m := newMeter(s.cfg.Size, s.cfg.Messages, s.cfg.Progress)
	queue := s.inTurn()
	var sent atomic.Int64
	err := together(ctx, s.cfg.Producers, func(ctx context.Context, i int) error {
		message := s.messages(1, "")[0]
		for work.take(1) > 0 {
			if _, err := pace(ctx, m.began, sent.Add(1)-1, s.cfg.Rate); err != nil {
				return err
			}
			message.Destination = queue()
			began := time.Now()
			if _, err := producers[i].Send(ctx, message); err != nil {
				return err
			}
			m.add(1, time.Since(began))
		}
		return nil
	})
	m.fill(r)
	return err
}

func (s *session) consume(ctx context.Context, r *Result) error {
	s.cfg.Producers = max(1, s.cfg.Producers)
	if err := s.publish(ctx, new(Result), nil); err != nil {
		return err
	}
	var left atomic.Int64
	left.Store(s.cfg.Messages)
	ctx, done := context.WithCancel(ctx)
	defer done()
	m := newMeter(s.cfg.Size, s.cfg.Messages, s.cfg.Progress)
	err := together(ctx, s.cfg.Consumers, func(ctx context.Context, i int) error {
		c, err := s.ap.NewPullConsumer(ctx, om.WithGroup("bench"))
		if err != nil {
			return err
		}
		if err := c.Bind(ctx, s.queues...); err != nil {
			return err
		}
		for {
			began := time.Now()
			ds, err := c.ReceiveBatch(ctx, s.cfg.Batch)
			if err == nil {
				err = c.Ack(ctx, ds...)
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			m.add(len(ds), time.Since(began))
			if left.Add(-int64(len(ds))) <= 0 {
				done()
			}
		}
	})
	m.fill(r)
	r.Duplicates = max(0, r.Messages-s.cfg.Messages)
	if left.Load() <= 0 {
		return nil
	}
	return err
}

// roundtrip measures from the moment a message is due to its handler: due to be
// sent, or to be delivered where it has a delay. Body: its number and when it
// was due to be sent.
func (s *session) roundtrip(ctx context.Context, r *Result) error {
	r.Batch = 1
	s.cfg.Size = max(s.cfg.Size, 16)
	seen := make([]atomic.Bool, s.cfg.Messages)
	all := make(chan struct{})
	var received, duplicates atomic.Int64
	m := newMeter(s.cfg.Size, s.cfg.Messages, s.cfg.Progress)
	handler := func(_ context.Context, d *om.Delivery) error {
		number := binary.BigEndian.Uint64(d.Body)
		due := time.Unix(0, int64(binary.BigEndian.Uint64(d.Body[8:])))
		if s.cfg.Delay > 0 {
			due = d.BornAt.Add(s.cfg.Delay)
		}
		if seen[number].Swap(true) {
			duplicates.Add(1)
			return nil
		}
		m.add(1, time.Since(due))
		if received.Add(1) == s.cfg.Messages {
			close(all)
		}
		return nil
	}
	for range max(1, s.cfg.Consumers) {
		c, err := s.ap.NewPushConsumer(ctx, om.WithGroup("bench"))
		if err != nil {
			return err
		}
		defer c.Close(context.WithoutCancel(ctx))
		if err := c.Bind(ctx, handler, s.queues...); err != nil {
			return err
		}
	}
	producer, err := s.ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	template := s.messages(1, "")[0]
	for i := range s.cfg.Messages {
		due, err := pace(ctx, began, i, s.cfg.Rate)
		if err != nil {
			break
		}
		message := om.NewMessage(s.queues[int(i)%len(s.queues)], template.Body)
		message.Ext.Delay = s.cfg.Delay
		binary.BigEndian.PutUint64(message.Body, uint64(i))
		binary.BigEndian.PutUint64(message.Body[8:], uint64(due.UnixNano()))
		if err := producer.SendOneway(ctx, message); err != nil {
			return err
		}
	}
	if err := producer.Flush(ctx); err == nil {
		select {
		case <-all:
		case <-ctx.Done():
		case <-time.After(s.cfg.Delay + 30*time.Second):
			err = fmt.Errorf("%d of %d messages did not come back", s.cfg.Messages-received.Load(), s.cfg.Messages)
		}
		if err != nil {
			return err
		}
	}
	m.fill(r)
	r.Duplicates = duplicates.Load()
	return nil
}
