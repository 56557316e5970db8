package oms

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// pullRun is the receiving of a pull consumer from a Start to its Stop. With
// one bound queue a receive calls the driver directly; with several, one
// receive of the driver runs for each queue while somebody waits, and what
// comes beyond what is asked is kept for the next calls.
type pullRun struct {
	c    *pullConsumer
	life context.Context // ends with the run
	end  context.CancelFunc

	mu      sync.Mutex
	sources []*pullSource
	turn    int // the source whose kept deliveries come next
	waiting int // receives that wait for several queues
	want    int // the most that one of them asks for
	news    chan struct{}
	halted  bool

	// epoch ends when the set of queues changes: receives begin anew.
	epoch    context.Context
	endEpoch context.CancelFunc
	// fetching is the context of the driver's receives while somebody waits.
	fetching  context.Context
	stopFetch context.CancelFunc
}

func newPullRun(c *pullConsumer) *pullRun {
	r := &pullRun{c: c, news: make(chan struct{})}
	r.life, r.end = context.WithCancel(context.Background())
	r.epoch, r.endEpoch = context.WithCancel(r.life)
	return r
}

func (r *pullRun) add(src *source) *pullSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &pullSource{source: src, patience: minPatience}
	r.sources = append(r.sources, s)
	r.changed()
	return s
}

// remove takes a source out; its receives end and what is kept of it is
// forgotten, so that its end gives it back.
func (r *pullRun) remove(s *pullSource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = slices.DeleteFunc(r.sources, func(t *pullSource) bool { return t == s })
	s.leave()
	r.changed()
}

// halt ends all receives and returns the sources, which are the caller's to end.
func (r *pullRun) halt() []*pullSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.halted = true
	for _, s := range r.sources {
		s.leave()
	}
	r.end()
	r.changed()
	return r.sources
}

func (r *pullRun) changed() {
	r.endEpoch()
	r.epoch, r.endEpoch = context.WithCancel(r.life)
	r.tell()
}

// tell lets everybody who waits look again.
func (r *pullRun) tell() {
	close(r.news)
	r.news = make(chan struct{})
}

// receive blocks for one to max deliveries.
func (r *pullRun) receive(ctx context.Context, max int) ([]*om.Delivery, error) {
	pace := backoff{policy: r.c.cfg.Retry}
	for {
		if err := ended(ctx, "receive", ""); err != nil {
			return nil, err
		}
		r.mu.Lock()
		if r.halted {
			r.mu.Unlock()
			return nil, r.stopped("")
		}
		if ds := r.takeKept(max); len(ds) > 0 {
			r.mu.Unlock()
			return ds, nil
		}
		if err := r.takeError(); err != nil {
			r.mu.Unlock()
			return nil, err
		}
		switch len(r.sources) {
		case 0:
			r.mu.Unlock()
			return nil, badParameter("receive", "", "no queue is bound; call Bind first")
		case 1:
			s, epoch := r.sources[0], r.epoch
			s.enter()
			r.mu.Unlock()
			ds, err := r.direct(ctx, epoch, s, max)
			if len(ds) > 0 {
				return ds, nil
			}
			if err == nil {
				continue
			}
			if !om.Retryable(err) {
				return nil, err
			}
			r.c.report(err)
			r.pause(ctx, &pace)
		default:
			r.await(ctx, max)
		}
	}
}

// stopped is the error of receives that a stop has ended, even when the
// consumer has been started again meanwhile.
func (r *pullRun) stopped(queue string) error {
	if err := r.c.ready("receive", queue); err != nil {
		return err
	}
	return om.NewError(om.CodeNotRunning, "receive", queue, "the consumer was stopped meanwhile")
}

func (r *pullRun) pause(ctx context.Context, pace *backoff) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	pace.pause(ctx)
}

// direct receives from the only bound queue. It returns nothing when the call
// ended for another reason than the queue's; the caller then looks again.
func (r *pullRun) direct(ctx, epoch context.Context, s *pullSource, max int) ([]*om.Delivery, error) {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(epoch, cancel)()
	got, err := s.receive(within, max)
	r.mu.Lock()
	defer r.mu.Unlock()
	s.exit()
	switch {
	case s.gone:
		return nil, nil
	case err == nil:
		return got.deliveries(), nil
	case within.Err() != nil:
		return nil, nil
	}
	return nil, err
}

// await waits for news from several queues while they are fetched from.
// The caller holds r.mu, which await releases.
func (r *pullRun) await(ctx context.Context, max int) {
	if r.waiting == 0 {
		r.fetching, r.stopFetch = context.WithCancel(r.life)
		r.want = 0
	}
	r.waiting++
	if max > r.want {
		r.want = max
	}
	r.startFetches()
	news := r.news
	r.mu.Unlock()
	select {
	case <-news:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		r.stopFetch()
	}
}

// takeKept returns up to max kept deliveries. Each call begins with another
// queue and takes what that has before it goes on to the next, so that few
// queues are in one answer and their acknowledgement is few calls. The caller
// holds r.mu.
func (r *pullRun) takeKept(max int) []*om.Delivery {
	var ds []*om.Delivery
	now := time.Now()
	for range r.sources {
		r.turn = (r.turn + 1) % len(r.sources)
		for len(ds) < max {
			f := r.sources[r.turn].pop(now)
			if f == nil {
				break
			}
			ds = append(ds, &f.Delivery)
		}
		if len(ds) == max {
			break
		}
	}
	return ds
}

// takeError returns a failure of a fetch that nobody has been told yet.
func (r *pullRun) takeError() error {
	for _, s := range r.sources {
		if err := s.err; err != nil {
			s.err = nil
			return err
		}
	}
	return nil
}

// receiveFrom reads a partition from a position on, beside the group.
func (r *pullRun) receiveFrom(ctx context.Context, from om.ReceiveConfig, max int) ([]*om.Delivery, error) {
	const op = "receive"
	streamer, err := r.c.ap.streamer(op, from.Queue, om.CapSeek)
	if err != nil {
		return nil, err
	}
	if r.c.bound.get(from.Queue) == nil {
		return nil, badParameter(op, from.Queue, "the queue is not bound; call Bind first")
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	ds, err := readFrom(within, streamer, from, max)
	switch {
	case err == nil:
		return ds, nil
	case ctx.Err() == nil && r.life.Err() != nil && errors.Is(err, context.Canceled):
		return nil, r.stopped(from.Queue)
	}
	return nil, r.c.ap.errs.wrap(err, op, from.Queue)
}
