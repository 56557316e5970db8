package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
)

var (
	roundsFlag = flag.Int("outbox.rounds", 0, "how often the kill test kills; 0 is the number for CI")
	fleet      sqlserver.Fleet
	quiet      = slog.New(slog.DiscardHandler)
)

// deadline bounds everything that a test waits for.
const deadline = time.Minute

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
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	_ = flag.Set("rapid.checks", "30") // unless the command line says another number
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

func prepared(t testing.TB, db *sql.DB, o outbox.Options) *outbox.Outbox {
	t.Helper()
	ok(t, outbox.Migrate(t.Context(), db, o))
	ob, err := outbox.New(t.Context(), db, o)
	ok(t, err)
	return ob
}

// write commits messages.
func write(t testing.TB, db *sql.DB, ob *outbox.Outbox, ms ...*om.Message) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer tx.Rollback()
	ok(t, ob.Write(t.Context(), tx, ms...))
	ok(t, tx.Commit())
}

// run runs a relay until the test ends or stop is called.
func run(t testing.TB, r *outbox.Relay) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() { gone <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-gone; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func relay(t testing.TB, ob *outbox.Outbox, s outbox.BatchSender, o outbox.RelayOptions) *outbox.Relay {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	r, err := outbox.NewRelay(ob, s, o)
	ok(t, err)
	return r
}

func msg(queue, key, body string) *om.Message {
	m := om.NewMessage(queue, []byte(body))
	m.Ext.MessageKey = key
	return m
}

func execute(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	ok(t, err)
}

func stats(t testing.TB, ob *outbox.Outbox) outbox.Stats {
	t.Helper()
	s, err := ob.Stats(t.Context())
	ok(t, err)
	return s
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
