package main

import (
	"os"
	"testing"
)

// TestQuickstart runs the main job, and sees that it leaves nothing behind.
func TestQuickstart(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if err := run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v was left behind, %v", left, err)
	}
	if err := run(t.Context(), "oms:badger://local/quickstart?memory=true"); err != nil {
		t.Error(err)
	}
}
