// Delay reminds customers of what they have not paid: for each order a message
// is sent that is due later, and who pays has it cancelled.
//
//	go run ./examples/delay [-url 'oms:oms://127.0.0.1:7650/default']
//
// It needs a system with the capabilities delay and cancel-delay; without -url it
// uses a broker in memory.
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
	"time"

	_ "github.com/openmessaging/openmessaging-go/impl/badger"
	_ "github.com/openmessaging/openmessaging-go/impl/remote"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const (
	queue  = "reminders"
	orders = 10
	first  = time.Second            // after which the first order is reminded of
	step   = 200 * time.Millisecond // and each of the others later
)

func main() {
	url := flag.String("url", "oms:badger://local/default?memory=true", "access-point URL")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "delay:", err)
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
	if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue}); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, ap.Resources().DeleteQueue(context.Background(), queue)) }()
	consumer, err := ap.NewPullConsumer(ctx, om.WithGroup("mail"))
	if err != nil {
		return err
	}
	if err := consumer.Bind(ctx, queue); err != nil {
		return err
	}

	ids, err := order(ctx, ap)
	if err != nil {
		return err
	}
	paid := 0
	for i := range ids {
		if i%3 == 1 {
			if err := ap.Resources().CancelDelayed(ctx, queue, ids[i]); err != nil {
				return err
			}
			fmt.Fprintf(w, "order %d is paid\n", i)
			paid++
		}
	}
	early := 0
	for range orders - paid {
		d, err := consumer.Receive(ctx)
		if err != nil {
			return err
		}
		late := time.Since(d.BornAt.Add(d.Ext.Delay))
		if late < 0 {
			early++
		}
		fmt.Fprintf(w, "%s, %v after it was due\n", d.Body, late.Round(time.Millisecond))
		if err := consumer.Ack(ctx, d); err != nil {
			return err
		}
	}
	// What is due already cannot be cancelled.
	if err := ap.Resources().CancelDelayed(ctx, queue, ids[0]); !errors.Is(err, om.CodeMessageNotFound) {
		return fmt.Errorf("cancelling what was delivered: %w", err)
	}
	fmt.Fprintf(w, "\n%d reminded, %d cancelled, %d early\n", orders-paid, paid, early)
	return nil
}

// order sends the reminders and returns their ids.
func order(ctx context.Context, ap om.AccessPoint) (ids []string, err error) {
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return nil, err
	}
	for i := range orders {
		m := om.NewMessage(queue, fmt.Appendf(nil, "remind of order %d", i))
		m.Ext.Delay = first + time.Duration(i)*step
		sent, err := producer.Send(ctx, m)
		if err != nil {
			return nil, err
		}
		ids = append(ids, sent.MessageID)
	}
	return ids, producer.Close(ctx)
}
