package pgnotify_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/outbox/pgnotify"
)

var fleet sqlserver.Fleet

// suite stops the server before goroutines are counted.
type suite struct{ *testing.M }

func (s suite) Run() int {
	code := s.M.Run()
	if err := fleet.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite{m}) }

// wakes waits for a call of wake.
func wakes(t *testing.T, woken <-chan struct{}) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(time.Minute):
		t.Fatal("nobody was woken")
	}
}

// TestCommitWakes: a committed Write wakes, one that is rolled back does not,
// and a connection that is lost is replaced.
func TestCommitWakes(t *testing.T) {
	driver, dsn, err := fleet.NewDatabase("PostgreSQL", t.TempDir())
	if errors.Is(err, sqlserver.ErrMissing) {
		t.Skip(err)
	}
	ok(t, err)
	db, err := sql.Open(driver, dsn)
	ok(t, err)
	defer db.Close()
	o := outbox.Options{Notify: true}
	ok(t, outbox.Migrate(t.Context(), db, o))
	ob, err := outbox.New(t.Context(), db, o)
	ok(t, err)
	write := func(end func(*sql.Tx) error) {
		t.Helper()
		tx, err := db.BeginTx(t.Context(), nil)
		ok(t, err)
		ok(t, ob.Write(t.Context(), tx, om.NewMessage("q", nil)))
		ok(t, end(tx))
	}
	ctx, cancel := context.WithCancel(t.Context())
	woken, gone := make(chan struct{}, 10), make(chan error)
	go func() { gone <- pgnotify.Listen(ctx, db, func() { woken <- struct{}{} }) }()
	wakes(t, woken) // it listens
	write((*sql.Tx).Rollback)
	write((*sql.Tx).Commit)
	wakes(t, woken)
	_, err = db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()")
	ok(t, err)
	wakes(t, woken)
	write((*sql.Tx).Commit)
	wakes(t, woken)
	cancel()
	ok(t, <-gone)
	if len(woken) > 0 {
		t.Error("woken once too often")
	}
}

func TestOtherDriver(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	ok(t, err)
	defer db.Close()
	if err := pgnotify.Listen(t.Context(), db, nil); !errors.Is(err, om.CodeBadParameter) {
		t.Error(err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
