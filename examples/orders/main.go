// Orders is a service that books orders in a SQL database and tells of each in
// a message, both or neither. It is killed at random while it works and started
// again; at the end the books are compared with the messages.
//
//	go run ./examples/orders [-orders 2000] [-kills 12]
//
// The database is SQLite and the broker the embedded one, in a temporary folder.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite"

	"github.com/openmessaging/openmessaging-go/examples/internal/crash"
	"github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

const queue = "orders"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	orders := flag.Int("orders", 2000, "how many orders are booked")
	kills := flag.Int("kills", 12, "how often the service is killed at most")
	flag.Parse()
	var err error
	if dir := os.Getenv(crash.Worker); dir != "" {
		err = serve(ctx, dir)
	} else {
		err = run(ctx, os.Stdout, *orders, *kills)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, orders, kills int) error {
	dir, err := os.MkdirTemp("", "oms-orders-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(ctx, dir, orders); err != nil {
		return err
	}
	killed, err := crash.Run(ctx, dir, kills, func(line string) { fmt.Fprintln(w, line) })
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "the service was killed %d times while it booked %d orders\n\n", killed, orders)
	return compare(ctx, w, dir)
}

// open opens the database and the broker of a folder.
func open(ctx context.Context, dir string) (*sql.DB, om.AccessPoint, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "orders.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, nil, err
	}
	ap, err := oms.Open(ctx, badger.URL(filepath.Join(dir, "broker")))
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, ap, nil
}

func shut(db *sql.DB, ap om.AccessPoint) error {
	return errors.Join(ap.Close(context.Background()), db.Close())
}

// prepare makes tables and queue, and says how many orders there will be.
func prepare(ctx context.Context, dir string, orders int) (err error) {
	db, ap, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, shut(db, ap)) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, cents INTEGER NOT NULL); CREATE TABLE plan (orders INTEGER)"); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO plan VALUES (?)", orders); err != nil {
		return err
	}
	if err := outbox.Migrate(ctx, db, outbox.Options{}); err != nil {
		return err
	}
	return ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue, Partitions: 4})
}

// serve is the service: it goes on where the one before it was killed, and ends
// when all is booked and published.
func serve(ctx context.Context, dir string) (err error) {
	db, ap, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, shut(db, ap)) }()
	ob, err := outbox.New(ctx, db, outbox.Options{})
	if err != nil {
		return err
	}
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	// A short lease, because this service is killed so often.
	relay, err := outbox.NewRelay(ob, producer, outbox.RelayOptions{Lease: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	gone := make(chan error, 1)
	go func() { gone <- relay.Run(running) }()
	for {
		more, err := book(ctx, db, ob)
		if err != nil {
			return err
		}
		relay.Wake()
		if !more {
			break
		}
	}
	for {
		s, err := ob.Stats(ctx)
		if err != nil {
			return err
		}
		if s.Waiting == 0 {
			stop()
			return <-gone
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// book books the next order and writes its message, in one transaction. It
// reports whether there are more.
func book(ctx context.Context, db *sql.DB, ob *outbox.Outbox) (more bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	var id, planned int64
	if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) + 1, (SELECT orders FROM plan) FROM orders").Scan(&id, &planned); err != nil {
		return false, err
	}
	if id > planned {
		return false, nil
	}
	customer, cents := fmt.Sprintf("customer %d", id*7919%50), id*7907%10000
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id, customer, cents) VALUES (?, ?, ?)", id, customer, cents); err != nil {
		return false, err
	}
	m := om.NewMessage(queue, nil)
	m.Ext.MessageKey = customer
	m.Properties = om.Properties{"order": om.Long(id), "cents": om.Long(cents)}
	if err := ob.Write(ctx, tx, m); err != nil {
		return false, err
	}
	return true, tx.Commit()
}
