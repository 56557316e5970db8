package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lines returns what was logged with a message, without the time.
func (l *logs) lines(message string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if _, rest, ok := strings.Cut(line, " msg="); ok && strings.Contains(rest, message) {
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

func TestAuditLines(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	_, _ = w.login("alice", "wrong password")
	_, _, _ = w.run(newClient("nobody", "wrong password"))
	_, _ = w.login("a\nmsg=forged "+strings.Repeat("x", 9999), "wrong password")
	_ = w.rights.Allow(p, Publish, Queue("shop", "orders\nmsg=forged"))
	w.change(func(d *Document) error {
		return errors.Join(d.AddRole("writer"), d.Grant("role:writer", rule(t, "allow publish queue:q")), d.AddUser("carol", User{Roles: []string{"writer"}}))
	})
	w.change(func(d *Document) error {
		d.Users["bob"].Disabled = true
		d.Users["bob"].Expires = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
		d.Quota.Connections = 5
		return errors.Join(d.Revoke("role:writer", rule(t, "allow publish queue:q")), d.DeleteUser("carol"))
	})
	long := `a\nmsg=forged ` + strings.Repeat("x", 255-13) + `…`
	who := ` who=operator from=192.0.2.9:1 change=`
	want := []string{
		`"login refused" who=alice from=192.0.2.1:4711 how=password why="wrong user name or password" left_out=0`,
		`"login refused" who=nobody from=192.0.2.1:4711 how=scram why="wrong user name or password e=invalid-proof" left_out=0`,
		`"login refused" who="` + long + `" from=192.0.2.1:4711 how=password why="wrong user name or password" left_out=0`,
		`"action denied" who=alice from=192.0.2.1:4711 verb=publish resource="queue:shop://orders\nmsg=forged" why="no rule allows the user \"alice\" to publish here; the rule \"allow publish queue:shop://orders\nmsg=forged\" would" left_out=0`,
		`"rights changed"` + who + `"role writer: added"`,
		`"rights changed"` + who + `"role writer: now: allow publish queue:default://q"`,
		`"rights changed"` + who + `"user carol: added"`,
		`"rights changed"` + who + `"user carol: now: role writer"`,
		`"rights changed"` + who + `"quota of all: {Connections:5 MessagesPerSecond:0 BytesPerSecond:0 InFlight:0}"`,
		`"rights changed"` + who + `"role writer: no longer: allow publish queue:default://q"`,
		`"rights changed"` + who + `"user bob: now: disabled"`,
		`"rights changed"` + who + `"user bob: now: expires 2031-02-03T04:05:06Z"`,
		`"rights changed"` + who + `"user carol: deleted"`,
	}
	if diff := cmp.Diff(want, w.log.lines("")); diff != "" {
		t.Error(diff)
	}
	if w.audit.LoginsRefused() != 3 || w.audit.ActionsDenied() != 1 {
		t.Error(w.audit.LoginsRefused(), w.audit.ActionsDenied())
	}
	w.change(func(d *Document) error {
		return d.SetPassword("alice", NewSecret("yet another password"))
	})
	changed := w.log.lines("user alice: ")
	if len(changed) != 2 {
		t.Errorf("a changed password gives %q", changed)
	}
	for _, secret := range []string{goodPassword, "wrong password", "yet another", w.directory.Document().Decoy.Encode()[20:60], w.directory.Document().Users["alice"].Verifiers[0].Encode()[20:60]} {
		if slices.ContainsFunc(w.log.lines(""), func(line string) bool {
			return strings.Contains(line, secret) && !strings.Contains(line, "wrong user name")
		}) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestAuditIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.directory.Close()
		p := w.alice()
		for i := range 1000 {
			_ = w.rights.Allow(p, Publish, Queue("shop", fmt.Sprint("q", i)))
		}
		if n := len(w.log.lines("action denied")); n != auditBurst {
			t.Errorf("%d lines at once", n)
		}
		time.Sleep(auditEvery)
		_ = w.rights.Allow(p, Publish, Queue("shop", "q"))
		lines := w.log.lines("action denied")
		if len(lines) != auditBurst+1 || !strings.HasSuffix(lines[auditBurst], "left_out=990") || w.audit.ActionsDenied() != 1001 {
			t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
		}
		time.Sleep(auditEvery)
		_ = w.rights.Allow(p, Publish, Queue("shop", "q"))
		if lines := w.log.lines("action denied"); !strings.HasSuffix(lines[len(lines)-1], "left_out=0") {
			t.Errorf("the last is %q", lines[len(lines)-1])
		}
		// Refused logins the same by address; many addresses at once
		// are bounded together.
		for i := range 3 * auditKeys {
			w.audit.loginRefused(ByPassword, fmt.Sprintf("10.1.%d.%d:1", i>>8, i&255), "alice", "x")
		}
		if n := len(w.log.lines("login refused")); n > auditAll || n < auditAll/2 {
			t.Errorf("%d lines at once", n)
		}
		if w.audit.recent.Len() > auditKeys {
			t.Error("memory")
		}
	})
}

func TestAuditOfManyChanges(t *testing.T) {
	w := newWorld(t)
	w.change(func(d *Document) error {
		for i := range maxChanges + 500 {
			if err := d.AddUser(fmt.Sprintf("user-%04d", i), User{}); err != nil {
				return err
			}
		}
		return nil
	})
	lines := w.log.lines("rights changed")
	if len(lines) != maxChanges+1 || !strings.Contains(lines[maxChanges], "and 500 more") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
