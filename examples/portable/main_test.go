package main

import (
	"bytes"
	"testing"

	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

func init() { spi.Register(memory.New().Driver("memory")) }

// TestTheOutputIsTheSame runs the program unchanged on three systems, on each
// twice: the first leaves nothing behind.
func TestTheOutputIsTheSame(t *testing.T) {
	server, err := natsserver.Start(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { natsserver.Stop(server) })
	var want string
	for _, url := range []string{
		"oms:badger://local/default?memory=true", "oms:nats://" + natsserver.Address(server) + "/default?sync=always", "oms:memory://local/default",
	} {
		for range 2 {
			var out bytes.Buffer
			if err := run(t.Context(), url, &out); err != nil {
				t.Fatalf("%s: %v", url, err)
			}
			if want == "" {
				want = out.String()
				t.Log("\n" + want)
			}
			if out.String() != want {
				t.Errorf("%s prints\n%s", url, out.String())
			}
		}
	}
	if !bytes.Contains([]byte(want), []byte("1707")) {
		t.Error("not all 1707 events are counted")
	}
}
