package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// Example consumes a message, changes the database and sends another message,
// all of it once: id, change and message are one transaction.
func Example() {
	if err := joined(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// invoice for 2 kettles
	// stock: 8
}

func joined(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "stock.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate") // or any other
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE stock (article TEXT, pieces INTEGER); INSERT INTO stock VALUES ('kettle', 10)"); err != nil {
		return err
	}
	if err := inbox.Migrate(ctx, db, inbox.Options{}); err != nil {
		return err
	}
	if err := outbox.Migrate(ctx, db, outbox.Options{}); err != nil {
		return err
	}
	ib, err := inbox.New(ctx, db, inbox.Options{Group: "store"})
	if err != nil {
		return err
	}
	ob, err := outbox.New(ctx, db, outbox.Options{})
	if err != nil {
		return err
	}

	ap, err := oms.Open(ctx, "oms:badger://local/example?memory=true") // or any other
	if err != nil {
		return err
	}
	defer ap.Close(ctx)
	for _, queue := range []string{"orders", "invoices"} {
		if err := ap.Resources().CreateQueue(ctx, om.QueueConfig{Name: queue}); err != nil {
			return err
		}
	}
	producer, err := ap.NewProducer(ctx)
	if err != nil {
		return err
	}
	relay, err := outbox.NewRelay(ob, producer, outbox.RelayOptions{})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	gone := make(chan error, 1)
	go func() { gone <- relay.Run(running) }()

	consumer, err := ap.NewPushConsumer(ctx, om.WithGroup("store"), om.WithManualAck())
	if err != nil {
		return err
	}
	ship := func(ctx context.Context, d *om.Delivery) error {
		defer relay.Wake()
		return ib.Process(ctx, d, func(ctx context.Context, tx *sql.Tx) error {
			pieces := d.Properties.GetInt64("pieces", 0)
			if _, err := tx.ExecContext(ctx, "UPDATE stock SET pieces = pieces - ? WHERE article = ?", pieces, string(d.Body)); err != nil {
				return err
			}
			return ob.Write(ctx, tx, om.NewMessage("invoices", fmt.Appendf(nil, "invoice for %d %ss", pieces, d.Body)))
		})
	}
	if err := consumer.Bind(ctx, ship, "orders"); err != nil {
		return err
	}

	// The order comes twice, as it does when a sender does not know whether the
	// first one arrived.
	for range 2 {
		order := om.NewMessage("orders", []byte("kettle"))
		order.Properties["pieces"] = om.Integer(2)
		order.Properties[om.PropertyDeduplicationID] = om.String("order 1")
		if _, err := producer.Send(ctx, order); err != nil {
			return err
		}
	}
	invoices, err := ap.NewPullConsumer(ctx)
	if err != nil {
		return err
	}
	if err := invoices.Bind(ctx, "invoices"); err != nil {
		return err
	}
	d, err := invoices.Receive(ctx)
	if err != nil {
		return err
	}
	fmt.Println(string(d.Body))
	if err := consumer.Close(ctx); err != nil {
		return err
	}
	var pieces int
	if err := db.QueryRowContext(ctx, "SELECT pieces FROM stock").Scan(&pieces); err != nil {
		return err
	}
	fmt.Println("stock:", pieces)
	stop()
	return <-gone
}
