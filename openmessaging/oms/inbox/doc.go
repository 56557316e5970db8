// Package inbox makes the effect of a message on a SQL database happen once,
// whatever crashes: it stores the id of each message that was handled in the
// transaction that handles it.
//
//	err := inbox.Migrate(ctx, db, inbox.Options{})
//	ib, err := inbox.New(ctx, db, inbox.Options{Group: "billing"})
//	consumer, err := ap.NewPushConsumer(ctx, om.WithGroup("billing"), om.WithManualAck())
//	err = consumer.Bind(ctx, func(ctx context.Context, d *om.Delivery) error {
//		return ib.Process(ctx, d, func(ctx context.Context, tx *sql.Tx) error {
//			_, err := tx.ExecContext(ctx, "UPDATE accounts SET ...")
//			return err
//		})
//	}, "payments")
//
// It works with every driver of messages and with PostgreSQL, MySQL, MariaDB
// and SQLite, by whatever driver of database/sql the program imports. Package
// outbox is its counterpart for sending.
//
// # What is once
//
// Once is what handle changes by its transaction: a message takes effect in the
// database once for each group, however often it is delivered, by however many
// consumers at once, as long as its deliveries lie within the window
// (Options.Window, 7 days) of the first. After the window its id is removed,
// and it is new. Not once is what handle does elsewhere, such as a call over
// the network; write a message to an outbox in the same transaction instead.
//
// A message is known by its deduplication id, or where it has none by its
// message id. A sender that does not know whether a message was stored and
// sends it again by itself makes a new message id: give such messages an
// openmessaging.PropertyDeduplicationID, as package outbox does. A copy that a
// route makes has the properties of its original: give the consumers of the
// copies a group of their own where each copy is to count.
package inbox
