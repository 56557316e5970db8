package auth

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func (w *world) quota(q Quota) {
	w.t.Helper()
	w.change(func(d *Document) error { d.Users["alice"].Quota = &q; return nil })
}

func (w *world) connect(p *Principal) *Session {
	w.t.Helper()
	s, err := w.quotas.Connect(p)
	w.must(err)
	return s
}

func TestQuotaConnections(t *testing.T) {
	w := newWorld(t)
	p := w.alice()
	w.quota(Quota{Connections: 2})
	one, two := w.connect(p), w.connect(p)
	_, err := w.quotas.Connect(p)
	wantCode(t, err, om.CodeServiceUnavailable)
	if !om.Retryable(err) {
		t.Error(err)
	}
	bob := w.connect(&Principal{Name: "bob"}) // has no bound
	one.Close()
	one.Close()
	three := w.connect(p)
	_, err = w.quotas.Connect(p)
	wantCode(t, err, om.CodeServiceUnavailable)
	w.quota(Quota{Connections: 3})
	four := w.connect(p)
	for _, s := range []*Session{two, three, four, bob} {
		s.Close()
	}
	if len(w.quotas.users) != 0 {
		t.Error(w.quotas.users)
	}
	// The default is that of all who have none, also of subjects of tokens.
	w.change(func(d *Document) error { d.Quota.Connections = 1; return nil })
	defer w.connect(&Principal{Name: "stranger"}).Close()
	_, err = w.quotas.Connect(&Principal{Name: "stranger"})
	wantCode(t, err, om.CodeServiceUnavailable)
}

// TestQuotaRate publishes as fast as it may for a minute.
func TestQuotaRate(t *testing.T) {
	for _, c := range []struct {
		quota           Quota
		messages, bytes int // of a call
	}{
		{Quota{MessagesPerSecond: 100}, 1, 10},
		{Quota{MessagesPerSecond: 100}, 30, 10},
		{Quota{MessagesPerSecond: 100}, 450, 10}, // a batch beyond the burst
		{Quota{BytesPerSecond: 100_000}, 1, 1000},
		{Quota{BytesPerSecond: 100_000}, 1, 333_333},
		{Quota{MessagesPerSecond: 100, BytesPerSecond: 100_000}, 1, 5000},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.directory.Close()
			p := w.alice()
			w.quota(c.quota)
			messages, bytes := 0, 0
			s := w.connect(p)
			began := time.Now()
			for time.Since(began) < time.Minute {
				wait, err := s.Take(c.messages, c.bytes)
				w.must(err)
				messages, bytes = messages+c.messages, bytes+c.bytes
				time.Sleep(wait)
				if messages%7 == 0 { // connecting anew gains nothing
					s.Close()
					s = w.connect(p)
				}
			}
			s.Close()
			check := func(what string, got, call int, perSecond int64) bool {
				want := 61 * int(perSecond) // a minute and the burst
				if perSecond > 0 && got > want+2*call {
					t.Errorf("%+v: %d %s in a minute, the quota is %d", c, got, what, want)
				}
				return perSecond > 0 && got > want-2*call
			}
			m, b := check("messages", messages, c.messages, c.quota.MessagesPerSecond), check("bytes", bytes, c.bytes, c.quota.BytesPerSecond)
			if !m && !b {
				t.Errorf("%+v: only %d messages, %d bytes in a minute", c, messages, bytes)
			}
		})
	}
}

func TestQuotaRateRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.directory.Close()
		w.quota(Quota{MessagesPerSecond: 10})
		s, other := w.connect(w.alice()), w.connect(w.alice())
		defer s.Close()
		defer other.Close()
		wait, err := s.Take(70, 1<<30)
		if err != nil || wait != 0 {
			t.Fatal(wait, err)
		}
		_, err = other.Take(1, 1) // six seconds are owed, by the user
		wantCode(t, err, om.CodeServiceUnavailable)
		if want := `openmessaging: quota: service not available (1503): the user "alice" is over its quota of 10 messages/s; try again in 6s, or raise the quota`; err.Error() != want || !om.Retryable(err) {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if wait, err := other.Take(10, 1); err != nil || wait != 4*time.Second {
			t.Error(wait, err)
		}
		// A higher quota helps at once, none altogether.
		w.quota(Quota{MessagesPerSecond: 1000})
		if wait, err := other.Take(1, 1); err != nil || wait > 50*time.Millisecond || wait < 40*time.Millisecond {
			t.Error(wait, err)
		}
		w.quota(Quota{})
		if wait, err := other.Take(1<<40, 1<<50); err != nil || wait != 0 {
			t.Error(wait, err)
		}
	})
}

func TestQuotaInFlight(t *testing.T) {
	w := newWorld(t)
	w.quota(Quota{InFlight: 10})
	s, other := w.connect(w.alice()), w.connect(w.alice())
	w.must(s.Hold(6))
	w.must(other.Hold(4))
	err := other.Hold(1)
	wantCode(t, err, om.CodeMaxInFlight)
	if !om.Retryable(err) {
		t.Error(err)
	}
	other.Release(100) // no more than it holds
	other.Release(-5)
	wantCode(t, other.Hold(5), om.CodeMaxInFlight)
	w.must(other.Hold(4))
	s.Close()
	s.Close()
	w.must(other.Hold(6))
	wantCode(t, s.Hold(1), om.CodeClosed)
	wantCode(t, other.Hold(math.MaxInt), om.CodeMaxInFlight)
	w.quota(Quota{InFlight: 5}) // what is held stays
	wantCode(t, other.Hold(0), om.CodeMaxInFlight)
	other.Close()
	third := w.connect(w.alice())
	defer third.Close()
	w.must(third.Hold(5))
}

func TestQuotaMemoryIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range idleUsers + 1000 {
		w.connect(&Principal{Name: fmt.Sprint("user", i)}).Close()
	}
	if len(w.quotas.users) != 0 || w.quotas.idle.Len() != idleUsers {
		t.Error(len(w.quotas.users), w.quotas.idle.Len())
	}
}

func TestQuotaManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.quota(Quota{Connections: 50, InFlight: 100, MessagesPerSecond: 1 << 40})
	p := w.alice()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				s, err := w.quotas.Connect(p)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = s.Take(1, 1)
				if s.Hold(3) == nil {
					s.Release(1)
				}
				s.Close()
			}
		})
	}
	all.Wait()
	s := w.connect(p)
	defer s.Close()
	if s.usage.inFlight != 0 || s.usage.connections != 1 {
		t.Error(s.usage.inFlight, s.usage.connections)
	}
}

func BenchmarkQuota(b *testing.B) {
	for name, q := range map[string]Quota{"none": {}, "rates": {MessagesPerSecond: 1 << 40, BytesPerSecond: 1 << 50}} {
		b.Run("take/"+name, func(b *testing.B) {
			d := &Directory{}
			d.now.Store(newSnapshot(&Document{Quota: q}))
			s, err := NewQuotas(d).Connect(&Principal{Name: "alice"})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Take(1, 128); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("hold", func(b *testing.B) {
		d := &Directory{}
		d.now.Store(newSnapshot(&Document{Quota: Quota{InFlight: 10}}))
		s, _ := NewQuotas(d).Connect(&Principal{Name: "alice"})
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Hold(1); err != nil {
				b.Fatal(err)
			}
			s.Release(1)
		}
	})
}
