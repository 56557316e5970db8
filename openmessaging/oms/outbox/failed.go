package outbox

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"
)

// Failed is a message that was set aside because the broker refused it for good.
type Failed struct {
	ID int64 // of its row; ascends in the order of writing
	// Message is the message; nil where the row cannot be read.
	Message *om.Message
	// At is when it was set aside, by the database's clock.
	At time.Time
	// Reason is the broker's error.
	Reason string
}

// Failed lists messages that were set aside, up to most of them, the oldest
// first. They lie in the table oms_outbox_failed until they are retried; to give
// one up, delete its row. Error: 1501.
func (o *Outbox) Failed(ctx context.Context, most int) (all []Failed, err error) {
	rows, err := o.db.QueryContext(ctx, o.dialect.Bind("SELECT id, header, body, failed_at, error FROM oms_outbox_failed ORDER BY id LIMIT ?"), most)
	if err != nil {
		return nil, dialect.Failure("list", "outbox", err)
	}
	defer rows.Close()
	for rows.Next() {
		var f Failed
		var header string
		var body []byte
		var at int64
		if err := rows.Scan(&f.ID, &header, &body, &at, &f.Reason); err != nil {
			return nil, dialect.Failure("list", "outbox", err)
		}
		f.At = time.UnixMilli(at).UTC()
		f.Message, _ = decode(header, body) // why not is in Reason
		all = append(all, f)
	}
	return all, dialect.Failure("list", "outbox", rows.Err())
}

// Retry has messages that were set aside published again, all of them when no
// id is given, and returns how many there were. They go before everything that
// was written later and still waits. Error: 1501.
func (o *Outbox) Retry(ctx context.Context, ids ...int64) (n int64, err error) {
	where := ""
	if len(ids) > 0 {
		where = " WHERE id IN (" + list(ids) + ")"
	}
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, dialect.Failure("retry", "outbox", err)
	}
	defer tx.Rollback()
	// Who changes this row first goes first: a relay that sets aside, or another
	// call of Retry, which leaves nothing to the second.
	if _, err = tx.ExecContext(ctx, "UPDATE oms_outbox_relay SET beats = beats + 1 WHERE id = 1"); err != nil {
		return 0, dialect.Failure("retry", "outbox", err)
	}
	if _, err = tx.ExecContext(ctx, "INSERT INTO oms_outbox (id, written_at, header, body) SELECT id, written_at, header, body FROM oms_outbox_failed"+where); err != nil {
		return 0, dialect.Failure("retry", "outbox", err)
	}
	result, err := tx.ExecContext(ctx, "DELETE FROM oms_outbox_failed"+where)
	if err == nil {
		n, err = result.RowsAffected()
	}
	if err == nil {
		err = tx.Commit()
	}
	return n, dialect.Failure("retry", "outbox", err)
}

// The most of an error that is kept, in bytes.
const maxReason = 2000

// setAside moves a message out of the way of the others.
func (o *Outbox) setAside(ctx context.Context, tx *sql.Tx, id int64, reason error) error {
	text := strings.ToValidUTF8(strings.ReplaceAll(reason.Error(), "\x00", "?"), "?")
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	_, err := tx.ExecContext(ctx, o.dialect.Bind("INSERT INTO oms_outbox_failed (id, written_at, header, body, failed_at, error) "+
		"SELECT id, written_at, header, body, "+o.dialect.Now()+", ? FROM oms_outbox WHERE id = "+strconv.FormatInt(id, 10)), text)
	return err
}

// list writes row ids as SQL. They are numbers, so that no statement needs
// thousands of parameters.
func list(ids []int64) string {
	b := make([]byte, 0, 8*len(ids))
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(b)
}
