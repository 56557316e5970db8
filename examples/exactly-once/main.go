// Exactly-once is a consumer that books payments on accounts in a SQL database.
// It is killed at random while it works and started again, and some payments are
// sent twice; at the end each has been booked once.
//
//	go run ./examples/exactly-once [-payments 2000] [-kills 12]
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

	_ "modernc.org/sqlite"

	"github.com/openmessaging/openmessaging-go/examples/internal/crash"
	"github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
)

const (
	queue = "payments"
	group = "bank"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	payments := flag.Int("payments", 2000, "how many payments are sent")
	kills := flag.Int("kills", 12, "how often the consumer is killed at most")
	flag.Parse()
	var err error
	if dir := os.Getenv(crash.Worker); dir != "" {
		err = consume(ctx, dir, os.Stdout)
	} else {
		err = run(ctx, os.Stdout, *payments, *kills)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "exactly-once:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, payments, kills int) error {
	dir, err := os.MkdirTemp("", "oms-exactly-once-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	repeated, err := publish(ctx, dir, payments)
	if err != nil {
		return err
	}
	passedOver := 0
	killed, err := crash.Run(ctx, dir, kills, func(string) { passedOver++ })
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d payments were sent, %d of them twice\n", payments, repeated)
	fmt.Fprintf(w, "the consumer was killed %d times, and passed %d deliveries over that it had booked\n\n", killed, passedOver)
	return compare(ctx, w, dir, payments)
}

// open opens the database and the broker of a folder.
func open(ctx context.Context, dir string) (*sql.DB, om.AccessPoint, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bank.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
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

// payment returns account and cents of a payment.
func payment(i int) (account, cents int) { return i * 7919 % 50, i * 7907 % 10000 }

// publish prepares the database and sends the payments, each tenth twice. It
// returns how many that were.
func publish(ctx context.Context, dir string, payments int) (repeated int, err error) {
	db, ap, err := open(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, shut(db, ap)) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL); CREATE TABLE bookings (payment INTEGER NOT NULL)"); err != nil {
		return 0, err
	}
	if err := inbox.Migrate(ctx, db, inbox.Options{}); err != nil {
		return 0, err
	}
	if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue, Partitions: 4}); err != nil {
		return 0, err
	}
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return 0, err
	}
	batch := oms.NewBatch(producer)
	for i := range payments {
		account, cents := payment(i)
		m := om.NewMessage(queue, nil)
		m.Properties = om.Properties{
			"payment": om.Integer(int32(i)), "account": om.Integer(int32(account)), "cents": om.Integer(int32(cents)),
			om.PropertyDeduplicationID: om.String(fmt.Sprint("payment ", i)),
		}
		batch.Add(m)
		if i%10 == 0 { // as by a sender that did not get the answer
			batch.Add(m.Clone())
			repeated++
		}
	}
	_, err = batch.Flush(ctx)
	return repeated, err
}

// consume books payments until none is left. It prints a line for each delivery
// that was booked before.
func consume(ctx context.Context, dir string, w io.Writer) (err error) {
	db, ap, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, shut(db, ap)) }()
	ib, err := inbox.New(ctx, db, inbox.Options{Group: group})
	if err != nil {
		return err
	}
	consumer, err := ap.NewPullConsumer(ctx, om.WithGroup(group))
	if err != nil {
		return err
	}
	if err := consumer.Bind(ctx, queue); err != nil {
		return err
	}
	for {
		groups, err := ap.Resources().Groups(ctx, queue)
		if err != nil {
			return err
		}
		if len(groups) == 1 && groups[0].Lag == 0 {
			return nil
		}
		ds, err := consumer.ReceiveBatch(ctx, 100)
		if err != nil {
			return err
		}
		for _, d := range ds {
			booked := true
			err := ib.Process(ctx, d, func(ctx context.Context, tx *sql.Tx) error {
				booked = false
				return book(ctx, tx, d.Properties)
			})
			if err != nil {
				return err
			}
			if booked {
				fmt.Fprintln(w, d.Properties.GetInt64("payment", -1))
			}
		}
	}
}

// book is the effect of a payment. Done twice it would be wrong.
func book(ctx context.Context, tx *sql.Tx, p om.Properties) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO accounts (id, cents) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET cents = cents + excluded.cents",
		p.GetInt64("account", 0), p.GetInt64("cents", 0))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO bookings (payment) VALUES (?)", p.GetInt64("payment", 0))
	return err
}

// compare prints what was sent beside what is booked.
func compare(ctx context.Context, w io.Writer, dir string, payments int) (err error) {
	db, ap, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, shut(db, ap)) }()
	sent := 0
	for i := range payments {
		_, cents := payment(i)
		sent += cents
	}
	var bookings, once, balance int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*), COUNT(DISTINCT payment), (SELECT COALESCE(SUM(cents), 0) FROM accounts) FROM bookings").Scan(&bookings, &once, &balance); err != nil {
		return err
	}
	fmt.Fprintf(w, "sent    %d cents\nbooked  %d cents\n\n%d payments: %d lost, %d booked twice\n", sent, balance, payments, payments-once, bookings-once)
	if sent != balance || bookings != payments || once != payments {
		return errors.New("the bookings are wrong")
	}
	return nil
}
