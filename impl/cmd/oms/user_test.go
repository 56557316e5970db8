//go:build unix

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/serve"
)

const rootKey = "root's own long secret"

// startServe runs a server in memory whose users are those of a file, and returns
// its URL for root.
func startServe(t *testing.T, users string) string {
	t.Helper()
	l := &serve.Loaded{Config: serve.Defaults()}
	l.Memory, l.Listen, l.Admin.Listen, l.Auth.File = true, "127.0.0.1:0", "", users
	ctx, cancel := context.WithCancel(context.Background())
	ready, over := make(chan string, 1), make(chan error, 1)
	log := new(running)
	go func() {
		over <- serve.Run(ctx, l, serve.Options{Log: log, Ready: func(address, _ string) error { ready <- address; return nil }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err, log.log())
		}
	})
	select {
	case address := <-ready:
		return strings.Replace(remote.URL(address), "oms://", "oms://root@", 1)
	case err := <-over:
		over <- nil
		t.Fatal(err, log.log())
		return ""
	}
}

// stageUsers makes the users and roles that the examples speak of, and a shell
// for root.
func stageUsers(t *testing.T) *shell {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	grant := func(d *auth.Document, subject, text string) {
		t.Helper()
		rule, err := auth.ParseRule(text)
		must(err)
		must(d.Grant(subject, rule))
	}
	d := new(auth.Document)
	for _, role := range []string{"consumers", "auditors", "operators"} {
		must(d.AddRole(role))
		grant(d, "role:"+role, "allow browse queue:*")
	}
	for name, key := range map[string]string{"root": rootKey, "alice": "", "billing": "an old long secret", "ci": ""} {
		u := auth.User{}
		if name == "billing" {
			u.Roles = []string{"consumers"}
		}
		must(d.AddUser(name, u))
		if key != "" {
			must(d.SetPassword(name, auth.NewSecret(key)))
		}
	}
	grant(d, "user:root", "allow manage server")
	grant(d, "user:alice", "allow publish,browse queue:shop://orders-*")
	file := filepath.Join(t.TempDir(), "users.yaml")
	must(auth.Create(t.Context(), auth.NewFile(file), d))
	s := newShell(t, startServe(t, file))
	s.env = append(s.env, "OMS_ACCOUNT_KEY="+rootKey, "CI_PASSWORD=ci's own long secret")
	s.write("new-password", "another long secret\n")
	s.in = "a long secret of somebody\n"
	return s
}

// must runs a line that must succeed, and returns what it printed.
func (s *shell) must(line string) string {
	s.t.Helper()
	code, out := s.run(line)
	if code != 0 {
		s.t.Fatalf("%s: status %d: %s", line, code, out)
	}
	return out
}

func TestUsersAndTheirRights(t *testing.T) {
	s := stageUsers(t)
	s.must("oms user change billing --messages-per-second 100")
	s.must("oms permission grant role:consumers consume queue:orders")
	s.must("oms permission grant billing deny consume queue:orders")
	s.must("oms permission role add temps && oms permission role delete temps")
	for line, want := range map[string]string{
		"oms user show billing":       "roles      consumers",
		"oms user list":               "billing",
		"oms user list --json":        `"quota":{"messages_per_second":100}`,
		"oms permission list billing": "user:billing  deny consume queue:default://orders\n",
		"oms permission check alice publish queue:shop://orders-eu":               "yes\n",
		"oms permission check alice publish queue:orders || echo status $?":       "no:",
		"oms permission check billing consume queue:orders || echo status $?":     "status 1\n",
		"oms user show nobody || echo status $?":                                  "there is no user \"nobody\"",
		"oms permission grant alice publish nonsense || echo status $?":           "status 1\n",
		"oms user add short --password-from env:SHORT || echo status $?":          "status 1\n",
		"OMS_ACCOUNT_KEY=wrong oms user list || echo status $?":                   "status 1\n",
		"OMS_ACCOUNT_KEY= oms user list || echo status $?":                        "there is no secret for account \"root\"",
		"oms user list --url oms:badger://local/default?path=x || echo status $?": "status 2\n",
	} {
		if _, out := s.run(line); !strings.Contains(out, want) {
			t.Errorf("%s: %q is not in %s", line, want, out)
		}
	}
	s.must("oms user disable billing")
	if out := s.must("oms user show billing"); !strings.Contains(out, "state      disabled") {
		t.Error(out)
	}
	s.must("oms user delete billing")
	if out := s.must("oms user list"); strings.Contains(out, "billing") {
		t.Error(out)
	}
}
