package main

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// order is what is booked and what a message tells.
type order struct {
	customer string
	cents    int64
}

// compare reads the books and the messages and prints whether they agree.
func compare(ctx context.Context, w io.Writer, dir string) (err error) {
	db, ap, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, shut(db, ap)) }()
	books, err := booked(ctx, db)
	if err != nil {
		return err
	}
	told, repeated, err := messages(ctx, ap)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\torders\tcents\t\nbooks\t%d\t%d\t\nmessages\t%d\t%d\t\n", len(books), sum(books), len(told), sum(told))
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d messages came twice and were known by their deduplication id\n", repeated)
	for id, o := range books {
		if told[id] != o {
			return fmt.Errorf("order %d is booked as %+v, and its message says %+v", id, o, told[id])
		}
	}
	if len(told) != len(books) {
		return fmt.Errorf("%d orders are booked and %d messages tell of orders", len(books), len(told))
	}
	fmt.Fprintln(w, "books and messages agree")
	return nil
}

func sum(orders map[int64]order) (cents int64) {
	for _, o := range orders {
		cents += o.cents
	}
	return cents
}

func booked(ctx context.Context, db *sql.DB) (map[int64]order, error) {
	rows, err := db.QueryContext(ctx, "SELECT id, customer, cents FROM orders")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int64]order{}
	for rows.Next() {
		var id int64
		var o order
		if err := rows.Scan(&id, &o.customer, &o.cents); err != nil {
			return nil, err
		}
		all[id] = o
	}
	return all, rows.Err()
}

// messages consumes everything. Orders of one customer must come in the order
// in which they were booked.
func messages(ctx context.Context, ap om.AccessPoint) (told map[int64]order, repeated int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	consumer, err := ap.NewPullConsumer(ctx, om.WithGroup("audit"))
	if err != nil {
		return nil, 0, err
	}
	if err := consumer.Bind(ctx, queue); err != nil {
		return nil, 0, err
	}
	partitions, err := ap.Resources().Partitions(ctx, queue)
	if err != nil {
		return nil, 0, err
	}
	stored := int64(0)
	for _, p := range partitions {
		stored += p.Messages
	}
	told = map[int64]order{}
	seen, last := map[string]bool{}, map[string]int64{}
	for got := int64(0); got < stored; {
		ds, err := consumer.ReceiveBatch(ctx, 1000)
		if err == nil {
			err = consumer.Ack(ctx, ds...)
		}
		if err != nil {
			return nil, 0, err
		}
		got += int64(len(ds))
		for _, d := range ds {
			if seen[om.DeduplicationID(d.Message)] {
				repeated++
				continue
			}
			seen[om.DeduplicationID(d.Message)] = true
			id, customer := d.Properties.GetInt64("order", 0), d.Ext.MessageKey
			if _, twice := told[id]; twice || id < last[customer] {
				return nil, 0, fmt.Errorf("order %d of %s came twice or after order %d", id, customer, last[customer])
			}
			told[id], last[customer] = order{customer, d.Properties.GetInt64("cents", 0)}, id
		}
	}
	return told, repeated, nil
}
