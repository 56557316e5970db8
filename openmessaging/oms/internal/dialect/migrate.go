package dialect

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Schema is how the tables of a component came to be what they are.
type Schema struct {
	Component string
	// Steps lead from each version to the next, by dialect. A step that is
	// released is never changed; each statement may be run again.
	Steps map[Name][][]string
}

// The table of versions, one row for each component.
const versions = "CREATE TABLE IF NOT EXISTS oms_schema (component VARCHAR(32) NOT NULL PRIMARY KEY, version INTEGER NOT NULL)"

// Migrate brings the tables of a component to the newest version. Processes
// that do so at once wait for each other.
func (s Schema) Migrate(ctx context.Context, db *sql.DB, name string) (err error) {
	d, err := Find(ctx, db, name)
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return Failure("migrate", s.Component, err)
	}
	defer conn.Close()
	if err := enter(ctx, conn, d); err != nil {
		return Failure("migrate", s.Component, err)
	}
	err = s.apply(ctx, conn, d)
	// The end must come even where ctx has ended: the connection goes back.
	if left := leave(context.WithoutCancel(ctx), conn, d, err == nil); left != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		err = errors.Join(err, Failure("migrate", s.Component, left))
	}
	return err
}

// enter waits for others that migrate and, where statements that define tables
// can be taken back, begins a transaction.
func enter(ctx context.Context, conn *sql.Conn, d Name) (err error) {
	switch d {
	case SQLite:
		_, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	case PostgreSQL:
		if _, err = conn.ExecContext(ctx, "BEGIN"); err == nil {
			_, err = conn.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext('oms_schema'))")
		}
	case MySQL:
		var got sql.NullInt64
		err = conn.QueryRowContext(ctx, "SELECT GET_LOCK('oms_schema', 60)").Scan(&got)
		if err == nil && got.Int64 != 1 {
			err = errors.New("another process has held the lock oms_schema for 60 s")
		}
	}
	if err != nil && d != MySQL {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return err
}

func leave(ctx context.Context, conn *sql.Conn, d Name, good bool) error {
	end := "ROLLBACK"
	switch {
	case d == MySQL:
		end = "DO RELEASE_LOCK('oms_schema')"
	case good:
		end = "COMMIT"
	}
	_, err := conn.ExecContext(ctx, end)
	return err
}

func (s Schema) apply(ctx context.Context, q Querier, d Name) error {
	steps := s.Steps[d]
	if _, err := q.ExecContext(ctx, versions); err != nil {
		return Failure("migrate", s.Component, err)
	}
	have, err := s.version(ctx, q, d)
	if err != nil {
		return err
	}
	if have > len(steps) {
		return s.tooNew(have, len(steps))
	}
	for _, step := range steps[have:] {
		for _, statement := range step {
			if _, err := q.ExecContext(ctx, statement); err != nil {
				return Failure("migrate", s.Component, err)
			}
		}
	}
	if have == len(steps) {
		return nil
	}
	if _, err := q.ExecContext(ctx, d.Bind("DELETE FROM oms_schema WHERE component = ?"), s.Component); err != nil {
		return Failure("migrate", s.Component, err)
	}
	_, err = q.ExecContext(ctx, d.Bind("INSERT INTO oms_schema (component, version) VALUES (?, ?)"), s.Component, len(steps))
	return Failure("migrate", s.Component, err)
}

// version returns the version of the tables, 0 where there are none.
func (s Schema) version(ctx context.Context, q Querier, d Name) (n int, err error) {
	err = q.QueryRowContext(ctx, d.Bind("SELECT version FROM oms_schema WHERE component = ?"), s.Component).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, Failure("migrate", s.Component, err)
	}
	return n, nil
}

func (s Schema) tooNew(have, known int) error {
	return om.NewError(om.CodeStorageError, "open", s.Component, "its tables have version %d and this program knows %d: use the newer program", have, known)
}

// Open finds the dialect and checks that the tables have the version of this
// program.
func (s Schema) Open(ctx context.Context, db *sql.DB, name string) (Name, error) {
	d, err := Find(ctx, db, name)
	if err != nil {
		return "", err
	}
	switch have, err := s.version(ctx, db, d); {
	case err != nil:
		return "", om.NewError(om.CodeStorageError, "open", s.Component, "run %s.Migrate first, once for each database: %w", s.Component, err)
	case have > len(s.Steps[d]):
		return "", s.tooNew(have, len(s.Steps[d]))
	case have < len(s.Steps[d]):
		return "", om.NewError(om.CodeStorageError, "open", s.Component, "its tables have version %d and this program needs %d: run %s.Migrate first", have, len(s.Steps[d]), s.Component)
	}
	return d, nil
}
