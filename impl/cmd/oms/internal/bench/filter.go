package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// filterProperty is 0 to 99 in turn.
const filterProperty = "n"

// filter measures a consumer whose filter keeps a part of the messages, and in
// the same run one that takes all and keeps the same part itself. Rates count
// all messages, those left out included.
func (s *session) filter(ctx context.Context, r *Result) error {
	if err := s.publish(ctx, new(Result), nil); err != nil {
		return err
	}
	itself, err := s.keep(ctx, "itself")
	if err != nil {
		return err
	}
	m := newMeter(s.cfg.Size, s.cfg.Messages, s.cfg.Progress)
	filtered, err := s.keep(ctx, "filtered", om.WithFilter(om.SQL(fmt.Sprintf("%s < %d", filterProperty, s.cfg.Keep))))
	m.add(int(s.cfg.Messages), time.Since(m.began))
	m.fill(r)
	r.P50, r.P99, r.Max = nil, nil, nil
	peer, ratio := float64(s.cfg.Messages)/itself.Seconds(), itself.Seconds()/filtered.Seconds()
	r.PeerMessagesPerSecond, r.RatioToPeer = &peer, &ratio
	return err
}

// keep receives until all messages to be kept are there, and returns how long
// that took.
func (s *session) keep(ctx context.Context, group string, opts ...om.ConsumerOption) (took time.Duration, err error) {
	var left atomic.Int64
	left.Store(s.kept())
	enough, done := context.WithCancel(ctx)
	defer done()
	began := time.Now()
	err = together(enough, s.cfg.Consumers, func(ctx context.Context, _ int) error {
		err := s.keepOne(ctx, &left, slices.Concat(opts, []om.ConsumerOption{om.WithGroup(group)}))
		if left.Load() <= 0 {
			done()
		}
		return err
	})
	if left.Load() <= 0 {
		err = nil
	}
	return time.Since(began), err
}

// keepOne receives with one consumer until nothing is left.
func (s *session) keepOne(ctx context.Context, left *atomic.Int64, opts []om.ConsumerOption) (err error) {
	c, err := s.ap.NewPullConsumer(ctx, opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	if err := c.Bind(ctx, s.queues...); err != nil {
		return err
	}
	for left.Load() > 0 {
		ds, err := c.ReceiveBatch(ctx, s.cfg.Batch)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if d.Properties.GetInt64(filterProperty, 100) < int64(s.cfg.Keep) {
				left.Add(-1)
			}
		}
		if err := c.Ack(ctx, ds...); err != nil {
			return err
		}
	}
	return nil
}

// kept returns how many of the messages the filter lets pass: batches begin at
// 0 anew.
func (s *session) kept() (n int64) {
	of := func(count int64) int64 { return count/100*int64(s.cfg.Keep) + min(count%100, int64(s.cfg.Keep)) }
	batch := int64(s.cfg.Batch)
	return s.cfg.Messages/batch*of(batch) + of(s.cfg.Messages%batch)
}

// addRoutes makes the routes of a queue, with their targets.
func (s *session) addRoutes(ctx context.Context, queue string) error {
	for i := range s.cfg.Routes {
		target := routeTarget(queue, i)
		if err := s.ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: target, Partitions: s.cfg.Partitions}); err != nil {
			return err
		}
		if err := s.ap.Resources().CreateRoute(ctx, om.RouteConfig{Name: target, Source: queue, Target: target}); err != nil {
			return err
		}
	}
	return nil
}

// removeRoutes deletes the targets, and with them the routes.
func (s *session) removeRoutes(ctx context.Context, queue string) (err error) {
	for i := range s.cfg.Routes {
		err = errors.Join(err, s.ap.Resources().DeleteQueue(ctx, routeTarget(queue, i)))
	}
	return err
}

func routeTarget(queue string, i int) string { return fmt.Sprintf("%s-route-%d", queue, i) }
