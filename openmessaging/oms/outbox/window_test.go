package outbox_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// TestHourBetweenPublishAndMark: what is published, and published again by
// another process an hour later, is there once in a queue that deduplicates for
// longer than that, and twice with the same id in another.
func TestHourBetweenPublishAndMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newSource(t, "SQLite").open(t)
		ob := prepared(t, db, outbox.Options{})
		ap, err := oms.Open(t.Context(), badger.URL(t.TempDir()))
		ok(t, err)
		defer func() { ok(t, ap.Close(context.Background())) }()
		ok(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "once", Deduplication: om.Deduplication{Window: 2 * time.Hour}}))
		ok(t, ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "plain"}))
		write(t, db, ob, msg("once", "k", "1"), msg("plain", "k", "1"), msg("once", "k", "2"))

		published := make(chan []om.SendResult, 2)
		var down atomic.Bool
		relayOf := func() *outbox.Relay {
			p, err := ap.NewProducer(t.Context())
			ok(t, err)
			return relay(t, ob, sendFunc(func(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
				results, err := p.SendBatch(ctx, ms)
				published <- results
				if down.CompareAndSwap(false, true) { // it is not heard of again before another one works
					execute(t, db, "UPDATE oms_outbox_relay SET fence = fence + 1, expires_at = 0")
					time.Sleep(time.Hour)
				}
				return results, err
			}), outbox.RelayOptions{})
		}
		run(t, relayOf())
		first := <-published
		time.Sleep(59 * time.Minute)
		stop := run(t, relayOf())
		second := <-published
		stop()
		for i, queue := range []string{"once", "plain", "once"} {
			if first[i].Duplicate || second[i].Duplicate != (queue == "once") {
				t.Errorf("%s: %+v, an hour later %+v", queue, first[i], second[i])
			}
		}
		for queue, want := range map[string]int64{"once": 2, "plain": 2} {
			ps, err := ap.Resources().Partitions(t.Context(), queue)
			ok(t, err)
			equal(t, "messages in "+queue, ps[0].End, want)
		}
	})
}

type sendFunc func(ctx context.Context, ms []*om.Message) ([]om.SendResult, error)

func (f sendFunc) SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
	return f(ctx, ms)
}
