package mutant

import (
	"context"
	"errors"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var statsMutants = []Mutant{
	browsing("browse-makes-a-group", "R152", "groups with lag, in flight and redelivered", func(ctx context.Context, c spi.Conn, queue string) {
		if r, err := c.NewReceiver(ctx, spi.ReceiverConfig{Queue: queue, Group: "browsers", Lease: time.Minute}); err == nil {
			_ = r.Close(ctx)
		}
	}),
	browsing("browse-settles", "R152", "groups with lag, in flight and redelivered", func(ctx context.Context, c spi.Conn, queue string) {
		s, _ := spi.As[spi.Seeker](c)
		_ = s.SeekGroup(ctx, queue, "tck", om.End())
	}),
	counting("lag-without-in-flight", "R153", "lag: got", func(_ bool, _ *om.QueueStats, g *om.GroupStats) { g.Lag -= g.InFlight }),
	counting("age-of-oldest-missing", "R153", "age of the oldest message: got", func(_ bool, _ *om.QueueStats, g *om.GroupStats) { g.OldestAge = 0 }),
	counting("waiting-counts-as-in-flight", "R153", "in flight: got", func(_ bool, _ *om.QueueStats, g *om.GroupStats) { g.InFlight += g.Waiting }),
	counting("dead-not-counted", "R153", "dead: got 0", func(_ bool, _ *om.QueueStats, g *om.GroupStats) { g.Dead = 0 }),
	counting("rate-is-total", "R153", "rate of publishing", func(_ bool, s *om.QueueStats, _ *om.GroupStats) { s.Published.Rate = float64(s.Published.Total) }),
	counting("delayed-counted-as-depth", "R153", "depth: got", func(_ bool, s *om.QueueStats, _ *om.GroupStats) { s.Depth += s.Delayed }),
	counting("depth-since-restart", "R154", "depth after", func(again bool, s *om.QueueStats, _ *om.GroupStats) {
		if again {
			s.Depth = s.Published.Total
		}
	}),
	counting("age-since-restart", "R154", "age of the oldest message after", func(again bool, _ *om.QueueStats, g *om.GroupStats) {
		if again {
			g.OldestAge = 0
		}
	}),
	finding("find-ignores-id", "R155", "bodies of the messages with an id", func(q *om.MessageQuery) { q.ID = "" }, nil),
	finding("find-knows-no-place", "R155", "offset of what was found", nil, func(r *spi.Received) { r.Offset = -1 }),
	finding("find-ignores-key", "R156", "messages of a key", func(q *om.MessageQuery) { q.Key = "" }, nil),
	finding("find-begins-again", "R156", "finding messages does not end", func(q *om.MessageQuery) { q.After = "" }, nil),
	finding("find-includes-the-end", "R157", "messages before the second one's time", func(q *om.MessageQuery) {
		if !q.To.IsZero() {
			q.To = q.To.Add(time.Millisecond)
		}
	}, nil),
	finding("find-ignores-begin", "R157", "messages from the second one's time on", func(q *om.MessageQuery) { q.From = time.Time{} }, nil),
	finding("delayed-not-listed", "R158", "delayed messages: got", func(q *om.MessageQuery) { q.Delayed = false }, nil),
	finding("due-time-ignored", "R158", "what is due", func(q *om.MessageQuery) {
		if q.Delayed {
			q.From, q.To = time.Time{}, time.Time{}
		}
	}, nil),
	finding("dead-not-listed", "R159", "dead letters", func(q *om.MessageQuery) { q.DeadFor = "" }, nil),
	{"redriven-still-dead", "R159", "dead letters after one was redriven", findingBy(func(ctx context.Context, f spi.Finder, queue string, q om.MessageQuery) ([]spi.Received, string, error) {
		if q.DeadFor == "" {
			return f.FindMessages(ctx, queue, q)
		}
		if got, next, err := f.FindMessages(ctx, queue, q); err != nil {
			return got, next, err
		}
		q.DeadFor, queue = "", q.Where(queue)
		got, next, err := f.FindMessages(ctx, queue, q)
		if errors.Is(err, om.ErrDestination) {
			return nil, "", nil
		}
		return got, next, err
	})},
}

// browsing does something else when a queue is read as a stream.
func browsing(name, kills, says string, beside func(ctx context.Context, c spi.Conn, queue string)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			s, _ := spi.As[spi.Streamer](c)
			return browser{spi.ConnWrapper{Conn: c}, s, beside}
		}
	}}
}

type browser struct {
	spi.ConnWrapper
	spi.Streamer
	beside func(ctx context.Context, c spi.Conn, queue string)
}

func (b browser) ReadAt(ctx context.Context, queue string, partition int32, offset int64, max int) ([]spi.Received, error) {
	got, err := b.Streamer.ReadAt(ctx, queue, partition, offset, max)
	if len(got) > 0 {
		b.beside(ctx, b.Conn, queue)
	}
	return got, err
}

// counting changes the statistics of each group and its queue; again says that
// the system was restarted.
func counting(name, kills, says string, change func(again bool, s *om.QueueStats, g *om.GroupStats)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		var restarted locked[bool]
		for _, hook := range []*func(context.Context) error{&p.faults.Restart, &p.faults.Kill} {
			do := *hook
			*hook = func(ctx context.Context) error {
				restarted.do(func(r *bool) { *r = true })
				return do(ctx)
			}
		}
		p.conn = func(c spi.Conn) spi.Conn {
			s, _ := spi.As[spi.StatsReader](c)
			return statist{spi.ConnWrapper{Conn: c}, s, func(s *om.QueueStats, g *om.GroupStats) { change(restarted.get(), s, g) }}
		}
	}}
}

type statist struct {
	spi.ConnWrapper
	s      spi.StatsReader
	change func(*om.QueueStats, *om.GroupStats)
}

func (c statist) Stats(ctx context.Context, namespace string, queues []string) ([]om.QueueStats, error) {
	all, err := c.s.Stats(ctx, namespace, queues)
	for i := range all {
		for n := range all[i].Groups {
			c.change(&all[i], &all[i].Groups[n])
		}
	}
	return all, err
}

// finding changes what is looked for, or what is found.
func finding(name, kills, says string, ask func(*om.MessageQuery), answer func(*spi.Received)) Mutant {
	return Mutant{name, kills, says, findingBy(func(ctx context.Context, f spi.Finder, queue string, q om.MessageQuery) ([]spi.Received, string, error) {
		if ask != nil {
			ask(&q)
		}
		found, next, err := f.FindMessages(ctx, queue, q)
		for i := range found {
			if answer != nil {
				answer(&found[i])
			}
		}
		return found, next, err
	})}
}

func findingBy(find func(ctx context.Context, f spi.Finder, queue string, q om.MessageQuery) ([]spi.Received, string, error)) func(*parts) {
	return func(p *parts) {
		p.conn = func(c spi.Conn) spi.Conn {
			f, _ := spi.As[spi.Finder](c)
			return finder{spi.ConnWrapper{Conn: c}, f, find}
		}
	}
}

type finder struct {
	spi.ConnWrapper
	f    spi.Finder
	find func(ctx context.Context, f spi.Finder, queue string, q om.MessageQuery) ([]spi.Received, string, error)
}

func (f finder) FindMessages(ctx context.Context, queue string, q om.MessageQuery) ([]spi.Received, string, error) {
	return f.find(ctx, f.f, queue, q)
}
