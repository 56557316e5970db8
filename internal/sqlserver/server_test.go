package sqlserver

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServers starts each server, uses two databases, and sees that nothing is
// left behind.
func TestServers(t *testing.T) {
	tmp, err := os.MkdirTemp("", "t")
	if err == nil {
		err = os.Chmod(tmp, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	t.Setenv("TMPDIR", tmp)
	var f Fleet
	for _, kind := range Kinds {
		for range 2 {
			driver, dsn, err := f.NewDatabase(kind, t.TempDir())
			if errors.Is(err, ErrMissing) {
				t.Log(err)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec("CREATE TABLE t (id INTEGER)"); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := f.Stop(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "sql-*")); len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}
}

// TestMissing: a server that is not installed is left out on a user's machine,
// and fails where it must be there.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", "")
	was := postgreSQL
	postgreSQL.folders = nil
	defer func() { postgreSQL = was }()
	for required, leftOut := range map[string]bool{"": true, "required": false} {
		t.Setenv("TEST_PROGRAMS", required)
		var f Fleet
		for range 2 {
			_, _, err := f.NewDatabase("PostgreSQL", "")
			if errors.Is(err, ErrMissing) != leftOut || !strings.Contains(err.Error(), "apt-get install postgresql mariadb-server") {
				t.Errorf("TEST_PROGRAMS=%s: %v", required, err)
			}
		}
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	}
}
