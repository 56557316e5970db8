// Ordered replays a week of earthquakes to an assigned group: each partition
// belongs to one worker at a time, and workers come and go while they work. The
// messages of a partition keep their order, whoever handles them.
//
//	go run ./examples/ordered [-url URL]
//
// It runs on the embedded broker in a temporary folder, or on any system whose
// URL is given.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/examples/quickstart/earthquakes"
	"github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/allocation"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const (
	queue      = "seismographs"
	partitions = 8
	number     = "number" // property: the place of a message in its partition
)

func main() {
	url := flag.String("url", "", "access-point URL; default: a temporary folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ordered:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, w io.Writer) (err error) {
	if url == "" {
		dir, err := os.MkdirTemp("", "oms-ordered-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		url = badger.URL(dir)
	}
	ap, err := oms.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, ap.Close(context.Background())) }()
	if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue, Partitions: partitions}); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, ap.Resources().DeleteQueue(context.Background(), queue)) }()
	total, err := publish(ctx, ap)
	if err != nil {
		return err
	}
	l := &ledger{w: w, next: make(map[int32]int64), owner: make(map[int32]string), more: make(chan struct{})}
	if err := l.replay(ctx, ap, total); err != nil {
		return err
	}
	return l.conclude(total)
}

// publish spreads the events over the partitions, each with its number
// there.
func publish(ctx context.Context, ap om.AccessPoint) (int, error) {
	events, err := earthquakes.Events()
	if err != nil {
		return 0, err
	}
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return 0, err
	}
	sent := make(map[int32]int64)
	var ms []*om.Message
	for _, e := range events {
		m := e.Message(queue)
		h := fnv.New32a()
		_, _ = h.Write([]byte(e.ID))
		p := int32(h.Sum32() % partitions)
		m.Ext.Partition = om.Some(p)
		m.Properties[number] = om.Long(sent[p])
		sent[p]++
		ms = append(ms, m)
	}
	_, err = producer.SendBatch(ctx, ms)
	return len(ms), cmp.Or(err, producer.Close(ctx))
}

// replay has workers join and leave at even distances until all is handled.
func (l *ledger) replay(ctx context.Context, ap om.AccessPoint, total int) error {
	workers := make(map[string]om.PushConsumer)
	defer func() {
		for _, c := range workers {
			_ = c.Close(context.Background())
		}
	}()
	steps := []string{"amber", "birch", "cedar", "amber", "dogwood", "birch", "amber", "cedar"}
	for i, name := range steps {
		if err := l.wait(ctx, total*i/len(steps)); err != nil {
			return err
		}
		if c := workers[name]; c != nil { // it is there, so it leaves
			delete(workers, name)
			if err := c.Close(ctx); err != nil {
				return err
			}
			l.say("%s leaves", name)
			continue
		}
		l.say("%s joins", name)
		c, err := l.worker(ctx, ap, name)
		if err != nil {
			return err
		}
		workers[name] = c
	}
	return l.wait(ctx, total)
}

// worker starts a member of the group.
func (l *ledger) worker(ctx context.Context, ap om.AccessPoint, name string) (om.PushConsumer, error) {
	c, err := ap.NewPushConsumer(ctx, om.WithGroup("alarms"), om.WithAllocation(allocation.Sticky()), om.WithMember(name, nil),
		om.WithConcurrency(partitions), // one handler at a time for each partition
		om.WithRebalanceListener(om.RebalanceListener{
			Assigned: func(_ string, ps []int32) { l.moved(name, ps) },
			Revoked:  func(_ string, ps []int32) { l.moved("", ps) },
		}))
	if err != nil {
		return nil, err
	}
	return c, c.Bind(ctx, func(_ context.Context, d *om.Delivery) error {
		time.Sleep(2 * time.Millisecond) // the work
		l.handled(name, d)
		return nil
	}, queue)
}

// ledger checks what the workers do.
type ledger struct {
	w io.Writer

	mu         sync.Mutex
	count      int             // handled, each once
	next       map[int32]int64 // number that is expected, by partition
	owner      map[int32]string
	moves      int
	twice      int
	outOfOrder int // behind a gap, or by a worker that does not have the partition
	more       chan struct{}
}

func (l *ledger) handled(name string, d *om.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := d.Properties.GetInt64(number, -1)
	switch next := l.next[d.Partition]; {
	case n < next:
		l.twice++
		return
	case n > next || l.owner[d.Partition] != name:
		l.outOfOrder++
	}
	l.next[d.Partition] = n + 1
	l.count++
	close(l.more)
	l.more = make(chan struct{})
}

func (l *ledger) moved(to string, ps []int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		if to != "" {
			l.moves++
		}
		l.owner[p] = to
	}
}

// wait blocks until so many messages are handled.
func (l *ledger) wait(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		l.mu.Lock()
		n, more := l.count, l.more
		l.mu.Unlock()
		if n >= count {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages were handled: %w", n, count, ctx.Err())
		}
	}
}

func (l *ledger) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%5d handled: %s\n", l.count, fmt.Sprintf(format, args...))
}

func (l *ledger) conclude(total int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := total - l.count
	fmt.Fprintf(l.w, "\n%d partitions were given to workers %d times, %d messages were delivered twice\n", partitions, l.moves, l.twice)
	fmt.Fprintf(l.w, "%d messages, %d out of order, %d lost\n", total, l.outOfOrder, lost)
	if l.outOfOrder != 0 || lost != 0 {
		return fmt.Errorf("the order was not kept")
	}
	return nil
}
