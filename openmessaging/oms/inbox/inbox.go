package inbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"
)

// DefaultWindow is for how long ids are kept where the options say nothing.
const DefaultWindow = 7 * 24 * time.Hour

// Options are the settings of an [Inbox]; zero values stand for the defaults
// that the fields name.
type Options struct {
	// Group is the consumer group that handles the messages. What one group
	// has handled is new to the others. UTF-8, at most 255 bytes. Default
	// "default".
	Group string
	// Window is for how long an id is kept at least, by the database's clock:
	// a repetition that comes later takes effect again. At least a second.
	// Default DefaultWindow.
	Window time.Duration
	// NackDelay is the pause before a delivery whose function failed comes
	// again; it needs CapNack. Default 0.
	NackDelay time.Duration
	// Dialect is what the database speaks: "postgresql", "mysql" (MariaDB too)
	// or "sqlite". Default: the database is asked.
	Dialect string
	// Logger is told when old ids could not be removed. Default slog.Default().
	Logger *slog.Logger
}

// Inbox remembers in a SQL database which messages were handled. Its methods
// may be called concurrently, and by many processes.
type Inbox struct {
	db     *sql.DB
	opts   Options
	insert string
	remove string
	calls  atomic.Uint64
}

// Migrate makes the inbox's tables, or brings them to the version of this
// program. It may be called at every start, by several processes at once. Of
// the options it looks at Dialect. Errors: 1418 for the dialect, 1501 for what
// the database answers and for tables of a newer program.
func Migrate(ctx context.Context, db *sql.DB, o Options) error {
	return schema.Migrate(ctx, db, o.Dialect)
}

// New returns an inbox in db, which [Migrate] has prepared. The database stays
// the caller's; the inbox needs no closing. Errors: 1418 for options out of
// range, 1501 for a database that is not prepared or does not answer.
func New(ctx context.Context, db *sql.DB, o Options) (*Inbox, error) {
	o.Group = cmp.Or(o.Group, "default")
	o.Window = cmp.Or(o.Window, DefaultWindow)
	switch {
	case o.Window < time.Second:
		return nil, om.NewError(om.CodeBadParameter, "open", "inbox", "the window %v is shorter than a second", o.Window)
	case o.NackDelay < 0:
		return nil, om.NewError(om.CodeBadParameter, "open", "inbox", "the nack delay %v is negative", o.NackDelay)
	case len(o.Group) > maxText || !storable(o.Group):
		return nil, om.NewError(om.CodeBadParameter, "open", "inbox", "the group %q is not UTF-8 text of 1 to %d bytes without the character 0", o.Group, maxText)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	d, err := schema.Open(ctx, db, o.Dialect)
	if err != nil {
		return nil, err
	}
	return &Inbox{db: db, opts: o, insert: insertion(d), remove: removal(d)}, nil
}

// Process handles one delivery so that its effect on the database happens once.
// It begins a transaction, stores the message's id, calls handle, commits and
// then acknowledges. When the id is there already handle is not called, and the
// delivery is acknowledged. The id is that of [om.DeduplicationID].
//
// What handle does by tx happens once; anything else it does may happen again.
// It must neither commit nor roll back. When it fails or panics the transaction
// is rolled back; after an error the delivery is given back where the driver
// has CapNack, and otherwise comes again when its lease ends. A delivery that
// another process is handling at this moment waits for it in the database,
// which may end the wait with an error of its own: then it comes again.
//
// The error is handle's own, or has code 1501 for what the database answers,
// 1418 for a message without an id, or that of the acknowledgement: then the
// transaction is committed, and the delivery is passed over when it comes again.
func (b *Inbox) Process(ctx context.Context, d *om.Delivery, handle func(ctx context.Context, tx *sql.Tx) error) error {
	if err := b.once(ctx, d, handle); err != nil {
		// ctx may have ended; the delivery should come back nevertheless.
		nack, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if given := d.Nack(nack, b.opts.NackDelay); given != nil && !errors.Is(given, om.ErrUnsupported) {
			err = errors.Join(err, given)
		}
		return err
	}
	err := d.Ack(ctx)
	b.removeSome(ctx)
	return err
}

// once runs handle in a transaction unless the id is there.
func (b *Inbox) once(ctx context.Context, d *om.Delivery, handle func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return dialect.Failure("process", d.Destination, err)
	}
	defer tx.Rollback() // a no-op after Commit
	seen, err := b.Seen(ctx, tx, om.DeduplicationID(d.Message))
	if err != nil || seen {
		return err
	}
	if err := handle(ctx, tx); err != nil {
		return err
	}
	return dialect.Failure("process", d.Destination, tx.Commit())
}

// Seen stores that the group has handled the message with an id, as part of
// tx, and reports whether that was there already. Unless it was, the caller
// does its work in tx, commits, and then acknowledges; a rollback forgets the
// id. It waits for another transaction that has stored the same id and has not
// ended. Take the id from [om.DeduplicationID]. Who uses Seen alone calls
// [Inbox.Clean] now and then. Errors: 1418 for an empty id, 1501.
func (b *Inbox) Seen(ctx context.Context, tx *sql.Tx, id string) (bool, error) {
	group := b.opts.Group
	if id == "" {
		return false, om.NewError(om.CodeBadParameter, "process", group, "the message has no id")
	}
	result, err := tx.ExecContext(ctx, b.insert, group, column(id))
	if err != nil {
		return false, dialect.Failure("process", group, err)
	}
	n, err := result.RowsAffected()
	return n == 0, dialect.Failure("process", group, err)
}

// The length of the columns in bytes.
const maxText = 255

// storable reports whether every database takes s as text.
func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// column returns what stands for an id: itself, or a hash of one that the
// column does not take.
func column(id string) string {
	if len(id) <= maxText && storable(id) {
		return id
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(id)))
}
