// Package dialect is what packages inbox and outbox share: which SQL a database
// speaks, and how their tables are made.
package dialect

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Name is the name of a dialect.
type Name string

// The dialects.
const (
	PostgreSQL Name = "postgresql"
	MySQL      Name = "mysql" // MariaDB too
	SQLite     Name = "sqlite"
)

// Querier is a *sql.DB, *sql.Conn or *sql.Tx.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Find returns the dialect named by a user, or asks the database for an empty
// name.
func Find(ctx context.Context, q Querier, name string) (Name, error) {
	switch n := Name(name); n {
	case PostgreSQL, MySQL, SQLite:
		return n, nil
	case "":
	default:
		return "", om.NewError(om.CodeBadParameter, "open", name, "no such dialect; there are %s, %s (for MariaDB too) and %s", PostgreSQL, MySQL, SQLite)
	}
	var version string
	err := q.QueryRowContext(ctx, "SELECT version()").Scan(&version)
	switch {
	case err == nil && strings.Contains(version, "PostgreSQL"):
		return PostgreSQL, nil
	case err == nil && version != "" && '0' <= version[0] && version[0] <= '9':
		return MySQL, nil
	case err == nil:
		return "", om.NewError(om.CodeUnsupported, "open", version, "this database is not known; set Options.Dialect to %s, %s or %s if it speaks that", PostgreSQL, MySQL, SQLite)
	}
	if other := q.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); other != nil {
		return "", Failure("open", "", fmt.Errorf("asking the database for its version: %w", err))
	}
	return SQLite, nil
}

// Failure wraps an error of a database.
func Failure(op, resource string, err error) error {
	if err == nil {
		return nil
	}
	return om.NewError(om.CodeStorageError, op, resource, "%w", err)
}

// Bind replaces each ? of a query by the dialect's placeholder. There are no
// question marks in texts of our queries.
func (n Name) Bind(query string) string {
	if n != PostgreSQL {
		return query
	}
	var b strings.Builder
	k := 0
	for part := range strings.SplitSeq(query, "?") {
		if k > 0 {
			b.WriteString("$" + strconv.Itoa(k))
		}
		b.WriteString(part)
		k++
	}
	return b.String()
}

// Now is an expression for the database's time in milliseconds since 1970.
func (n Name) Now() string {
	switch n {
	case PostgreSQL:
		return "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
	case MySQL:
		return "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"
	}
	return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
}
