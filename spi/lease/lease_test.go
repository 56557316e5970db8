package lease_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/spi/lease"
)

// system writes down what it is told.
type system struct {
	lease.Keeper[int]
	fetch func(ctx context.Context, limit int) error

	mu   sync.Mutex
	said []string
	fail error
}

func (s *system) Fetch(ctx context.Context, limit int) error { return s.fetch(ctx, limit) }

func (s *system) Tell(_ context.Context, what om.Action, ds []*lease.Delivery[int], delay time.Duration) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(ds))
	for i, d := range ds {
		s.said = append(s.said, fmt.Sprintf("%v %d after %v", what, d.Handle, delay))
		errs[i] = s.fail
	}
	return errs
}

// told returns what the system was told since the last time.
func (s *system) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return said
}

func (s *system) failing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *system) arrive(n int) {
	s.Arrive(n, spi.Received{Message: om.NewMessage("q", nil), Offset: int64(n)}, nil)
}

// bubble runs a test with a system in whose Fetch n messages come at once, and
// none after that.
func bubble(t *testing.T, n int, cfg lease.Config, test func(t *testing.T, s *system)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &system{}
		s.fetch = func(ctx context.Context, _ int) error {
			if n == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			for ; n > 0; n-- {
				s.arrive(n)
			}
			return nil
		}
		cfg.Queue = "q"
		s.Init(s, cfg)
		test(t, s)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

func receive(t *testing.T, s *system, n int) (receipts []spi.Receipt) {
	t.Helper()
	for len(receipts) < n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		got, err := s.Receive(ctx, n-len(receipts))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			receipts = append(receipts, r.Receipt)
		}
	}
	return receipts
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v instead of %v", what, got, want)
	}
}

func one(errs []error, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(errs...)
}

func TestG23_a_lease_that_has_ended_settles_nothing(t *testing.T) {
	bubble(t, 1, lease.Config{Lease: 10 * time.Second, Wait: time.Minute}, func(t *testing.T, s *system) {
		rs := receive(t, s, 1)
		time.Sleep(9 * time.Second)
		same(t, "while the lease lasts", s.told())
		if err := one(s.Extend(t.Context(), rs, 10*time.Second)); err != nil {
			t.Error(err)
		}
		same(t, "extended", s.told(), "extend 1 after 0s")
		time.Sleep(9 * time.Second)
		same(t, "after the first end", s.told())
		time.Sleep(2 * time.Second)
		same(t, "after the lease", s.told(), "nack 1 after 0s")
		for _, settle := range []func(context.Context, []spi.Receipt) ([]error, error){
			s.Ack, func(ctx context.Context, rs []spi.Receipt) ([]error, error) { return s.Nack(ctx, rs, 0) },
			func(ctx context.Context, rs []spi.Receipt) ([]error, error) { return s.Extend(ctx, rs, time.Hour) },
		} {
			if err := one(settle(t.Context(), rs)); !errors.Is(err, om.CodeStaleReceipt) {
				t.Errorf("stale: %v", err)
			}
		}
		same(t, "a stale receipt", s.told())
	})
}

func TestG22_an_acknowledgement_may_be_repeated(t *testing.T) {
	bubble(t, 2, lease.Config{Lease: time.Second}, func(t *testing.T, s *system) {
		rs := receive(t, s, 2)
		for range 2 {
			if err := one(s.Ack(t.Context(), rs[:1])); err != nil {
				t.Error(err)
			}
		}
		same(t, "acknowledged twice", s.told(), "ack 2 after 0s")
		if err := one(s.Nack(t.Context(), rs[1:], time.Minute)); err != nil {
			t.Error(err)
		}
		if err := one(s.Ack(t.Context(), rs[1:])); !errors.Is(err, om.CodeStaleReceipt) {
			t.Errorf("acknowledged after it was given back: %v", err)
		}
		same(t, "given back", s.told(), "nack 1 after 1m0s")
		if _, err := s.Ack(t.Context(), []spi.Receipt{"foreign"}); !errors.Is(err, om.CodeBadParameter) {
			t.Error(err)
		}
		s.failing(om.NewError(om.CodeStaleReceipt, "ack", "q", ""))
	})
}

// TestG33_giving_back_is_tried_again has the system away when a lease ends.
func TestG33_giving_back_is_tried_again(t *testing.T) {
	bubble(t, 2, lease.Config{Lease: 10 * time.Second, Wait: time.Minute}, func(t *testing.T, s *system) {
		receive(t, s, 1)
		s.failing(om.CodeServiceUnavailable)
		time.Sleep(20 * time.Second)
		if len(s.told()) < 3 {
			t.Error("it was not tried again")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := s.Receive(ctx, 1); err == nil {
			t.Errorf("%d came, which is to be given back", got[0].Offset)
		}
		s.told()
		s.failing(nil)
		time.Sleep(time.Second)
		same(t, "when the system is back", s.told(), "nack 2 after 0s", "nack 1 after 0s")
		time.Sleep(time.Minute)
		same(t, "after that", s.told())
	})
}

func TestTheSystemHoldsLongLeases(t *testing.T) {
	bubble(t, 1, lease.Config{Lease: time.Hour, Wait: 6 * time.Second}, func(t *testing.T, s *system) {
		rs := receive(t, s, 1)
		time.Sleep(time.Minute)
		if n := len(s.told()); n < 20 || n > 60 {
			t.Errorf("told %d times in ten times the system's own time", n)
		}
		s.failing(om.CodeServiceUnavailable)
		time.Sleep(6 * time.Second)
		s.failing(nil)
		s.told()
		if err := one(s.Ack(t.Context(), rs)); !errors.Is(err, om.CodeStaleReceipt) {
			t.Errorf("the system may have delivered it again: %v", err)
		}
		time.Sleep(time.Minute)
		same(t, "what is not ours any more", s.told())
	})
}

func TestWhatNobodyReceivesIsGivenBack(t *testing.T) {
	bubble(t, 3, lease.Config{Lease: time.Hour}, func(t *testing.T, s *system) {
		receive(t, s, 1)
		time.Sleep(lease.ReadyTime / 2)
		receive(t, s, 1) // it was ready
		time.Sleep(lease.ReadyTime)
		same(t, "the third", s.told(), "nack 1 after 0s")
	})
}

func TestR061_close_gives_back(t *testing.T) {
	bubble(t, 3, lease.Config{Lease: time.Hour}, func(t *testing.T, s *system) {
		rs := receive(t, s, 2)
		if err := one(s.Ack(t.Context(), rs[:1])); err != nil {
			t.Error(err)
		}
		s.told()
		blocked := make(chan error, 1)
		s.fetch = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		receive(t, s, 1)
		go func() {
			_, err := s.Receive(t.Context(), 1)
			blocked <- err
		}()
		synctest.Wait()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-blocked; !errors.Is(err, om.CodeClosed) {
			t.Errorf("G10: %v", err)
		}
		same(t, "closed", s.told(), "nack 2 after 0s", "nack 1 after 0s")
		s.arrive(9)
		time.Sleep(time.Second)
		same(t, "too late", s.told(), "nack 9 after 0s")
		if _, err := s.Ack(t.Context(), rs); !errors.Is(err, om.CodeClosed) {
			t.Errorf("G11: %v", err)
		}
	})
}

func TestR068_a_receive_that_ends_loses_nothing(t *testing.T) {
	bubble(t, 0, lease.Config{Lease: time.Hour}, func(t *testing.T, s *system) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Receive(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("G04: %v", err)
		}
		s.arrive(1)
		receive(t, s, 1)
		s.Forget()
		same(t, "forgotten", s.told())
	})
}

// TestG04_close_waits_for_what_is_on_its_way has messages come while the
// receiver closes, and after it has given up waiting for them.
func TestG04_close_waits_for_what_is_on_its_way(t *testing.T) {
	for name, wait := range map[string]time.Duration{"in time": time.Hour, "too late": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &system{}
				s.Init(s, lease.Config{Queue: "q", Lease: time.Hour})
				s.Late.Add(1)
				time.AfterFunc(time.Minute, func() {
					s.arrive(1)
					s.arrive(2)
					s.Late.Done()
				})
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				if err := s.Close(ctx); (err == nil) != (wait > time.Minute) {
					t.Error(err)
				}
				if wait < time.Minute {
					same(t, "before they come", s.told())
					time.Sleep(time.Hour)
				}
				same(t, "given back", s.told(), "nack 1 after 0s", "nack 2 after 0s")
			})
		})
	}
}

// TestFetchInVain has a system that comes back at once and brings nothing.
func TestFetchInVain(t *testing.T) {
	bubble(t, 0, lease.Config{Lease: time.Hour}, func(t *testing.T, s *system) {
		n := 0
		s.fetch = func(context.Context, int) error {
			if n++; n == 200 {
				s.arrive(1)
			}
			return nil
		}
		began := time.Now()
		receive(t, s, 1)
		if took := time.Since(began); took < 500*time.Millisecond || took > 2*time.Second {
			t.Errorf("200 questions took %v", took)
		}
	})
}

func TestUnreadableMessages(t *testing.T) {
	bubble(t, 0, lease.Config{Lease: time.Second}, func(t *testing.T, s *system) {
		bad := errors.New("bad")
		s.Arrive(1, spi.Received{}, bad)
		if _, err := s.Receive(t.Context(), 5); !errors.Is(err, bad) {
			t.Error(err)
		}
		s.Arrive(2, spi.Received{}, bad)
		s.arrive(3)
		if got, err := s.Receive(t.Context(), 5); len(got) != 1 || got[0].Offset != 3 || err != nil {
			t.Error(got, err)
		}
		time.Sleep(2 * time.Second)
		same(t, "unreadable ones", s.told(), "nack 1 after 0s", "nack 2 after 0s", "nack 3 after 0s")
	})
}

// TestMany has more come and go than are kept.
func TestMany(t *testing.T) {
	bubble(t, 0, lease.Config{Lease: time.Hour, Wait: time.Minute}, func(t *testing.T, s *system) {
		for i := range 5000 {
			s.arrive(i)
			rs := receive(t, s, 1)
			if i%7 == 0 {
				continue
			}
			if err := one(s.Ack(t.Context(), rs)); err != nil {
				t.Fatal(err)
			}
		}
		s.told()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(s.told()); n != 715 {
			t.Errorf("%d were given back", n)
		}
	})
}
