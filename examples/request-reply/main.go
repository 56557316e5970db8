// Request-reply has a service that answers questions about a week of earthquakes,
// and a client that asks many of them at once: which was the strongest quake of a
// network? Not all can be answered.
//
//	go run ./examples/request-reply [-url 'oms:oms://127.0.0.1:7650/default']
//
// It needs a system with the capability request-reply; without -url it uses a
// broker in memory.
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
	"slices"
	"sync"
	"time"

	"github.com/openmessaging/openmessaging-go/examples/quickstart/earthquakes"
	_ "github.com/openmessaging/openmessaging-go/impl/badger"
	_ "github.com/openmessaging/openmessaging-go/impl/remote"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const (
	queue = "strongest-quake"
	// unsure is the network that the service thinks about for too long.
	unsure = "us"
	// patience is how long the client waits for a reply.
	patience = 2 * time.Second
)

func main() {
	url := flag.String("url", "oms:badger://local/default?memory=true", "access-point URL")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "request-reply:", err)
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
	events, err := earthquakes.Events()
	if err != nil {
		return err
	}
	end, err := serve(ctx, ap, events)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, end()) }()
	return ask(ctx, ap, append(networks(events), "atlantis"), w)
}

// networks are the names of those who measure.
func networks(events []earthquakes.Event) (names []string) {
	for _, e := range events {
		names = append(names, e.Net)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// serve answers: the body of a question is the name of a network.
func serve(ctx context.Context, ap om.AccessPoint, events []earthquakes.Event) (end func() error, err error) {
	strongest := make(map[string]earthquakes.Event)
	for _, e := range events {
		if best, ok := strongest[e.Net]; !ok || e.Mag > best.Mag {
			strongest[e.Net] = e
		}
	}
	replies, err := ap.NewProducer(ctx)
	if err != nil {
		return nil, err
	}
	service, err := ap.NewPushConsumer(ctx, om.WithGroup("service"), om.WithConcurrency(8))
	if err != nil {
		return nil, err
	}
	answer := func(ctx context.Context, question *om.Delivery) ([]byte, error) {
		net := string(question.Body)
		if net == unsure {
			select {
			case <-time.After(2 * patience):
			case <-ctx.Done():
			}
		}
		e, ok := strongest[net]
		if !ok {
			return nil, om.NewError(om.CodeBadParameter, "", "", "no network is named %q", net)
		}
		return fmt.Appendf(nil, "%.1f, %s", e.Mag, e.Place), nil
	}
	return func() error { return service.Close(context.Background()) }, service.Bind(ctx, oms.Answer(replies, answer), queue)
}

// ask asks about all networks at once and prints what comes.
func ask(ctx context.Context, ap om.AccessPoint, nets []string, w io.Writer) error {
	var late, answers, refused, timeouts int
	lateReplies := make(chan *om.Message, len(nets))
	client, err := ap.NewProducer(ctx, om.WithOnLateReply(func(m *om.Message) { lateReplies <- m }))
	if err != nil {
		return err
	}
	lines, errs := make([]string, len(nets)), make([]error, len(nets))
	var all sync.WaitGroup
	for i, net := range nets {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			reply, err := client.Request(ctx, om.NewMessage(queue, []byte(net)))
			if errs[i] = err; err == nil {
				lines[i] = string(reply.Body)
			}
		})
	}
	all.Wait()
	for i, net := range nets {
		switch err := errs[i]; {
		case err == nil:
			answers++
			fmt.Fprintf(w, "%-8s %s\n", net, lines[i])
		case errors.Is(err, om.ErrTimeout):
			timeouts++
			fmt.Fprintf(w, "%-8s no reply within %v\n", net, patience)
		case errors.Is(err, om.CodeBadParameter):
			refused++
			fmt.Fprintf(w, "%-8s %v\n", net, err)
		default:
			return err
		}
	}
	for range timeouts { // what comes too late is nobody's reply
		select {
		case <-lateReplies:
			late++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fmt.Fprintf(w, "%d questions, %d answers, %d refused, %d timeouts, %d late replies\n", len(nets), answers, refused, timeouts, late)
	return nil
}
