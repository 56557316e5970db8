package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	embedded "github.com/openmessaging/openmessaging-go/impl/broker"
	_ "github.com/openmessaging/openmessaging-go/impl/nats"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

// TestEveryDriver: a batch that is published twice, because its relay lost the
// lease between, is there once where the queue deduplicates and twice elsewhere;
// a consumer with an inbox sees each message once, in order.
func TestEveryDriver(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{
		"badger": func(*testing.T) string { return "oms:badger://local/outbox?memory=true" },
		"remote": serve,
		"nats": func(t *testing.T) string {
			s, err := natsserver.Start(t.TempDir(), nil)
			ok(t, err)
			t.Cleanup(func() { natsserver.Stop(s) })
			return "oms:nats://" + natsserver.Address(s) + "/default?sync=always"
		},
		"memory": func(*testing.T) string {
			registerMemory()
			return "oms:memory://local/default"
		},
	} {
		t.Run(name, func(t *testing.T) { publishTwice(t, url(t)) })
	}
}

var registerMemory = sync.OnceFunc(func() { spi.Register(memory.New().Driver("memory")) })

// serve returns the URL of a server with a broker in memory.
func serve(t *testing.T) string {
	b, err := embedded.Open(embedded.Config{Store: store.Options{Memory: true}, Logger: quiet})
	ok(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	s := server.New(server.Options{Broker: b, Logger: quiet})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		ok(t, <-served)
		ok(t, b.Close())
	})
	return remote.URL(l.Addr().String())
}

func publishTwice(t *testing.T, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ap, err := oms.Open(ctx, url)
	ok(t, err)
	defer func() { ok(t, ap.Close(context.WithoutCancel(ctx))) }()
	once := om.QueueConfig{Name: "q"}
	if ap.Capabilities().Has(om.CapDeduplication) {
		once.Deduplication.Window = time.Hour
	}
	ok(t, ap.Resources().CreateQueue(ctx, once))
	db := newSource(t, "SQLite").open(t)
	ob := prepared(t, db, outbox.Options{})
	ok(t, inbox.Migrate(ctx, db, inbox.Options{}))
	const count = 30
	var want []string
	for i := range count {
		want = append(want, fmt.Sprint(i))
		write(t, db, ob, msg("q", "", want[i]))
	}
	p, err := ap.NewProducer(ctx)
	ok(t, err)
	sends, done := 0, make(chan struct{})
	stop := run(t, relay(t, ob, sendFunc(func(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
		results, err := p.SendBatch(ctx, ms)
		if sends++; sends == 1 {
			execute(t, db, "UPDATE oms_outbox_relay SET fence = fence + 1, expires_at = 0")
		} else if sends == 2 {
			close(done)
		}
		return results, err
	}), outbox.RelayOptions{Lease: 100 * time.Millisecond}))
	<-done
	stop()
	ps, err := ap.Resources().Partitions(ctx, "q")
	ok(t, err)
	stored := ps[0].End - ps[0].Begin
	equal(t, "messages that are stored", stored, map[bool]int64{true: count, false: 2 * count}[once.Deduplication.Window > 0])
	ib, err := inbox.New(ctx, db, inbox.Options{})
	ok(t, err)
	c, err := ap.NewPullConsumer(ctx, om.WithGroup("g"))
	ok(t, err)
	ok(t, c.Bind(ctx, "q"))
	var got []string
	for range stored {
		d, err := c.Receive(ctx)
		ok(t, err)
		ok(t, ib.Process(ctx, d, func(context.Context, *sql.Tx) error {
			got = append(got, string(d.Body))
			return nil
		}))
	}
	equal(t, "effects", fmt.Sprint(got), fmt.Sprint(want))
}
