// Quickstart replays a week of earthquakes: it publishes every event of the
// feed, consumes them with two push consumers of one group, and shows
// what came through. It runs on the embedded broker in a temporary folder, or
// on any system whose URL is given:
//
//	go run ./examples/quickstart [-url URL]
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/openmessaging/openmessaging-go/examples/quickstart/earthquakes"
	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const queue = "earthquakes"

func main() {
	url := flag.String("url", "", "access-point URL; default: a temporary folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string) (err error) {
	if url == "" {
		dir, err := os.MkdirTemp("", "oms-quickstart-")
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

	resources := ap.Resources()
	if err := resources.CreateQueue(ctx, om.QueueConfig{Name: queue, Partitions: 4}); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, resources.DeleteQueue(context.Background(), queue)) }()

	events, err := earthquakes.Events()
	if err != nil {
		return err
	}
	counts := newTally(len(events))
	for range 2 {
		consumer, err := ap.NewPushConsumer(ctx, om.WithGroup("quickstart"))
		if err != nil {
			return err
		}
		if err := consumer.Bind(ctx, counts.add, queue); err != nil {
			return err
		}
		defer consumer.Close(context.Background())
	}

	published, err := publish(ctx, ap, events)
	if err != nil {
		return err
	}
	select {
	case <-counts.all:
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	counts.table()
	if err := strongest(ctx, ap, events); err != nil {
		return err
	}
	return counts.conclude(published)
}

// strong is what the second group wants to know about.
const strong = "mag >= 4.5 AND place IS NOT NULL"

// strongest consumes the strong earthquakes alone, with a group that has a
// filter, and prints the first five. Systems without filters are passed over.
func strongest(ctx context.Context, ap om.AccessPoint, events []earthquakes.Event) (err error) {
	consumer, err := ap.NewPullConsumer(ctx, om.WithGroup("strong"), om.WithFilter(om.SQL(strong)))
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, consumer.Close(context.Background())) }()
	if err := consumer.Bind(ctx, queue); errors.Is(err, errors.ErrUnsupported) {
		return nil
	} else if err != nil {
		return err
	}
	expected := 0
	for _, e := range events {
		if e.Mag >= 4.5 {
			expected++
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var got []*om.Delivery
	for len(got) < expected {
		ds, err := consumer.ReceiveBatch(ctx, expected)
		if err == nil {
			err = consumer.Ack(ctx, ds...)
		}
		if err != nil {
			return fmt.Errorf("%d of %d strong earthquakes came: %w", len(got), expected, err)
		}
		got = append(got, ds...)
	}
	magnitude := func(d *om.Delivery) float64 { return d.Properties.GetFloat64("mag", 0) }
	slices.SortFunc(got, func(a, b *om.Delivery) int {
		return cmp.Or(cmp.Compare(magnitude(b), magnitude(a)), a.BornAt.Compare(b.BornAt))
	})
	fmt.Printf("\n%d strong earthquakes (%s), the greatest:\n", len(got), strong)
	for _, d := range got[:min(5, len(got))] {
		fmt.Printf("  %.1f  %s\n", magnitude(d), d.Properties.GetString("place", ""))
	}
	return nil
}

// publish sends the events in batches and returns how many were acknowledged.
func publish(ctx context.Context, ap om.AccessPoint, events []earthquakes.Event) (published int, err error) {
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, producer.Close(context.Background())) }()
	for batch := range slices.Chunk(events, 100) {
		var ms []*om.Message
		for _, e := range batch {
			ms = append(ms, e.Message(queue))
		}
		results, err := producer.SendBatch(ctx, ms)
		if err != nil {
			return published, err
		}
		published += len(results)
	}
	return published, nil
}

// tally counts what the consumers receive.
type tally struct {
	all chan struct{} // closed when everything came

	mu       sync.Mutex
	expected int
	seen     map[string]int // by event id
	nets     map[string]*network
}

type network struct {
	name     string
	events   int
	felt     int64
	tsunamis int
	greatest float64
	place    string // of the greatest
}

func newTally(expected int) *tally {
	return &tally{all: make(chan struct{}), expected: expected, seen: map[string]int{}, nets: map[string]*network{}}
}

// add is the handler of the consumers.
func (t *tally) add(_ context.Context, d *om.Delivery) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := d.Properties
	id := p.GetString("id", "")
	t.seen[id]++
	if t.seen[id] > 1 {
		return nil
	}
	name := p.GetString("net", "?")
	n := t.nets[name]
	if n == nil {
		n = &network{name: name, greatest: -10}
		t.nets[name] = n
	}
	n.events++
	n.felt += p.GetInt64("felt", 0)
	if p.GetBool("tsunami", false) {
		n.tsunamis++
	}
	if mag := p.GetFloat64("mag", 0); mag > n.greatest {
		n.greatest, n.place = mag, p.GetString("place", "")
	}
	if len(t.seen) == t.expected {
		close(t.all)
	}
	return nil
}

// table shows what came of each network.
func (t *tally) table() {
	t.mu.Lock()
	defer t.mu.Unlock()
	nets := make([]*network, 0, len(t.nets))
	for _, n := range t.nets {
		nets = append(nets, n)
	}
	slices.SortFunc(nets, func(a, b *network) int { return cmp.Or(b.events-a.events, cmp.Compare(a.name, b.name)) })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "net\tevents\tfelt by\ttsunami\tgreatest\twhere")
	for _, n := range nets {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f\t%s\n", n.name, n.events, n.felt, n.tsunamis, n.greatest, n.place)
	}
	_ = w.Flush()
}

// conclude prints the last line, and returns an error when anything is missing.
func (t *tally) conclude(published int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	received, duplicates := len(t.seen), 0
	for _, times := range t.seen {
		duplicates += times - 1
	}
	lost := published - received
	fmt.Printf("\n%d published, %d received, %d lost, %d duplicated\n", published, received, lost, duplicates)
	if lost != 0 {
		return fmt.Errorf("%d messages are missing", lost)
	}
	return nil
}
