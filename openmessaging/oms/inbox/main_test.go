package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/inbox"
)

var (
	roundsFlag = flag.Int("inbox.rounds", 0, "how often the kill test kills; 0 is the number for CI")
	fleet      sqlserver.Fleet
)

// suite stops the servers before goroutines are counted.
type suite struct{ *testing.M }

func (s suite) Run() int {
	code := s.M.Run()
	if err := fleet.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func TestMain(m *testing.M) {
	if os.Getenv(stepVariable) != "" {
		if err := consumingChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	goleak.VerifyTestMain(suite{m})
}

// source is what to open a database with.
type source struct{ kind, driver, dsn string }

func newSource(t testing.TB, kind string) source {
	t.Helper()
	driver, dsn, err := fleet.NewDatabase(kind, t.TempDir())
	if errors.Is(err, sqlserver.ErrMissing) {
		t.Skipf("only the other databases are tested: %v", err)
	}
	ok(t, err)
	return source{kind, driver, dsn}
}

func (s source) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(s.driver, s.dsn)
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	return db
}

// everywhere runs a test on each kind of database, on an empty one each.
func everywhere(t *testing.T, test func(t *testing.T, db *sql.DB)) {
	for _, kind := range sqlserver.Kinds {
		t.Run(kind, func(t *testing.T) { test(t, newSource(t, kind).open(t)) })
	}
}

// prepared returns an inbox in a database with a table of effects.
func prepared(t testing.TB, db *sql.DB, o inbox.Options) *inbox.Inbox {
	t.Helper()
	ok(t, inbox.Migrate(t.Context(), db, o))
	execute(t, db, "CREATE TABLE IF NOT EXISTS effects (name VARCHAR(100) NOT NULL)")
	ib, err := inbox.New(t.Context(), db, o)
	ok(t, err)
	return ib
}

// effect returns a function for Process that leaves a row.
func effect(name string) func(context.Context, *sql.Tx) error {
	return func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO effects (name) VALUES ('"+name+"')")
		return err
	}
}

func execute(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	ok(t, err)
}

func count(t testing.TB, db *sql.DB, from string) (n int) {
	t.Helper()
	ok(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+from).Scan(&n))
	return n
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
