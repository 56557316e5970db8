package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/openmessaging/openmessaging-go/examples/internal/crash"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crash.Worker); dir != "" {
		if err := consume(context.Background(), dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestExactlyOnce runs the main job, and sees that it leaves nothing behind.
func TestExactlyOnce(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out bytes.Buffer
	if err := run(t.Context(), &out, 500, 4); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	if !strings.HasSuffix(out.String(), "\n500 payments: 0 lost, 0 booked twice\n") {
		t.Errorf("the output ends otherwise:\n%s", out.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v was left behind, %v", left, err)
	}
}
