// Package sqlserver runs database servers inside tests: PostgreSQL and MariaDB
// from the packages of Debian, each with a new data folder and a Unix socket in
// a temporary folder.
package sqlserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// ErrMissing says that a server is not installed.
var ErrMissing = errors.New("not installed")

// How long a server may take to be made, and to be ready.
const startTime = 60 * time.Second

// The longest path of a Unix socket that every system takes.
const maxSocket = 100

// Server is a server that runs.
type Server struct {
	dir       string
	cmd       *exec.Cmd
	log       *os.File
	databases int
	kind      kind
}

// kind is how to deal with one kind of server.
type kind struct {
	name     string
	account  string // that it runs as, when the tests are root's
	folders  []string
	program  string
	install  func(s *Server) *exec.Cmd
	serve    func(s *Server) *exec.Cmd
	ready    func(s *Server) *exec.Cmd // succeeds when the server answers
	database func(s *Server, name string) *exec.Cmd
	source   func(s *Server, name string) (driver, dsn string)
	stop     os.Signal
}

// start makes a server's data folder and starts it.
func start(k kind) (*Server, error) {
	if k.find(k.program) == "" {
		return nil, fmt.Errorf("%s is %w: apt-get install postgresql mariadb-server", k.name, ErrMissing)
	}
	dir, err := os.MkdirTemp("", "sql-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, kind: k}
	if err := s.begin(); err != nil {
		err = fmt.Errorf("%s: %w\n%s", k.name, err, s.tail())
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) begin() (err error) {
	if len(s.dir)+20 > maxSocket {
		return fmt.Errorf("the temporary folder %s is too deep for a Unix socket: set TMPDIR to a shorter path", s.dir)
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		uid, gid, err := s.identity()
		if err != nil {
			return err
		}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := s.run(ctx, s.kind.install(s)); err != nil {
		return err
	}
	cmd := s.kind.serve(s)
	if err := s.prepare(cmd); err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	for s.run(ctx, s.kind.ready(s)) != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("it was not ready within %v", startTime)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// run runs a command to its end.
func (s *Server) run(ctx context.Context, cmd *exec.Cmd) error {
	if err := s.prepare(cmd); err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}

// prepare has a command run as the server's account, and end with this process.
func (s *Server) prepare(cmd *exec.Cmd) error {
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "TMPDIR="+s.dir)
	if os.Getuid() != 0 {
		cmd.SysProcAttr = attributes()
		return nil
	}
	uid, gid, err := s.identity()
	cmd.SysProcAttr = attributesAs(uid, gid)
	return err
}

func (s *Server) identity() (uid, gid int, err error) {
	u, err := user.Lookup(s.kind.account)
	if err != nil {
		return 0, 0, err
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}

// NewDatabase makes an empty database, and returns the name of its driver and
// what to open it with.
func (s *Server) NewDatabase() (driver, dsn string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	s.databases++
	name := "test" + strconv.Itoa(s.databases)
	if err := s.run(ctx, s.kind.database(s, name)); err != nil {
		return "", "", fmt.Errorf("%s: making a database: %w\n%s", s.kind.name, err, s.tail())
	}
	driver, dsn = s.kind.source(s, name)
	return driver, dsn, nil
}

// Stop stops the server and removes what it has stored.
func (s *Server) Stop() (err error) {
	if s.cmd != nil {
		err = s.cmd.Process.Signal(s.kind.stop)
		kill := time.AfterFunc(startTime, func() { _ = s.cmd.Process.Kill() })
		_ = s.cmd.Wait()
		kill.Stop()
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// tail returns the end of the server's log.
func (s *Server) tail() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(bytes.TrimSpace(b[max(0, len(b)-2000):]))
}

// find returns the path of a program, in Debian's places or in PATH, "" where
// it is missing.
func (k kind) find(program string) string {
	for _, pattern := range k.folders {
		found, _ := filepath.Glob(filepath.Join(pattern, program))
		if len(found) > 0 {
			return slices.Max(found)
		}
	}
	path, _ := exec.LookPath(program)
	return path
}
