package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// TestSecretsPrintRedacted prints all types with secrets in every way there is,
// also inside of structs whose fields fmt reaches without asking.
func TestSecretsPrintRedacted(t *testing.T) {
	const word = "hunter2-hunter2"
	v, err := NewVerifier(NewSecret(word), MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSecret(word)
	type outer struct {
		hidden Secret
		v      Verifier
		m      map[string]Secret
		Open   Secret
		V      Verifier
	}
	doc := &Document{Decoy: v, Users: map[string]*User{"a": {Verifiers: []Verifier{v}}}}
	secrets := []string{word, fmt.Sprintf("%x", word), fmt.Sprintf("%d", []byte(word)), string(v.keys().StoredKey),
		v.Encode(), v.Encode()[40:60], fmt.Sprintf("%x", v.keys().StoredKey), fmt.Sprint(v.keys().StoredKey), fmt.Sprintf("%x", v.keys().Salt)}
	var printed []string
	for _, x := range []any{s, &s, v, &v, outer{s, v, map[string]Secret{"k": s}, s, v}, &outer{hidden: s, v: v}, *doc, doc, doc.Users["a"], *doc.Users["a"],
		[]Secret{s}, map[string]Verifier{"k": v}, doc.Decoy} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			printed = append(printed, fmt.Sprintf(verb, x))
		}
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, string(b))
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "x", x, slog.Group("g", "x", x))
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "x", x)
		printed = append(printed, text.String(), js.String())
	}
	b, err := yaml.Marshal(outer{Open: s})
	if err != nil {
		t.Fatal(err)
	}
	printed = append(printed, string(b))
	for _, p := range printed {
		for _, secret := range secrets {
			if strings.Contains(p, secret) {
				t.Errorf("%q tells %q", p, secret)
			}
		}
	}
	if got := fmt.Sprintf("%v %s", s, v); got != "[redacted] [redacted]" {
		t.Error(got)
	}
}

func TestLoadSecret(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	t.Setenv("AUTH_TEST_SECRET", "from env\n")
	t.Setenv("AUTH_TEST_EMPTY", "")
	for ref, want := range map[string]string{
		file("one\n"):          "one",
		file("two\r\n"):        "two",
		file("three"):          "three",
		file("four\n\n"):       "four\n",
		file("a:b c"):          "a:b c",
		"env:AUTH_TEST_SECRET": "from env",
	} {
		s, err := LoadSecret(ref)
		if err != nil || s.Reveal() != want || !s.Equal(NewSecret(want)) || s.Equal(NewSecret("x")) {
			t.Errorf("%s: %q, %v", ref, s.Reveal(), err)
		}
	}
	for ref, want := range map[string]string{
		"hunter2-hunter2":                      "file:PATH or env:NAME",
		"env:":                                 "file:PATH or env:NAME",
		"file:":                                "file:PATH or env:NAME",
		"hunter2:hunter2":                      "file:PATH or env:NAME",
		"env:AUTH_TEST_NOT_SET":                `"AUTH_TEST_NOT_SET" is not set`,
		"env:AUTH_TEST_EMPTY":                  "is empty",
		file("\n"):                             "is empty",
		file(strings.Repeat("x", maxSecret+1)): "longer than",
		"file:" + filepath.Join(t.TempDir(), "x"): "no such file",
	} {
		s, err := LoadSecret(ref)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || s.Reveal() != "" {
			t.Errorf("%s: %v; want %q", ref, err, want)
		}
	}
	if _, err := LoadSecret("file:/nowhere/at/all"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestVerifier(t *testing.T) {
	v, err := NewVerifier(NewSecret(goodPassword), 0)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := NewVerifier(NewSecret(goodPassword), MinIterations)
	if v.keys().Iters != DefaultIterations || len(v.keys().Salt) != saltSize || v.keys().Salt == w.keys().Salt {
		t.Error("iterations or salt")
	}
	again, err := ParseVerifier(v.Encode())
	if err != nil || again.Encode() != v.Encode() {
		t.Error(err)
	}
	second, err := w.Another(NewSecret("a second password"))
	if err != nil || second.keys().KeyFactors != w.keys().KeyFactors || second.stamp() == w.stamp() {
		t.Error(err)
	}
	both := []Verifier{w, second}
	for password, want := range map[string]uint64{
		goodPassword: w.stamp(), "a second password": second.stamp(), "wrong": 0, "": 0, goodPassword + "\x00": 0,
		"correct\u00a0horse\u00adbattery": 0, "correct\u00a0horse\u00a0bat\u00adtery": w.stamp(), // as SASLprep has it
		strings.Repeat("x", MaxPassword+1): 0,
	} {
		got, ok := matching(NewSecret(password), both)
		if ok != (want != 0) || ok && got.stamp() != want {
			t.Errorf("%q: %v", password, ok)
		}
	}
	for password, want := range map[string]string{
		"short":                      "5 characters; 12 are the least",
		"":                           "0 characters",
		strings.Repeat("\u00ad", 20): "0 characters",
		strings.Repeat("x", 1025):    "longer than 1024",
		"hunter2-hunter2\x07":        "SASLprep",
		"hunter2-hunter2-\U0001f600": "SASLprep",
		"hunter2-hunter2-\xff":       "SASLprep",
	} {
		_, err := NewVerifier(NewSecret(password), MinIterations)
		wantCode(t, err, om.CodeBadParameter)
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", password, err)
		}
	}
	for _, n := range []int{-1, 1, MinIterations - 1, MaxIterations + 1} {
		_, err := NewVerifier(NewSecret(goodPassword), n)
		wantCode(t, err, om.CodeBadParameter)
	}
}

func FuzzParseVerifier(f *testing.F) {
	v, _ := NewVerifier(NewSecret(goodPassword), MinIterations)
	f.Add(v.Encode())
	f.Add("SCRAM-SHA-256$4096:$:")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVerifier(text)
		if err != nil {
			if len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Fatal("the error tells the verifier")
			}
			return
		}
		if again, err := ParseVerifier(v.Encode()); err != nil || again.Encode() != v.Encode() || v.keys().Iters < MinIterations {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
