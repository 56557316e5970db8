package spi_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

type part struct {
	spi.Life
	err error
}

func (p *part) Close(ctx context.Context) error { return p.End(ctx, func() error { return p.err }) }

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l spi.Life
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Begin(t.Context(), "send", "q"); err != nil {
			t.Error(err)
		}
		if err := l.Begin(gone, "send", "q"); !errors.Is(err, context.Canceled) {
			t.Errorf("G03: %v", err)
		}
		one, two, three := &part{err: errors.New("one")}, &part{err: errors.New("two")}, &part{err: errors.New("three")}
		for _, p := range []*part{one, two, three} {
			if err := l.Own(p); err != nil {
				t.Error(err)
			}
		}
		l.Disown(three)
		if n := len(slices.Collect(l.Owned())); n != 2 {
			t.Errorf("it owns %d", n)
		}
		within, free := l.Within(t.Context())
		defer free()
		lasts := 0
		last := func() error { lasts++; return errors.New("last") }
		for range 2 {
			err := l.End(t.Context(), last)
			if err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") || !strings.Contains(err.Error(), "last") || strings.Contains(err.Error(), "three") {
				t.Errorf("the errors of all: %v", err)
			}
		}
		synctest.Wait()
		select {
		case <-l.Done():
		default:
			t.Error("not done")
		}
		if within.Err() == nil || lasts != 1 {
			t.Errorf("G10: within %v, %d calls of last", within.Err(), lasts)
		}
		if err := l.Begin(gone, "send", "q"); !errors.Is(err, om.CodeClosed) {
			t.Errorf("G11: %v", err)
		}
		if err := l.Own(three); !errors.Is(err, om.CodeClosed) {
			t.Error(err)
		}
		if one.Begin(t.Context(), "", "") == nil || three.Begin(t.Context(), "", "") != nil {
			t.Error("what is owned must end, what is not must not")
		}
	})
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		go1, dropped := make(chan struct{}), 0
		slow := func() (int, error) { <-go1; return 7, nil }
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n, err := spi.Bound(ctx, slow, func(int) { dropped++ }); n != 0 || !errors.Is(err, context.Canceled) {
			t.Error(n, err)
		}
		close(go1)
		synctest.Wait()
		if dropped != 1 {
			t.Errorf("dropped %d times", dropped)
		}
		if n, err := spi.Bound(t.Context(), slow, func(int) { dropped++ }); n != 7 || err != nil || dropped != 1 {
			t.Error(n, err, dropped)
		}
	})
}

func TestNamesAndTokens(t *testing.T) {
	for _, bad := range []string{"", "\xff", strings.Repeat("x", spi.MaxName+1)} {
		if err := spi.CheckName("bind", "group", bad); !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	long := strings.Repeat("long", 50)
	names := []string{"orders", "Orders", "or.ders", "or=2Eders", "or~ders", "заказы", long, long + "r", strings.Repeat("x", spi.MaxToken), strings.Repeat("x", spi.MaxToken+1)}
	seen := map[string]string{}
	for _, n := range names {
		token := spi.Token(n)
		if err := spi.CheckName("bind", "group", n); err != nil {
			t.Error(err)
		}
		if len(token) > spi.MaxToken || strings.Trim(token, "=-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("the token of %q is %q", n, token)
		}
		if other, taken := seen[token]; taken {
			t.Errorf("%q and %q have the token %q", n, other, token)
		}
		seen[token] = n
	}
	if spi.Token("orders_1-a") != "orders_1-a" || spi.Token("a.b") != "a=2Eb" {
		t.Error(spi.Token("orders_1-a"), spi.Token("a.b"))
	}
}

func TestR028_admit(t *testing.T) {
	caps := om.Capabilities{om.CapPartitions}
	m := om.NewMessage("q", []byte("12345"))
	for n, good := range map[int32]bool{-1: false, 0: true, 2: true, 3: false} {
		m.Ext.Partition = om.Some(n)
		if err := (spi.Limits{}).Admit("send", m, caps, 3); good != (err == nil) || !good && !errors.Is(err, om.CodeBadParameter) {
			t.Errorf("partition %d of 3: %v", n, err)
		}
	}
	m.Ext.Partition = om.Some(int32(0))
	if err := (spi.Limits{}).Admit("send", m, nil, 3); !errors.Is(err, om.ErrUnsupported) {
		t.Error(err)
	}
	if err := (spi.Limits{Body: 4}).Admit("send", m, caps, 3); !errors.Is(err, om.CodeBodyTooLarge) {
		t.Error(err)
	}
}

func TestSecrets(t *testing.T) {
	u, err := om.ParseURL("oms:x://alice@a/r")
	if err != nil {
		t.Fatal(err)
	}
	give := func(c spi.Credentials) func(context.Context) (spi.Credentials, error) {
		return func(context.Context) (spi.Credentials, error) { return c, nil }
	}
	for _, c := range []struct {
		ask  func(context.Context) (spi.Credentials, error)
		want spi.Credentials
	}{
		{nil, spi.Credentials{AccountID: "alice"}},
		{give(spi.Credentials{AccountKey: "k"}), spi.Credentials{AccountID: "alice", AccountKey: "k"}},
		{give(spi.Credentials{AccountID: "bob"}), spi.Credentials{AccountID: "bob"}},
		{give(spi.Credentials{Token: "t"}), spi.Credentials{Token: "t"}},
	} {
		if got, err := (spi.Config{URL: u, Credentials: c.ask}).Secrets(t.Context()); got != c.want || err != nil {
			t.Errorf("%+v instead of %+v, %v", got, c.want, err)
		}
	}
}
