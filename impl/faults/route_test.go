package faults_test

import (
	"context"
	"errors"
	"fmt"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Under load the messages of loadQueues[routed] are copied to another queue.
const (
	routed     = 1
	copies     = "copies"
	copyRoute  = "r"
	copyFilter = "$bornTimestamp > 0" // all match, so that they go the long way
)

// makeRoute makes the queue of copies and the route, where a child before has
// not made them.
func makeRoute(ctx context.Context, c spi.Conn) error {
	err := optional[spi.Admin](c).CreateQueue(ctx, om.QueueConfig{Name: copies, Partitions: 2})
	if err == nil || errors.Is(err, om.CodeDestinationExists) {
		err = optional[spi.Router](c).CreateRoute(ctx, om.RouteConfig{
			Name: copyRoute, Source: loadQueues[routed].Name, Target: copies, Filter: om.SQL(copyFilter),
		})
	}
	if errors.Is(err, om.CodeDestinationExists) {
		return nil
	}
	return err
}

// verifyRoute checks that every message of the source has come to the queue of
// copies, once, however often the process was killed between.
func (l *ledger) verifyRoute(ctx context.Context, c spi.Conn) error {
	routes, err := optional[spi.Router](c).Routes(ctx)
	if err != nil || len(routes) == 0 {
		return err // killed before the route was made
	}
	end := func(queue string) (n int64, err error) {
		infos, err := optional[spi.Describer](c).Partitions(ctx, queue)
		for _, p := range infos {
			n += p.End
		}
		return n, err
	}
	want, err := end(loadQueues[routed].Name)
	if err != nil {
		return err
	}
	for {
		got, err := end(copies)
		switch {
		case err != nil:
			return err
		case got > want:
			return fmt.Errorf("the route has made %d copies of %d messages", got, want)
		case got == want:
			return l.verifyCopies(ctx, c, want)
		}
		// The route copies on; each turn is a commit.
		if err := optional[spi.Pinger](c).Ping(ctx); err != nil {
			return fmt.Errorf("the route has copied %d of %d messages: %w", got, want, err)
		}
	}
}

func (l *ledger) verifyCopies(ctx context.Context, c spi.Conn, want int64) error {
	seen := make(map[tag]bool)
	for partition := range int32(2) {
		for next := int64(0); ; {
			ds, err := optional[spi.Streamer](c).ReadAt(ctx, copies, partition, next, 1000)
			if err != nil {
				return err
			}
			if len(ds) == 0 {
				break
			}
			for _, d := range ds {
				t, err := parseBody(d.Message.Body)
				if err != nil {
					return fmt.Errorf("copy at %d/%d: %w", partition, d.Offset, err)
				}
				if seen[t] || t.queue != routed {
					return fmt.Errorf("copy at %d/%d: %+v is there twice, or from elsewhere", partition, d.Offset, t)
				}
				seen[t] = true
				next = d.Offset + 1
			}
		}
	}
	if int64(len(seen)) != want {
		return fmt.Errorf("%d copies can be read, %d are there", len(seen), want)
	}
	l.copied = len(seen)
	return nil
}
