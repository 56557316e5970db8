package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/internal/sqlserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// lane is what keeps its order: a queue and a key.
type lane struct{ queue, key string }

// world is a database, a broker that fails at random, and what must come.
type world struct {
	db    *sql.DB
	ob    *Outbox
	relay *Relay
	lease *lease

	written   map[lane][]string // committed, in order
	published map[lane][]string
	times     map[string]int // how often each was published
	unmarked  bool           // what was published twice is no fault
	seq       int

	failAll   error
	failFrom  int             // messages of a lane from this one of the batch on fail for now
	failure   error           // with which they do
	permanent map[string]bool // bodies that are refused for good
}

// SendBatch accepts messages as a driver does that keeps the order: behind a
// message of a lane that fails for now, none of the lane is accepted.
func (w *world) SendBatch(_ context.Context, ms []*om.Message) ([]om.SendResult, error) {
	if w.failAll != nil {
		return nil, w.failAll
	}
	errs := make([]error, len(ms))
	stopped := map[lane]bool{}
	for i, m := range ms {
		l, body := lane{m.Destination, m.Ext.MessageKey}, string(m.Body)
		switch {
		case w.permanent[body]:
			errs[i] = om.NewError(om.CodeBodyTooLarge, "send", m.Destination, "")
		case stopped[l] || w.failure != nil && i >= w.failFrom:
			errs[i], stopped[l] = w.failure, true
		default:
			w.times[body]++
			if w.times[body] == 1 {
				w.published[l] = append(w.published[l], body)
			}
		}
	}
	return make([]om.SendResult, len(ms)), om.NewBatchError(errs)
}

func (w *world) write(t *rapid.T) {
	tx, err := w.db.Begin()
	check(t, err)
	defer tx.Rollback()
	commit := rapid.IntRange(0, 4).Draw(t, "commit") > 0
	for range rapid.IntRange(1, 5).Draw(t, "messages") {
		l := lane{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "queue"), rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key")}
		body := fmt.Sprint(w.seq)
		w.seq++
		m := om.NewMessage(l.queue, []byte(body))
		m.Ext.MessageKey = l.key
		check(t, w.ob.Write(t.Context(), tx, m))
		if commit {
			w.written[l] = append(w.written[l], body)
			w.permanent[body] = rapid.IntRange(0, 9).Draw(t, "poison") == 0
		}
	}
	if commit {
		check(t, tx.Commit())
	}
}

func (w *world) pass(t *rapid.T) {
	w.relay.limit = rapid.IntRange(1, 6).Draw(t, "limit")
	switch rapid.IntRange(0, 5).Draw(t, "fate") {
	case 0:
		w.failAll = om.NewError(om.CodeServiceUnavailable, "send", "", "")
	case 1:
		w.failFrom, w.failure = rapid.IntRange(0, 5).Draw(t, "from"), om.NewError(om.CodeTimeout, "send", "", "")
	case 2:
		w.failFrom, w.failure = rapid.IntRange(0, 5).Draw(t, "from"), om.NewError(om.CodeStorageError, "send", "", "")
	case 3: // another relay takes the lease
		var err error
		_, err = w.db.Exec("UPDATE oms_outbox_relay SET fence = fence + 1")
		check(t, err)
		w.unmarked = true
		if _, err := w.relay.pass(t.Context(), w.lease); err == errLost {
			w.takeLease(t)
		}
		return
	}
	_, _ = w.relay.pass(t.Context(), w.lease)
	w.failAll, w.failure = nil, nil
}

func (w *world) takeLease(t *rapid.T) {
	_, err := w.db.Exec("UPDATE oms_outbox_relay SET expires_at = 0")
	check(t, err)
	w.lease, err = w.ob.acquire(t.Context(), time.Hour)
	check(t, err)
}

// finish publishes the rest and compares.
func (w *world) finish(t *rapid.T) {
	w.relay.limit = maxRows
	w.takeLease(t)
	for done := 1; done > 0; {
		var err error
		done, err = w.relay.pass(t.Context(), w.lease)
		check(t, err)
	}
	failed, err := w.ob.Failed(t.Context(), 1<<20)
	check(t, err)
	aside := map[string]bool{}
	for _, f := range failed {
		aside[string(f.Message.Body)] = true
	}
	for l, all := range w.written {
		var want []string
		for _, body := range all {
			if w.permanent[body] != aside[body] {
				t.Fatalf("message %s: refused for good %v, set aside %v", body, w.permanent[body], aside[body])
			}
			if !w.permanent[body] {
				want = append(want, body)
			}
			if n := w.times[body]; n > 1 && !w.unmarked {
				t.Fatalf("message %s was published %d times", body, n)
			}
		}
		if fmt.Sprint(w.published[l]) != fmt.Sprint(want) {
			t.Fatalf("%+v: published %v, written %v", l, w.published[l], want)
		}
	}
	for l := range w.published {
		if w.written[l] == nil {
			t.Fatalf("%+v was rolled back", l)
		}
	}
}

func check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRelayKeepsOrder: whatever transactions, batches, failures of the broker
// and changes of the relay, each lane is published whole and in order of
// writing, and twice only where a relay lost its lease.
func TestRelayKeepsOrder(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		db, err := sql.Open("sqlite", sqlserver.SQLite(filepath.Join(dir, fmt.Sprint(n)))+"&_pragma=synchronous(0)")
		check(t, err)
		defer db.Close()
		check(t, Migrate(t.Context(), db, Options{}))
		ob, err := New(t.Context(), db, Options{})
		check(t, err)
		w := &world{db: db, ob: ob, written: map[lane][]string{}, published: map[lane][]string{}, times: map[string]int{}, permanent: map[string]bool{}}
		w.relay, err = NewRelay(ob, w, RelayOptions{Logger: slog.New(slog.DiscardHandler)})
		check(t, err)
		w.takeLease(t)
		t.Repeat(map[string]func(*rapid.T){"write": w.write, "pass": w.pass})
		w.finish(t)
	})
}
