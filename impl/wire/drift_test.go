package wire_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var buf = []string{"go", "tool", "-modfile=../../internal/tools/buf.mod", "buf"}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// TestGeneratedCodeIsUpToDate checks the protobuf files, makes Go of them again
// and compares.
func TestGeneratedCodeIsUpToDate(t *testing.T) {
	run(t, append(buf, "lint")...)
	fresh := t.TempDir()
	run(t, append(buf, "generate", "--output", fresh)...)
	made, err := filepath.Glob(filepath.Join(fresh, "wirepb", "*.go"))
	if err != nil || len(made) < 5 {
		t.Fatalf("%d files were made: %v", len(made), err)
	}
	for _, path := range made {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("wirepb", filepath.Base(path))
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date; run go generate ./impl/wire (%v)", name, err)
		}
	}
	if kept, err := filepath.Glob("wirepb/*.go"); err != nil || len(kept) != len(made) {
		t.Errorf("%d files are kept, %d are made; %v", len(kept), len(made), err)
	}
}
