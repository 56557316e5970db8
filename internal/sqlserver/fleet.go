package sqlserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Kinds are the databases that tests run on.
var Kinds = []string{"SQLite", "PostgreSQL", "MariaDB"}

// Fleet starts the servers that tests of one package need, each once. Its zero
// value is ready; its methods may be called concurrently.
type Fleet struct {
	mu      sync.Mutex
	servers map[string]*Server
	missing map[string]error
}

// NewDatabase makes an empty database of one of [Kinds] and returns what to
// open it with. SQLite's lies in dir, and commits without syncs: a process that
// is killed loses nothing by that. An error that matches [ErrMissing] says that
// the server is not installed, and is none of a kind that must be there: where
// the environment has TEST_PROGRAMS=required, all must.
func (f *Fleet) NewDatabase(kind, dir string) (driver, dsn string, err error) {
	if kind == "SQLite" {
		return "sqlite", SQLite(filepath.Join(dir, "test.db")) + "&_pragma=synchronous(0)", nil
	}
	s, err := f.server(kind)
	if err != nil {
		return "", "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.NewDatabase()
}

// SQLite returns what to open a SQLite database with that several connections
// and processes use.
func SQLite(path string) string {
	return "file:" + path + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(60000)&_txlock=immediate"
}

func (f *Fleet) server(kind string) (*Server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.servers[kind]; s != nil {
		return s, nil
	}
	if err := f.missing[kind]; err != nil {
		return nil, err
	}
	begin := map[string]func() (*Server, error){"PostgreSQL": PostgreSQL, "MariaDB": MariaDB}[kind]
	s, err := begin()
	if err != nil {
		if errors.Is(err, ErrMissing) && os.Getenv("TEST_PROGRAMS") == "required" {
			err = fmt.Errorf("TEST_PROGRAMS=required, but %v", err)
		}
		if f.missing == nil {
			f.missing = map[string]error{}
		}
		f.missing[kind] = err
		return nil, err
	}
	if f.servers == nil {
		f.servers = map[string]*Server{}
	}
	f.servers[kind] = s
	return s, nil
}

// Stop stops the servers, and says in one line which were not installed.
func (f *Fleet) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, s := range f.servers {
		errs = append(errs, s.Stop())
	}
	var left []string
	for kind, err := range f.missing {
		if errors.Is(err, ErrMissing) {
			left = append(left, kind)
		}
	}
	if slices.Sort(left); len(left) > 0 {
		fmt.Printf("tests did not run on %s, which are not installed; apt-get install postgresql mariadb-server\n", strings.Join(left, ", "))
	}
	return errors.Join(errs...)
}
