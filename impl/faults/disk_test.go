package faults_test

import (
	"fmt"
	"math"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// TestReserve opens stores whose reserve is just above and just below the free
// space of the disk.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	free := freeSpace(t, dir)
	if free == math.MaxInt64 {
		t.Skip("free space is not known on this system")
	}
	for _, c := range []struct {
		name    string
		reserve int64
		open    om.Code
		send    om.Code
	}{
		{"less", free - free/4, 0, 0},
		{"more", free + free/4, 0, om.CodeStorageBusy},
		{"twice", 2*free + free/4, om.CodeStorageBusy, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			func() {
				first := mustConnect(t, dir)
				if err := optional[spi.Admin](first).CreateQueue(t.Context(), om.QueueConfig{Name: "q"}); err != nil {
					t.Fatal(err)
				}
				if err := first.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}()
			conn, err := connect(t.Context(), dir, "reserve", fmt.Sprint(c.reserve))
			if om.CodeOf(err) != c.open {
				t.Errorf("open: %v", err)
			}
			if err != nil {
				return
			}
			defer func() {
				if err := conn.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			s, err := conn.NewSender(t.Context(), spi.SenderConfig{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = send(t.Context(), s, message("q", 0, []byte("x")))
			if om.CodeOf(err) != c.send || om.Retryable(err) != (c.send != 0) {
				t.Errorf("send: %v", err)
			}
			// What does not carry messages may use half of the reserve.
			if err := optional[spi.Admin](conn).CreateQueue(t.Context(), om.QueueConfig{Name: "other"}); err != nil {
				t.Errorf("create queue: %v", err)
			}
		})
	}
}
