package inbox_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
)

// BenchmarkProcess handles messages that insert one row each, with and without
// the inbox in turn, and says how many a second, and how much longer it takes
// with it. The databases sync their commits; acknowledging costs nothing here.
//
//	go test ./openmessaging/oms/inbox -run '^$' -bench . -benchtime 2000x
func BenchmarkProcess(b *testing.B) {
	for _, kind := range sqlserver.Kinds {
		b.Run(kind, func(b *testing.B) {
			s := newSource(b, kind)
			if kind == "SQLite" { // that of tests does not sync
				s.dsn = sqlserver.SQLite(b.TempDir() + "/bench.db")
			}
			db := s.open(b)
			ib := prepared(b, db, inbox.Options{})
			handle := effect("x")
			plain := func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				if err := handle(ctx, tx); err != nil {
					return err
				}
				return tx.Commit()
			}
			var settle settled
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var without, with time.Duration
			for i := range b.N {
				began := time.Now()
				ok(b, plain(ctx))
				middle := time.Now()
				ok(b, ib.Process(ctx, settle.delivery(strconv.Itoa(i)), handle))
				without, with = without+middle.Sub(began), with+time.Since(middle)
			}
			b.ReportMetric(float64(b.N)/with.Seconds(), "processed/s")
			b.ReportMetric(with.Seconds()/without.Seconds(), "times-plain")
		})
	}
}
