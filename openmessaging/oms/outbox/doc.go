// Package outbox publishes messages that agree with a SQL database, whatever
// crashes: a message is written into a table by the transaction it belongs to,
// and a relay publishes what is committed.
//
//	err := outbox.Migrate(ctx, db, outbox.Options{})
//	ob, err := outbox.New(ctx, db, outbox.Options{})
//
//	tx, err := db.BeginTx(ctx, nil)
//	_, err = tx.ExecContext(ctx, "INSERT INTO orders ...")
//	err = ob.Write(ctx, tx, om.NewMessage("orders", body))
//	err = tx.Commit()
//	relay.Wake()
//
// and beside it, in one process or in several:
//
//	relay, err := outbox.NewRelay(ob, producer, outbox.RelayOptions{})
//	err = relay.Run(ctx)
//
// It works with every driver of messages and with PostgreSQL, MySQL, MariaDB
// and SQLite, by whatever driver of database/sql the program imports. Package
// inbox is its counterpart for receiving.
//
// # What is once
//
// What is committed is published at least once. A relay that dies, or loses the
// database, between the broker's answer and the removal of the rows has its
// successor publish them again. Every message has an
// openmessaging.PropertyDeduplicationID that stays the same then: a queue with
// openmessaging.Deduplication whose window is longer than relays may be away
// stores it once, and consumers that use package inbox see each message once,
// with any vendor.
//
// # Order
//
// The relay publishes in the order of writing, one batch at a time. A driver
// keeps that order per queue and message key, and in a queue of one partition
// for messages without a key. Of two transactions that write at once the order
// is that of their statements, or of their commits when one is published before
// the other is committed. What is sent again, and what is retried after it was
// set aside, comes behind what went meanwhile.
//
// Of several relays one works: it holds a lease in the database, by the
// database's clock, with a number that grows with each holder. One that has
// lost the lease changes nothing in the database any more. A send of its that is
// on its way at that moment may still reach the broker, as a repetition.
package outbox
