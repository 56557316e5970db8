package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
)

func TestReminders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), "oms:badger://local/default?memory=true", &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.HasSuffix(out.String(), "\n7 reminded, 3 cancelled, 0 early\n") || strings.Contains(out.String(), "remind of order 4") {
			t.Errorf("it prints\n%s", out.String())
		}
	})
}
