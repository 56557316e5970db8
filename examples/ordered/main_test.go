package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
)

func TestOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), "oms:badger://local/default?memory=true", &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.HasSuffix(out.String(), "0 messages were delivered twice\n1707 messages, 0 out of order, 0 lost\n") || !strings.Contains(out.String(), "cedar joins") {
			t.Errorf("it prints\n%s", out.String())
		}
	})
}
