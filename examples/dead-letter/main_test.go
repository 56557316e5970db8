package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
)

func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), "oms:badger://local/default?memory=true", &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.HasSuffix(out.String(), "\n20 sent, 4 dead, 4 redriven, 20 booked, 0 left\n") {
			t.Errorf("it prints\n%s", out.String())
		}
	})
}
