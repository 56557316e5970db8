package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/openmessaging/openmessaging-go/examples/quickstart/earthquakes"
)

func TestReplay(t *testing.T) {
	events, err := earthquakes.Events()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), dir, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		n := len(events)
		want := fmt.Sprintf("\n%d events, each read once and in order over a restart at offset:%d; %d from an instant on; %d backward\n", n, n/2, n-n/2, n)
		if !strings.HasSuffix(out.String(), want) {
			t.Errorf("it prints\n%s", out.String())
		}
	})
}
