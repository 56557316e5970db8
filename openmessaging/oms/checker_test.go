package oms_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// TestR083_bad_checkers: a checker that panics, or does not return, does not
// know; it holds up neither the driver nor Close for ever, and too many of them
// are not begun.
func TestR083_bad_checkers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const most = 256
		f := newFake("q")
		free, running := make(chan struct{}), make(chan struct{}, 2*most)
		var logged bytes.Buffer
		ap := open(t, f, oms.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		p := producer(t, ap, om.WithTransactionChecker(func(ctx context.Context, m *om.Message) om.TxVerdict {
			switch string(m.Body) {
			case "panics":
				panic("the test's checker panics")
			case "obeys":
				<-ctx.Done()
				return om.TxCommit // it has just found out
			case "hangs":
				running <- struct{}{}
				<-free
			}
			return om.TxCommit
		}))
		ask := func(body string, want om.TxVerdict, after time.Duration) {
			t.Helper()
			began := time.Now()
			if got := f.checker(t.Context(), msg("q", body)); got != want || time.Since(began) != after {
				t.Errorf("%s: %v after %v, want %v after %v", body, got, time.Since(began), want, after)
			}
		}
		ask("good", om.TxCommit, 0)
		ask("panics", om.TxUnknown, 0)
		if !strings.Contains(logged.String(), "the test's checker panics") {
			t.Errorf("the logger of the access point was told %q", logged.String())
		}
		ask("obeys", om.TxCommit, 10*time.Second)
		ask("hangs", om.TxUnknown, 11*time.Second)
		ask("good", om.TxCommit, 0)
		for range most {
			go f.checker(t.Context(), msg("q", "hangs"))
		}
		synctest.Wait()
		if n := len(running); n != most {
			t.Errorf("%d checkers run", n)
		}
		ask("good", om.TxUnknown, 10*time.Second)
		ok(t, p.Close(t.Context()))
		close(free)
		synctest.Wait()
		ask("good", om.TxCommit, 0)
	})
}
