package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func yamlOf(t testing.TB, d *Document) string {
	t.Helper()
	b, err := EncodeDocument(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func fullDocument(t testing.TB) *Document {
	t.Helper()
	d := &Document{Version: 7, Decoy: testDecoy(), Quota: Quota{Connections: 10}}
	for _, err := range []error{
		d.AddRole("writer"), d.Grant("role:writer", rule(t, "allow publish queue:shop://orders-*"), rule(t, "deny publish queue:shop://orders-x")),
		d.AddUser("alice", User{Roles: []string{"writer"}, Expires: time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC), Quota: &Quota{MessagesPerSecond: 5, BytesPerSecond: 6, InFlight: 7}}),
		d.SetPassword("alice", NewSecret(goodPassword)), d.AddPassword("alice", NewSecret("the second one")),
		d.AddUser("spiffe://example.org/ns/a", User{Disabled: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestDocumentCodec(t *testing.T) {
	d := fullDocument(t)
	text := yamlOf(t, d)
	again, err := DecodeDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, yamlOf(t, again)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(text, yamlOf(t, d.Clone())); diff != "" {
		t.Error(diff)
	}
	if again.Version != 7 || again.Decoy.Encode() != d.Decoy.Encode() || !again.Users["alice"].Expires.Equal(d.Users["alice"].Expires) {
		t.Errorf("%+v", again)
	}
}

func TestDecodeRefuses(t *testing.T) {
	key := "version: 1\ndecoy: " + testDecoy().Encode() + "\n"
	for text, want := range map[string]string{
		"":                 "empty",
		"version: 1\n":     "decoy is missing",
		key + "user: {}\n": "line 3: field user not found",
		key + "users: {a: {password: hunter2}}\n":                             "field password not found",
		key + "users: {a: {verifiers: hunter2}}\n":                            "cannot unmarshal",
		key + "users: {a: {verifiers: [hunter2]}}\n":                          "not of the form",
		key + "users: {a: {verifiers: [{x: hunter2}]}}\n":                     "not text",
		key + "users: {a: {disabled: hunter2}}\n":                             "into bool",
		key + "users: {a: }\n":                                                `"a" is empty`,
		key + "roles: {a: }\n":                                                `"a" is empty`,
		key + "users: {a: {}, a: {}}\n":                                       "already defined",
		key + "users: {\"a\\nb\": {}}\n":                                      `holds '\n'`,
		key + "users: {\"\": {}}\n":                                           "is empty",
		key + "roles: {\"a b\": {}}\n":                                        "holds ' '",
		key + "users: {a: {roles: [nobody]}}\n":                               `no role "nobody"`,
		key + "users: {a: {rules: [allow all]}}\n":                            "not of the form",
		key + "users: {a: {quota: {connections: -1}}}\n":                      "negative",
		key + "quota: {in_flight: -1}\n":                                      "negative",
		key + "---\nversion: 2\n":                                             "more than one",
		key + "users: {a: {verifiers: [" + strings.Repeat("x,", 5) + "x]}}\n": "not of the form",
		"version: -1\n":                                                       "cannot unmarshal",
		"[1, 2]":                                                              "cannot unmarshal",
		"decoy: [hunter2]\n":                                                  "not text",
		"&a [*a]":                                                             "",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n": "",
	} {
		_, err := DecodeDocument([]byte(text))
		if err == nil {
			t.Errorf("%q was taken", text)
			continue
		}
		wantCode(t, err, om.CodeBadParameter)
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	_, err := DecodeDocument(make([]byte, MaxDocument+1))
	wantCode(t, err, om.CodeBadParameter)
	d := fullDocument(t)
	strange, _ := NewVerifier(NewSecret(goodPassword), MinIterations)
	d.Users["alice"].Verifiers = append(d.Users["alice"].Verifiers, strange)
	if _, err = DecodeDocument([]byte(yamlOf(t, d))); err == nil || !strings.Contains(err.Error(), "another salt") {
		t.Error(err)
	}
}

func FuzzDecodeDocument(f *testing.F) {
	f.Add([]byte(yamlOf(f, fullDocument(f))))
	f.Add([]byte("decoy: " + testDecoy().Encode() + "\nusers: {a: {rules: ['allow publish queue:q']}}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDocument(b)
		if err != nil {
			if om.CodeOf(err) != om.CodeBadParameter {
				t.Fatal(err)
			}
			return
		}
		text := yamlOf(t, d)
		again, err := DecodeDocument([]byte(text))
		if err != nil || yamlOf(t, again) != text {
			t.Fatalf("%v\n%s", err, text)
		}
		newSnapshot(d)
	})
}

func TestDocumentChanges(t *testing.T) {
	d := fullDocument(t)
	before := yamlOf(t, d)
	for what, err := range map[string]error{
		"add user":     d.AddUser("alice", User{}),
		"no user":      d.DeleteUser("nobody"),
		"set password": d.SetPassword("nobody", NewSecret(goodPassword)),
		"bad password": d.SetPassword("alice", NewSecret("short")),
		"add password": d.AddPassword("alice", NewSecret("short")),
		"no password":  d.AddPassword("spiffe://example.org/ns/a", NewSecret(goodPassword)),
		"add role":     d.AddRole("writer"),
		"no role":      d.DeleteRole("nobody"),
		"grant":        d.Grant("user:nobody", rule(t, "allow manage server")),
		"grant kind":   d.Grant("alice", rule(t, "allow manage server")),
		"revoke":       d.Revoke("role:writer", rule(t, "allow publish queue:shop://orders-*"), rule(t, "allow manage server")),
	} {
		if om.CodeOf(err) != om.CodeBadParameter {
			t.Errorf("%s: %v", what, err)
		}
	}
	if diff := cmp.Diff(before, yamlOf(t, d)); diff != "" {
		t.Errorf("a refused change changed: %s", diff)
	}
	r := rule(t, "allow publish queue:shop://orders-*")
	_ = d.Grant("role:writer", r)
	if n := len(d.Roles["writer"].Rules); n != 2 {
		t.Errorf("%d rules after granting again", n)
	}
	if err := d.Revoke("role:writer", r); err != nil || len(d.Roles["writer"].Rules) != 1 {
		t.Error(err, d.Roles["writer"].Rules)
	}
	if err := d.DeleteRole("writer"); err != nil || len(d.Users["alice"].Roles) != 0 || d.check() != nil {
		t.Error(err, d.Users["alice"].Roles)
	}
}

func TestChangeThatFailsKeepsTheOld(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	before := yamlOf(t, w.directory.Document())
	disable := func(d *Document) error { d.Users["alice"].Disabled = true; return nil }

	w.storage.fail = errors.New("disk on fire")
	err := w.directory.Change(t.Context(), operator, disable)
	if err == nil || !strings.Contains(err.Error(), "nothing is changed: disk on fire") {
		t.Error(err)
	}
	w.storage.fail = nil
	refused := errors.New("no")
	if err := w.directory.Change(t.Context(), operator, func(d *Document) error { _ = disable(d); return refused }); err != refused {
		t.Error(err)
	}
	wantCode(t, w.directory.Change(t.Context(), operator, func(d *Document) error { _ = disable(d); return d.AddUser("a\nb", User{}) }), om.CodeBadParameter)
	if diff := cmp.Diff(before, yamlOf(t, w.directory.Document())); diff != "" {
		t.Error(diff)
	}
	w.must(w.rights.Check(p))
	w.directory.Document().Users["alice"].Disabled = true // a copy
	w.must(w.rights.Check(p))
	w.change(disable)
	key := w.directory.Document().Decoy.Encode()
	w.change(func(d *Document) error { d.Version, d.Decoy = 99, Verifier{}; return nil })
	if d := w.directory.Document(); d.Version != 3 || d.Decoy.Encode() != key {
		t.Errorf("version %d", d.Version)
	}
	wantCode(t, w.rights.Check(p), om.CodeUnauthorized)
}

// TestChangeBesideAnother has somebody else store a change in between: both
// changes are there in the end.
func TestChangeBesideAnother(t *testing.T) {
	w := newWorld(t)
	other, err := DecodeDocument(w.storage.content)
	w.must(err)
	w.must(other.AddUser("carol", User{}))
	w.storage.content = []byte(yamlOf(t, other))
	calls := 0
	w.change(func(d *Document) error { calls++; return d.AddUser("dave", User{}) })
	d := w.directory.Document()
	if d.Users["carol"] == nil || d.Users["dave"] == nil || calls != 2 {
		t.Error(d.Users, calls)
	}
	w.storage.fail = om.NewError(om.CodeStorageBusy, "save", "", "")
	wantCode(t, w.directory.Change(t.Context(), operator, func(d *Document) error { return d.DeleteUser("dave") }), om.CodeStorageBusy)
}

func TestCreateOnce(t *testing.T) {
	w := newWorld(t)
	before := w.storage.content
	wantCode(t, Create(t.Context(), w.storage, &Document{}), om.CodeBadParameter)
	if string(before) != string(w.storage.content) {
		t.Error("it was overwritten")
	}
	if _, err := OpenDirectory(t.Context(), newMemory(), w.audit); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			name := fmt.Sprintf("user-%d", i)
			for range 10 {
				w.change(func(d *Document) error { return d.AddUser(name, User{}) })
				_ = w.rights.Allow(p, Publish, Queue("a", "b"))
				_, _ = w.login(name, "x")
				w.change(func(d *Document) error { return d.DeleteUser(name) })
			}
		})
	}
	all.Wait()
	if d := w.directory.Document(); len(d.Users) != 2 || d.Version != 81 {
		t.Errorf("version %d, %d users", d.Version, len(d.Users))
	}
}

// file returns a directory in a file.
func fileDirectory(t *testing.T) (path string, f *File, d *Directory, l *logs) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "auth.yaml")
	f, l = NewFile(path), &logs{}
	if err := Create(t.Context(), f, &Document{Users: map[string]*User{"alice": {}}}); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(t.Context(), f, NewAudit(l.logger()))
	if err != nil {
		t.Fatal(err)
	}
	return path, f, d, l
}

func add(name string) func(*Document) error {
	return func(d *Document) error { return d.AddUser(name, User{}) }
}

func TestFileIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, _, d, log := fileDirectory(t)
		defer d.Close()
		wait := func() { time.Sleep(2 * pollEvery); synctest.Wait() }
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			wait()
		}
		good := yamlOf(t, d.Document())
		write(strings.Replace(good, "alice", "carol", 1))
		if users := d.Document().Users; users["carol"] == nil || users["alice"] != nil {
			t.Fatalf("%v", users)
		}
		// A broken version keeps the last good one, is logged once, and
		// is not overwritten.
		write(good + "nonsense: 1\n")
		wait()
		if d.Document().Users["carol"] == nil {
			t.Error("the old one is gone")
		}
		if n := strings.Count(log.String(), "the old one stays"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, log)
		}
		if err := d.Change(t.Context(), operator, add("dave")); err == nil || !strings.Contains(err.Error(), "nonsense") {
			t.Error(err)
		}
		if b, _ := os.ReadFile(path); !strings.Contains(string(b), "nonsense") {
			t.Error("it was overwritten")
		}
		write(good)
		if d.Document().Users["alice"] == nil {
			t.Error("the repaired one is not used")
		}
		// The same with the mode, and with the file gone.
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		wait()
		if !strings.Contains(log.String(), "chmod 600") {
			t.Errorf("the mode is not minded:\n%s", log)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		wait()
		if d.Document().Users["alice"] == nil {
			t.Error("a removed file removed the users")
		}
		// Saving is not a change of somebody else's.
		write(good)
		n := strings.Count(log.String(), "rights changed")
		if err := d.Change(t.Context(), operator, add("dave")); err != nil {
			t.Fatal(err)
		}
		wait()
		if m := strings.Count(log.String(), "rights changed"); m != n+1 {
			t.Errorf("%d lines about one change", m-n)
		}
	})
}

func TestFileSave(t *testing.T) {
	path, f, d, _ := fileDirectory(t)
	defer d.Close()
	left := func() (names []string) {
		all, _ := os.ReadDir(filepath.Dir(path))
		for _, e := range all {
			names = append(names, e.Name())
		}
		return names
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	before, _ := os.ReadFile(path)
	f.rename = func(string, string) error { return errors.New("power cut") }
	err := d.Change(t.Context(), operator, add("bob"))
	wantCode(t, err, om.CodeStorageError)
	after, _ := os.ReadFile(path)
	if string(before) != string(after) || d.Document().Users["bob"] != nil {
		t.Error("half a change")
	}
	if diff := cmp.Diff([]string{"auth.yaml", "auth.yaml.lock"}, left()); diff != "" {
		t.Error(diff)
	}
	f.rename = os.Rename
	if err := d.Change(t.Context(), operator, add("bob")); err != nil {
		t.Fatal(err)
	}
	// Another process finds it, and its change is not lost.
	other := NewFile(path)
	e, err := OpenDirectory(t.Context(), other, NewAudit((&logs{}).logger()))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Change(t.Context(), operator, add("carol")); err != nil {
		t.Fatal(err)
	}
	if err := d.Change(t.Context(), operator, add("dave")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bob", "carol", "dave"} {
		if d.Document().Users[name] == nil {
			t.Errorf("%s is lost", name)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Change(ended, operator, add("erin")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFileRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.yaml")
	if _, err := NewFile(path).Load(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	_, err := NewFile(dir).Load(t.Context())
	wantCode(t, err, om.CodeBadParameter)
	for _, mode := range []os.FileMode{0o644, 0o640, 0o602, 0o610} {
		if err := os.WriteFile(path, []byte(yamlOf(t, fullDocument(t))), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := NewFile(path).Load(t.Context())
		wantCode(t, err, om.CodeBadParameter)
		if !strings.Contains(err.Error(), "chmod 600") {
			t.Error(err)
		}
	}
	if err := Create(t.Context(), NewFile(path), &Document{}); err == nil {
		t.Error("it was overwritten")
	}
}
