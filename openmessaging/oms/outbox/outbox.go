package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"
)

// Channel is the name under which Write notifies with Options.Notify.
const Channel = "oms_outbox"

// Options are the settings of an [Outbox].
type Options struct {
	// Dialect is what the database speaks: "postgresql", "mysql" (MariaDB too)
	// or "sqlite". Default: the database is asked.
	Dialect string
	// Notify has Write wake the relays of all processes that listen (package
	// pgnotify) when its transaction is committed. PostgreSQL only. It costs a
	// statement for each Write, and PostgreSQL commits such transactions one
	// after the other.
	Notify bool
}

// Outbox writes messages into a SQL database, from where a [Relay] publishes
// them. Its methods may be called concurrently, and by many processes.
type Outbox struct {
	db      *sql.DB
	dialect dialect.Name
	notify  bool
}

// Migrate makes the outbox's tables, or brings them to the version of this
// program. It may be called at every start, by several processes at once. Of
// the options it looks at Dialect. Errors: 1418 for the dialect, 1501 for what
// the database answers and for tables of a newer program.
func Migrate(ctx context.Context, db *sql.DB, o Options) error {
	return schema.Migrate(ctx, db, o.Dialect)
}

// New returns an outbox in db, which [Migrate] has prepared. The database stays
// the caller's; the outbox needs no closing. Errors: 1418 for options that do
// not go together, 1501 for a database that is not prepared or does not answer.
func New(ctx context.Context, db *sql.DB, o Options) (*Outbox, error) {
	d, err := schema.Open(ctx, db, o.Dialect)
	if err != nil {
		return nil, err
	}
	if o.Notify && d != dialect.PostgreSQL {
		return nil, om.NewError(om.CodeBadParameter, "open", "outbox", "Notify is there with PostgreSQL only, this is %s", d)
	}
	return &Outbox{db: db, dialect: d, notify: o.Notify}, nil
}

// Bounds of one statement of Write.
const (
	rowsPerInsert  = 100
	bytesPerInsert = 1 << 20
)

// Write writes messages as part of tx: they are published, in this order, when
// tx is committed, and not at all when it is rolled back. The messages are
// checked first, as [om.Message.Validate] says, and when one is bad none is
// written. They are neither changed nor kept. All is written that a sender can
// set, properties of every kind included; what is set on send is set when the
// relay sends. A delay counts from then.
//
// Each message without an [om.PropertyDeduplicationID] gets a random one. One
// that is set must be a String that names this message alone, in all queues.
//
// Errors: those of Validate, 20005 for a deduplication id that is no text, 1501
// for what the database answers.
func (o *Outbox) Write(ctx context.Context, tx *sql.Tx, ms ...*om.Message) error {
	now := time.Now()
	headers := make([]string, len(ms))
	for i, m := range ms {
		if m == nil {
			return om.NewError(om.CodeBadParameter, "write", "", "message %d is nil", i)
		}
		if err := m.Validate("write", now); err != nil {
			return err
		}
		if v, set := m.Properties[om.PropertyDeduplicationID]; set && v.Kind() != om.KindString {
			return om.NewError(om.CodeMalformedMessage, "write", m.Destination, "the property %s is a %v and must be a String", om.PropertyDeduplicationID, v.Kind())
		}
		var err error
		if headers[i], err = encode(m, rand.Text()); err != nil {
			return om.NewError(om.CodeMalformedMessage, "write", m.Destination, "%w", err)
		}
	}
	for len(ms) > 0 {
		n, err := o.insert(ctx, tx, headers, ms)
		if err != nil {
			return dialect.Failure("write", ms[0].Destination, err)
		}
		headers, ms = headers[n:], ms[n:]
	}
	if !o.notify {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT pg_notify('"+Channel+"', '')")
	return dialect.Failure("write", "", err)
}

// insert inserts the first of the messages and returns how many.
func (o *Outbox) insert(ctx context.Context, tx *sql.Tx, headers []string, ms []*om.Message) (n int, err error) {
	var args []any
	for bytes := 0; n < len(ms) && n < rowsPerInsert && bytes < bytesPerInsert; n++ {
		body := ms[n].Body
		if body == nil {
			body = []byte{} // nil is NULL
		}
		args = append(args, headers[n], body)
		bytes += len(headers[n]) + len(body)
	}
	row := "(" + o.dialect.Now() + ", ?, ?)"
	query := "INSERT INTO oms_outbox (written_at, header, body) VALUES " + row + strings.Repeat(", "+row, n-1)
	_, err = tx.ExecContext(ctx, o.dialect.Bind(query), args...)
	return n, err
}

// Stats tells what lies in an outbox.
type Stats struct {
	Waiting int64         // messages that are not published yet
	Age     time.Duration // of the oldest of them by the database's clock, 0 where none waits
	Failed  int64         // messages that were set aside
}

// Stats counts what lies in the outbox, by committed transactions. Error: 1501.
func (o *Outbox) Stats(ctx context.Context) (s Stats, err error) {
	var age int64
	err = o.db.QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM oms_outbox), (SELECT COUNT(*) FROM oms_outbox_failed), "+
		"COALESCE("+o.dialect.Now()+" - (SELECT MIN(written_at) FROM oms_outbox), 0)").Scan(&s.Waiting, &s.Failed, &age)
	s.Age = max(0, time.Duration(age)*time.Millisecond)
	return s, dialect.Failure("stats", "outbox", err)
}
