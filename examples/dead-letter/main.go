// Dead-letter shows what becomes of messages that cannot be handled: they are
// tried a few times with a pause in between, go to the dead-letter queue, are
// listed, and go back when the mistake is corrected.
//
//	go run ./examples/dead-letter [-url 'oms:oms://127.0.0.1:7650/default']
//
// It needs a system with the capabilities dlq, group-config and redrive; without
// -url it uses a broker in memory.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"time"

	_ "github.com/openmessaging/openmessaging-go/impl/badger"
	_ "github.com/openmessaging/openmessaging-go/impl/remote"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const (
	queue    = "invoices"
	group    = "accounting"
	invoices = 20
	tries    = 3
)

func main() {
	url := flag.String("url", "oms:badger://local/default?memory=true", "access-point URL")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dead-letter:", err)
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
	resources := ap.Resources()
	if err := resources.CreateQueue(ctx, om.QueueConfig{Name: queue}); err != nil {
		return err
	}
	defer func() {
		for _, name := range []string{queue, om.DeadLetterQueue(queue, group)} {
			err = cmp.Or(err, resources.DeleteQueue(context.Background(), name))
		}
	}()
	books := &accounting{counts: make(chan struct{}, tries*invoices)}
	consumer, err := ap.NewPushConsumer(ctx, om.WithGroup(group))
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, consumer.Close(context.Background())) }()
	if err := consumer.Bind(ctx, books.book, queue); err != nil {
		return err
	}
	// The second try comes at once, the third after a moment.
	settings := om.GroupConfig{MaxDeliveries: tries, Backoff: om.Backoff{0, 100 * time.Millisecond}}
	if err := resources.ConfigureGroup(ctx, queue, group, settings); err != nil {
		return err
	}
	if err := send(ctx, ap); err != nil {
		return err
	}

	// Every fifth invoice has its total in a form that the program cannot read.
	const poison = invoices / 5
	if err := books.wait(ctx, invoices-poison+poison*tries); err != nil {
		return err
	}
	dead, err := list(ctx, resources, poison)
	if err != nil {
		return err
	}
	for _, d := range dead {
		fmt.Fprintf(w, "invoice %s is dead\n", d.MessageID)
	}
	books.corrected.Store(true)
	back, err := resources.Redrive(ctx, queue, group, om.Redrive{})
	if err != nil {
		return err
	}
	for _, one := range back {
		if one.Err != nil {
			return one.Err
		}
	}
	if err := books.wait(ctx, len(back)); err != nil {
		return err
	}
	again, err := resources.Redrive(ctx, queue, group, om.Redrive{})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d sent, %d dead, %d redriven, %d booked, %d left\n", invoices, len(dead), len(back), books.booked.Load(), len(again))
	return nil
}

func send(ctx context.Context, ap om.AccessPoint) error {
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	for i := range invoices {
		total := strconv.Itoa(100 + i)
		if i%5 == 4 {
			total += " EUR"
		}
		if _, err := producer.Send(ctx, om.NewMessage(queue, []byte(total))); err != nil {
			return err
		}
	}
	return producer.Close(ctx)
}

// list lists the dead letters without moving them, when there are so many. The
// last one may be on its way yet.
func list(ctx context.Context, r om.Resources, n int) ([]om.Redriven, error) {
	for {
		dead, err := r.Redrive(ctx, queue, group, om.Redrive{DryRun: true})
		if err != nil || len(dead) == n {
			return dead, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// accounting books invoices.
type accounting struct {
	corrected atomic.Bool
	booked    atomic.Int64
	counts    chan struct{} // one for each invoice that was looked at
}

func (a *accounting) book(_ context.Context, d *om.Delivery) error {
	defer func() { a.counts <- struct{}{} }()
	text := string(d.Body)
	if a.corrected.Load() {
		text = text[:3] // the unit may follow
	}
	if _, err := strconv.Atoi(text); err != nil {
		return errors.New("this is no number")
	}
	a.booked.Add(1)
	return nil
}

// wait waits until so many more invoices were looked at.
func (a *accounting) wait(ctx context.Context, n int) error {
	for range n {
		select {
		case <-a.counts:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
