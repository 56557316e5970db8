// Portable is one program for any messaging system: it sends a week of
// earthquakes to a queue, consumes them with a push consumer and prints how many
// there were of each strength. What carries them is said by the URL alone:
//
//	go run ./examples/portable -url 'oms:badger://local/default?memory=true'
//	go run ./examples/portable -url oms:memory://local/default
//	go run ./examples/portable -url oms:nats://127.0.0.1:4222/default
//
// The output is the same. A NATS server for the last one, if there is none:
//
//	go run github.com/nats-io/nats-server/v2@v2.15.2 -js -sd /tmp/nats
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/openmessaging/openmessaging-go/examples/quickstart/earthquakes"
	_ "github.com/openmessaging/openmessaging-go/impl/badger"
	_ "github.com/openmessaging/openmessaging-go/impl/nats"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

const queue = "earthquakes-portable"

func main() {
	url := flag.String("url", "oms:badger://local/default?memory=true", "access-point URL")
	flag.Parse()
	spi.Register(memory.New().Driver("memory"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "portable:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, w io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ap, err := oms.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, ap.Close(context.Background())) }()
	if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue, Partitions: 2}); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, ap.Resources().DeleteQueue(context.Background(), queue)) }()

	events, err := earthquakes.Events()
	if err != nil {
		return err
	}
	consumer, err := ap.NewPushConsumer(ctx, om.WithGroup("strength"))
	if err != nil {
		return err
	}
	counts := count{expected: len(events), all: make(chan struct{}), seen: map[string]bool{}, classes: map[int]*class{}}
	if err := consumer.Bind(ctx, counts.add, queue); err != nil {
		return err
	}
	if err := publish(ctx, ap, events); err != nil {
		return err
	}
	select {
	case <-counts.all:
	case <-ctx.Done():
		return fmt.Errorf("not everything came: %w", ctx.Err())
	}
	if err := consumer.Close(ctx); err != nil { // no handler runs any more
		return err
	}
	return counts.print(w)
}

// publish sends the events in batches.
func publish(ctx context.Context, ap om.AccessPoint, events []earthquakes.Event) error {
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(events, 100) {
		batch := oms.NewBatch(producer)
		for _, e := range some {
			batch.Add(e.Message(queue))
		}
		if _, err := batch.Flush(ctx); err != nil {
			return err
		}
	}
	return producer.Close(ctx)
}

// count counts what the consumer receives. Its handler runs one at a time.
type count struct {
	expected int
	all      chan struct{} // closed when everything came
	seen     map[string]bool
	classes  map[int]*class // by magnitude, rounded down
}

type class struct {
	events   int
	felt     int64
	strength float64 // of the greatest
	place    string  // of the greatest
}

// add is the handler. A message that comes again counts once.
func (c *count) add(_ context.Context, d *om.Delivery) error {
	id := d.Properties.GetString("id", "")
	if c.seen[id] {
		return nil
	}
	c.seen[id] = true
	magnitude, place := d.Properties.GetFloat64("mag", 0), d.Properties.GetString("place", "")
	key := int(math.Floor(magnitude))
	k := c.classes[key]
	if k == nil {
		k = &class{strength: math.Inf(-1)}
		c.classes[key] = k
	}
	k.events++
	k.felt += d.Properties.GetInt64("felt", 0)
	if magnitude > k.strength || magnitude == k.strength && place < k.place {
		k.strength, k.place = magnitude, place
	}
	if len(c.seen) == c.expected {
		close(c.all)
	}
	return nil
}

func (c *count) print(w io.Writer) error {
	keys := make([]int, 0, len(c.classes))
	for k := range c.classes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "magnitude\tevents\tfelt by\tgreatest")
	for _, k := range keys {
		x := c.classes[k]
		fmt.Fprintf(table, "%d to %d\t%d\t%d\t%.2f, %s\n", k, k+1, x.events, x.felt, x.strength, x.place)
	}
	fmt.Fprintf(table, "all\t%d\n", len(c.seen))
	return table.Flush()
}
