// Package pgnotify wakes relays of an outbox in PostgreSQL when another process
// writes to it, by LISTEN and NOTIFY. The database must be open with the driver
// "pgx" of github.com/jackc/pgx/v5/stdlib, and the writers have
// outbox.Options.Notify.
//
//	go pgnotify.Listen(ctx, db, relay.Wake)
//
// Without it a relay finds the messages of other processes at its next poll.
package pgnotify

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

// The pauses between attempts to listen again: from the first to the last,
// doubled each time.
const (
	minPause = 100 * time.Millisecond
	maxPause = 10 * time.Second
)

// Listen calls wake once when it listens, and then for each notification, until
// ctx ends; it returns nil then. It takes one connection out of db's pool for
// that time. A connection that is lost is replaced, and the loss logged by
// slog.Default: the relay polls meanwhile. wake is called by one goroutine and
// must not block; outbox.Relay.Wake is made for it. Error: 1418 for a database
// of another driver.
func Listen(ctx context.Context, db *sql.DB, wake func()) error {
	if _, is := db.Driver().(*stdlib.Driver); !is {
		return om.NewError(om.CodeBadParameter, "listen", outbox.Channel, "the database must be open with the driver of pgx/v5/stdlib, and is with %T", db.Driver())
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		began := time.Now()
		err := listen(ctx, db, wake)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		slog.Warn("notifications of the outbox are not heard; trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// listen listens on one connection, which is closed at the end: it must not go
// back into the pool while it listens.
func listen(ctx context.Context, db *sql.DB, wake func()) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Raw(func(d any) error {
		wrapped, is := d.(*stdlib.Conn)
		if !is {
			return fmt.Errorf("a connection of the type %T", d)
		}
		conn := wrapped.Conn()
		defer conn.Close(context.WithoutCancel(ctx))
		if _, err := conn.Exec(ctx, "LISTEN "+outbox.Channel); err != nil {
			return err
		}
		wake()
		for {
			if _, err := conn.WaitForNotification(ctx); err != nil {
				return err
			}
			wake()
		}
	})
}
