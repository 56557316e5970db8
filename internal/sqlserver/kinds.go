package sqlserver

import (
	"os/exec"
	"path/filepath"
	"syscall"
)

// PostgreSQL starts a server, for the driver "pgx". An error that matches
// [ErrMissing] says that it is not installed.
func PostgreSQL() (*Server, error) { return start(postgreSQL) }

// MariaDB starts a server, for the driver "mysql". An error that matches
// [ErrMissing] says that it is not installed.
func MariaDB() (*Server, error) { return start(mariaDB) }

var postgreSQL = kind{
	name: "PostgreSQL", account: "postgres", folders: []string{"/usr/lib/postgresql/*/bin"}, program: "postgres",
	install: func(s *Server) *exec.Cmd {
		return exec.Command(s.kind.find("initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	},
	serve: func(s *Server) *exec.Cmd {
		return exec.Command(s.kind.find("postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=")
	},
	ready: func(s *Server) *exec.Cmd {
		return exec.Command(s.kind.find("psql"), "-h", s.dir, "-U", "postgres", "-d", "postgres", "-c", "SELECT 1")
	},
	database: func(s *Server, name string) *exec.Cmd {
		return exec.Command(s.kind.find("createdb"), "-h", s.dir, "-U", "postgres", name)
	},
	source: func(s *Server, name string) (driver, dsn string) {
		return "pgx", "host=" + s.dir + " user=postgres dbname=" + name
	},
	stop: syscall.SIGINT, // fast shutdown
}

var mariaDB = kind{
	name: "MariaDB", account: "mysql", folders: []string{"/usr/sbin", "/usr/bin"}, program: "mariadbd",
	install: func(s *Server) *exec.Cmd {
		return exec.Command(s.kind.find("mariadb-install-db"), "--no-defaults", "--datadir="+s.data(), "--auth-root-authentication-method=normal", "--skip-test-db")
	},
	serve: func(s *Server) *exec.Cmd {
		return exec.Command(s.kind.find("mariadbd"), "--no-defaults", "--datadir="+s.data(), "--socket="+s.socket(), "--skip-networking", "--pid-file="+filepath.Join(s.dir, "pid"))
	},
	ready:    func(s *Server) *exec.Cmd { return s.mariadb("SELECT 1") },
	database: func(s *Server, name string) *exec.Cmd { return s.mariadb("CREATE DATABASE " + name) },
	source: func(s *Server, name string) (driver, dsn string) {
		return "mysql", "root@unix(" + s.socket() + ")/" + name
	},
	stop: syscall.SIGTERM,
}

func (s *Server) data() string   { return filepath.Join(s.dir, "data") }
func (s *Server) socket() string { return filepath.Join(s.dir, "s") }

func (s *Server) mariadb(statement string) *exec.Cmd {
	return exec.Command(s.kind.find("mariadb"), "--no-defaults", "--socket="+s.socket(), "-u", "root", "-e", statement)
}
