package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
)

func TestRequestReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), "oms:badger://local/default?memory=true", &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.HasSuffix(out.String(), "\n13 questions, 11 answers, 1 refused, 1 timeouts, 1 late replies\n") {
			t.Errorf("it prints\n%s", out.String())
		}
	})
}
