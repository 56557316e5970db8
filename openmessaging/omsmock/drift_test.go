package omsmock

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMocksAreUpToDate makes all mocks again, by the go:generate lines of
// doc.go, and compares.
func TestMocksAreUpToDate(t *testing.T) {
	doc, err := os.Open("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	defer doc.Close()
	made := map[string]bool{"doc.go": true}
	lines := bufio.NewScanner(doc)
	for lines.Scan() {
		command, ok := strings.CutPrefix(lines.Text(), "//go:generate ")
		if !ok {
			continue
		}
		args := strings.Fields(command)
		name := ""
		fresh := filepath.Join(t.TempDir(), "fresh.go")
		for i, a := range args {
			if file, ok := strings.CutPrefix(a, "-destination="); ok {
				name = file
				args[i] = "-destination=" + fresh
			}
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		want, err := os.ReadFile(fresh)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date; run go generate ./openmessaging/omsmock", name)
		}
		made[name] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !made[f] && !strings.HasSuffix(f, "_test.go") {
			t.Errorf("%s is made by no line of doc.go", f)
		}
	}
	if len(made) < 8 {
		t.Errorf("only %d files are made", len(made))
	}
}
