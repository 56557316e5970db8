package contexts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// home gives the test a configuration folder of its own and an empty environment.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	for _, env := range []string{EnvURL, EnvContext, EnvKey, EnvToken} {
		t.Setenv(env, "")
	}
	path, err := Path()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func save(t *testing.T, name string, c Context, current bool) {
	t.Helper()
	err := Change(func(s *Saved) error {
		s.Contexts[name] = c
		if current {
			s.Current = name
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPrecedence(t *testing.T) {
	home(t)
	if _, err := Choose("", ""); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "oms context add") {
		t.Errorf("nothing chosen: %v", err)
	}
	steps := []struct {
		arrange   func()
		url, name string
		want      string // URL, source
	}{
		{func() { save(t, "a", Context{URL: "current"}, true) }, "", "", "current, current context"},
		{func() { save(t, "b", Context{URL: "env"}, false); t.Setenv(EnvContext, "b") }, "", "", "env, OMS_CONTEXT"},
		{func() { t.Setenv(EnvURL, "env url") }, "", "", "env url, OMS_URL"},
		{func() { save(t, "c", Context{URL: "flag"}, false) }, "", "c", "flag, --context"},
		{func() {}, "url flag", "c", "url flag, --url"},
	}
	for _, s := range steps {
		s.arrange()
		c, err := Choose(s.url, s.name)
		if got := c.URL + ", " + c.Source; err != nil || got != s.want {
			t.Errorf("%q, %v; want %q", got, err, s.want)
		}
	}
	if _, err := Choose("", "nope"); err == nil || !strings.Contains(err.Error(), "there are a, b, c") {
		t.Errorf("an unknown context: %v", err)
	}
}

func TestFileIsWholeAndPrivate(t *testing.T) {
	path := home(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { save(t, fmt.Sprint("n", i), Context{URL: "u"}, false) })
	}
	all.Wait()
	saved, err := Load()
	if err != nil || len(saved.Contexts) != 8 {
		t.Errorf("%d of 8 changes are there: %v", len(saved.Contexts), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", dir.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("no")
	if err := Change(func(s *Saved) error { clear(s.Contexts); return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("a change that failed was written")
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 2 {
		t.Errorf("files left behind: %v, %v", files, err)
	}
	if err := os.WriteFile(path, []byte(`{"contexts":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a malformed file: %v", err)
	}
	if err := Change(func(*Saved) error { return nil }); err == nil {
		t.Error("a malformed file was replaced")
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "prod-1_x.y": true, "": false, "a b": false, "a/b": false, "ü": false, strings.Repeat("x", 65): false} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	home(t)
	file := filepath.Join(t.TempDir(), "key")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	never := func(string) (string, error) { t.Error("somebody was asked"); return "", nil }
	if f, err := (Choice{}).Credentials(never); f != nil || err != nil {
		t.Errorf("without an account: %v", err)
	}
	account := Choice{Context: Context{Account: "shop"}}
	if _, err := account.Credentials(nil); err == nil || !strings.Contains(err.Error(), "OMS_ACCOUNT_KEY") {
		t.Errorf("an account without a secret: %v", err)
	}
	get := func(c Choice, ask func(string) (string, error)) string {
		t.Helper()
		f, err := c.Credentials(ask)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f(t.Context())
		if err != nil {
			return "error: " + err.Error()
		}
		if printed := fmt.Sprintf("%v %+v", got, got); strings.Contains(printed, "typed") || strings.Contains(printed, "first") {
			t.Errorf("a secret is printed: %s", printed)
		}
		return got.AccountID + " " + got.AccountKey + " " + got.Token
	}
	if got := get(account, func(a string) (string, error) { return "typed for " + a, nil }); got != "shop typed for shop " {
		t.Errorf("asked: %q", got)
	}
	t.Setenv(EnvKey, "of the environment")
	if got := get(account, never); got != "shop of the environment " {
		t.Errorf("environment: %q", got)
	}
	withFile := Choice{Context: Context{Account: "shop", KeyFile: file, TokenFile: file}}
	write("first\n")
	f, err := withFile.Credentials(never)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		write(want + "\r\n")
		if got, err := f(t.Context()); err != nil || got.AccountKey != want || got.Token != want {
			t.Errorf("%v is not %q: %v", got, want, err)
		}
	}
	write("")
	if got := get(withFile, never); !strings.Contains(got, "is empty") {
		t.Error(got)
	}
	write(strings.Repeat("x", maxSecret+1))
	if got := get(withFile, never); !strings.Contains(got, "no secret") {
		t.Error(got)
	}
}
