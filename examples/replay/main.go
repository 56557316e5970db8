// Replay reads a feed of earthquakes as a stream, as often as it likes and without
// a consumer group: from an instant on, from the end backward, and from where it
// stood before a restart.
//
//	go run ./examples/replay [-path DIR]
//
// The place where it stands is kept as text, as any program could keep it in a
// file or a table.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/openmessaging/openmessaging-go/examples/quickstart/earthquakes"
	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const (
	queue   = "earthquakes"
	strong  = 6.0
	waiting = 30 * time.Second // for messages that must be there
)

func main() {
	path := flag.String("path", "", "folder of the broker's data and of the position; default: a temporary one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *path, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path string, w io.Writer) error {
	if path == "" {
		dir, err := os.MkdirTemp("", "oms-replay-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = dir
	}
	events, err := earthquakes.Events()
	if err != nil {
		return err
	}
	half := len(events) / 2
	r := &replay{data: filepath.Join(path, "data"), mark: filepath.Join(path, "position"), out: w}
	if err := r.life(ctx, func(ctx context.Context) error { return r.first(ctx, events, half) }); err != nil {
		return err
	}
	if err := r.life(ctx, func(ctx context.Context) error { return r.second(ctx, len(events)-half) }); err != nil {
		return err
	}
	for i, e := range events {
		if r.read[i] != e.ID {
			return fmt.Errorf("event %d is %s, and %s was read", i, e.ID, r.read[i])
		}
	}
	fmt.Fprintf(w, "\n%d events, each read once and in order over a restart at %s; %d from an instant on; %d backward\n", len(r.read), r.position, r.later, r.back)
	return nil
}

// replay is what is known of the stream.
type replay struct {
	data, mark string // folder of the broker, file of the position
	out        io.Writer

	ap          om.AccessPoint
	stream      om.StreamConsumer
	position    om.Position
	read        []string // ids, over all lives
	later, back int
}

// life opens the broker, does something and closes it: what is left is on disk.
func (r *replay) life(ctx context.Context, do func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, waiting)
	defer cancel()
	if r.ap, err = oms.Open(ctx, badger.URL(r.data)); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, r.ap.Close(context.Background())) }()
	if r.stream, err = r.ap.NewStreamConsumer(ctx); err != nil {
		return err
	}
	return do(ctx)
}

// first publishes the feed in two halves, reads up to the middle, and writes down
// where it stands.
func (r *replay) first(ctx context.Context, events []earthquakes.Event, half int) error {
	if err := r.ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue}); err != nil {
		return err
	}
	if err := r.publish(ctx, events[:half]); err != nil {
		return err
	}
	time.Sleep(2 * time.Millisecond) // times of storing have milliseconds
	between := time.Now()
	if err := r.publish(ctx, events[half:]); err != nil {
		return err
	}
	if err := r.forward(ctx, om.Begin(), half); err != nil {
		return err
	}
	text, err := r.position.MarshalText()
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%d events read; the place is kept as %q\n", half, text)
	if err := os.WriteFile(r.mark, text, 0o600); err != nil {
		return err
	}
	return r.since(ctx, between, len(events)-half)
}

// second goes on where the first life stopped, and looks back from the end.
func (r *replay) second(ctx context.Context, left int) error {
	text, err := os.ReadFile(r.mark)
	if err != nil {
		return err
	}
	var p om.Position
	if err := p.UnmarshalText(text); err != nil {
		return err
	}
	if err := r.forward(ctx, p, left); err != nil {
		return err
	}
	r.position = p
	return r.backward(ctx)
}

func (r *replay) publish(ctx context.Context, events []earthquakes.Event) (err error) {
	producer, err := r.ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, producer.Close(context.Background())) }()
	ms := make([]*om.Message, len(events))
	for i, e := range events {
		ms[i] = e.Message(queue)
	}
	_, err = producer.SendBatch(ctx, ms)
	return err
}

// forward reads n events from a position on.
func (r *replay) forward(ctx context.Context, from om.Position, n int) error {
	cursor, err := r.stream.Open(ctx, queue, 0, from)
	if err != nil {
		return err
	}
	for d, err := range cursor.Forward(ctx) {
		if err != nil {
			return err
		}
		r.read = append(r.read, d.Properties.GetString("id", ""))
		if n--; n == 0 {
			break
		}
	}
	r.position = cursor.Position()
	return nil
}

// since counts what was stored from an instant on.
func (r *replay) since(ctx context.Context, at time.Time, n int) error {
	cursor, err := r.stream.Open(ctx, queue, 0, om.AtTime(at))
	if err != nil {
		return err
	}
	for _, err := range cursor.Forward(ctx) {
		if err != nil {
			return err
		}
		if r.later++; r.later == n {
			break
		}
	}
	fmt.Fprintf(r.out, "%d events were stored after half of them were\n", r.later)
	return nil
}

// backward goes through all events from the newest to the oldest, and shows the
// strong ones.
func (r *replay) backward(ctx context.Context) error {
	cursor, err := r.stream.Open(ctx, queue, 0, om.End())
	if err != nil {
		return err
	}
	for d, err := range cursor.Backward(ctx) {
		if err != nil {
			return err
		}
		r.back++
		if mag := d.Properties.GetFloat64("mag", 0); mag >= strong {
			fmt.Fprintf(r.out, "%6d  %.1f  %s\n", d.Offset, mag, d.Properties.GetString("place", ""))
		}
	}
	return nil
}
