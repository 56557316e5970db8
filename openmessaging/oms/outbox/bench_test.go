package outbox_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// BenchmarkRelay writes 20,000 messages of 128 bytes into an outbox, ten for
// each transaction, then publishes them through the embedded broker in memory,
// and says how many a second it wrote and published. The databases sync their
// commits.
//
//	go test ./openmessaging/oms/outbox -run '^$' -bench . -benchtime 3x
func BenchmarkRelay(b *testing.B) {
	for _, kind := range sqlserver.Kinds {
		b.Run(kind, func(b *testing.B) {
			s := newSource(b, kind)
			if kind == "SQLite" { // that of tests does not sync
				s.dsn = sqlserver.SQLite(b.TempDir() + "/bench.db")
			}
			db := s.open(b)
			ob := prepared(b, db, outbox.Options{})
			ap, err := oms.Open(b.Context(), "oms:badger://local/bench"+kind+"?memory=true")
			ok(b, err)
			b.Cleanup(func() { ok(b, ap.Close(context.Background())) })
			ok(b, ap.Resources().CreateQueue(b.Context(), om.QueueConfig{Name: "q", Partitions: 4}))
			producer, err := ap.NewProducer(b.Context())
			ok(b, err)
			const count, perTransaction = 20_000, 10
			var writing, publishing time.Duration
			for range b.N {
				began := time.Now()
				fill(b, db, ob, count, perTransaction)
				writing += time.Since(began)
				ctx, cancel := context.WithCancel(b.Context())
				c := &counter{BatchSender: producer, left: count, done: cancel}
				began = time.Now()
				ok(b, relay(b, ob, c, outbox.RelayOptions{}).Run(ctx))
				publishing += time.Since(began)
				equal(b, "left", stats(b, ob).Waiting, 0)
			}
			b.ReportMetric(float64(b.N)*count/writing.Seconds(), "written/s")
			b.ReportMetric(float64(b.N)*count/publishing.Seconds(), "published/s")
		})
	}
}

func fill(b *testing.B, db *sql.DB, ob *outbox.Outbox, count, perTransaction int) {
	body := string(make([]byte, 128))
	for range count / perTransaction {
		var ms []*om.Message
		for range perTransaction {
			ms = append(ms, msg("q", "key", body))
		}
		write(b, db, ob, ms...)
	}
}

// counter ends the relay when all messages are published.
type counter struct {
	outbox.BatchSender
	left int
	done func()
}

func (c *counter) SendBatch(ctx context.Context, ms []*om.Message) ([]om.SendResult, error) {
	results, err := c.BatchSender.SendBatch(ctx, ms)
	if c.left -= len(ms); err == nil && c.left == 0 {
		c.done()
	}
	return results, err
}
