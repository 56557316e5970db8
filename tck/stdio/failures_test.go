//go:build unix

package stdio

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestOpenFails(t *testing.T) {
	for role, want := range map[string]struct {
		code  om.Code
		parts []string
	}{
		"silent":        {om.CodeServiceUnavailable, []string{"did not answer hello within 300ms", "killed"}},
		"exits-at-once": {om.CodeServiceUnavailable, []string{"output ended", "exit status 3", "no licence"}},
		"protocol-2":    {om.CodeIncompatibleVersion, []string{"version 2 of the protocol"}},
		"no-handle":     {om.CodeServiceUnavailable, []string{"no handle"}},
		"refuses":       {om.CodeMalformedURL, []string{"no such option: x"}},
		"bad-version":   {om.CodeMalformedVersion, []string{`"one"`}},
		"other-version": {om.CodeIncompatibleVersion, []string{"specification 2.0.0"}},
	} {
		t.Run(role, func(t *testing.T) {
			c := command(role)
			if role == "silent" {
				c.StartTimeout = 300 * time.Millisecond
			}
			d := Driver("child", c)
			_, err := d.Open(t.Context(), config(t, ""))
			fails(t, err, want.code, append(want.parts, "open")...)
			if version := want.code == om.CodeMalformedVersion || want.code == om.CodeIncompatibleVersion; version != errors.Is(err, om.CodeDriverUnavailable) {
				t.Errorf("it matches CodeDriverUnavailable: %v", !version)
			}
			if d.Info() != (spi.Info{Name: "child", Version: "unknown", SpecVersion: om.SpecVersion}) {
				t.Error(d.Info())
			}
		})
	}
}

func TestOpenOfAMissingProgram(t *testing.T) {
	_, err := Driver("child", Command{Path: filepath.Join(t.TempDir(), "nothing")}).Open(t.Context(), config(t, ""))
	fails(t, err, om.CodeDriverUnavailable, "nothing", "no such file")
}

func TestOpenWithAnEndedContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	cfg := config(t, "")
	cfg.Credentials = func(context.Context) (spi.Credentials, error) {
		stop()
		return spi.Credentials{}, nil
	}
	if _, err := Driver("child", command("silent")).Open(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Driver("child", command("silent")).Open(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestBrokenProtocol lets a child break the protocol at its third answer: the
// call that waits and each later one tell so.
func TestBrokenProtocol(t *testing.T) {
	for role, parts := range map[string][]string{
		"exits-later":   {"output ended", "exit status 4", `boom\nbang`},
		"garbage":       {"not JSON", `"Traceback (most recent`, `xxx"…; it was killed`},
		"null":          {"no answer", `"null"`},
		"wrong-type":    {"no answer", "cannot unmarshal", `three`},
		"not-utf8":      {"not UTF-8", `\xff`},
		"deep":          {"nested more than 64", "[[["},
		"unknown-id":    {"answer to id 12345"},
		"unfinished":    {"without a newline", `{\"id\":`, "exit status 0"},
		"overlong":      {"too long", "1111", "killed"},
		"closes-stdout": {"output ended", "killed"},
		"asks-nonsense": {"no check"},
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			c := opened(t, command(role))
			_, err := c.NewSender(t.Context(), spi.SenderConfig{})
			fails(t, err, om.CodeServiceUnavailable, append(parts, "new sender", "driver child")...)
			fails(t, c.Ping(t.Context()), om.CodeServiceUnavailable, append(parts, "ping")...)
			ok(t, closeTwice(c))
			fails(t, c.Ping(t.Context()), om.CodeClosed)
		})
	}
}

// closeTwice returns the error of the second Close; the first tells the failure.
func closeTwice(c *conn) error {
	if err := c.Close(context.Background()); om.CodeOf(err) != om.CodeServiceUnavailable {
		return errors.Join(errors.New("the first Close"), err)
	}
	return c.Close(context.Background())
}

// TestBrokenLater is for what shows after an answer only.
func TestBrokenLater(t *testing.T) {
	for role, part := range map[string]string{
		"twice": "which waits for none", "asks-too-much": "a question too many", "does-not-read": "does not read its input",
	} {
		t.Run(role, func(t *testing.T) {
			c := opened(t, command(role))
			c.grace = 10 * time.Millisecond
			for !c.isDown() { // each call may come before the child has done it
				ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
				_, _ = c.NewSender(ctx, spi.SenderConfig{Checker: patient})
				stop()
			}
			fails(t, c.Ping(t.Context()), om.CodeServiceUnavailable, part)
		})
	}
}

// patient is a checker that answers when it must.
func patient(ctx context.Context, _ *om.Message) om.TxVerdict {
	<-ctx.Done()
	return om.TxUnknown
}

func TestAllPendingCallsFail(t *testing.T) {
	c := opened(t, command("exits-after-20"))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := c.Ping(t.Context()); om.CodeOf(err) != om.CodeServiceUnavailable || !strings.Contains(err.Error(), "exit status 6") {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestWrongCounts(t *testing.T) {
	for name, do := range map[string]func(*conn) error{
		"1 errors for 2 receipts": func(c *conn) error {
			_, err := receives(t, c).Ack(t.Context(), []spi.Receipt{receipt("1"), receipt("2")})
			return err
		},
		"0 outcomes for 1 messages": func(c *conn) error {
			_, err := sends(t, c).Send(t.Context(), []*om.Message{om.NewMessage("q", nil)})
			return err
		},
		"delivery 0 has no receipt": func(c *conn) error {
			_, err := receives(t, c).Receive(t.Context(), 1)
			return err
		},
		"no outcome": func(c *conn) error {
			_, _, err := sends(t, c).(spi.Transactor).Prepare(t.Context(), om.NewMessage("q", nil), om.TransactionCheck{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := opened(t, command("wrong-counts"))
			fails(t, do(c), om.CodeServiceUnavailable, name)
			fails(t, c.Ping(t.Context()), om.CodeServiceUnavailable, name)
		})
	}
}

func TestHang(t *testing.T) {
	k := command("deaf")
	k.StartTimeout = time.Second
	c := opened(t, k)
	c.grace = 50 * time.Millisecond
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-c.down
	fails(t, c.Ping(t.Context()), om.CodeServiceUnavailable, "hangs", "killed")
}

func TestCloseKills(t *testing.T) {
	for role, part := range map[string]string{
		"deaf":       "did not answer close within 500ms",
		"never-ends": "did not end in time",
		"ends-badly": "exit status 5",
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			k := command(role)
			k.CloseGrace = 500 * time.Millisecond
			c := opened(t, k)
			fails(t, c.Close(t.Context()), om.CodeServiceUnavailable, part, "close")
			ok(t, c.Close(t.Context()))
			fails(t, c.Ping(t.Context()), om.CodeClosed)
		})
	}
}

func TestCloseGoesOnWithoutItsCaller(t *testing.T) {
	k := command("never-ends")
	k.CloseGrace = 500 * time.Millisecond
	c := opened(t, k)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-c.over
}

// TestCloseEndsWhatTheChildStarted waits for the end of a pipe that only a
// process which the child started holds open.
func TestCloseEndsWhatTheChildStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	ok(t, syscall.Mkfifo(path, 0o600))
	fifo, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	ok(t, err)
	defer fifo.Close()
	k := command("leaves-a-child")
	k.Dir = filepath.Dir(path)
	ok(t, opened(t, k).Close(t.Context()))
	ok(t, fifo.SetReadDeadline(time.Now().Add(20*time.Second)))
	if n, err := fifo.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the process lives on: %v", err)
	}
}

func TestG39_secrets_are_hidden(t *testing.T) {
	cfg := config(t, "")
	cfg.Credentials = func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: "me", AccountKey: `s3cret"key`, Token: "t0ken"}, nil
	}
	c, err := Driver("child", command("secret")).Open(t.Context(), cfg)
	ok(t, err)
	err = c.(spi.Pinger).Ping(t.Context())
	fails(t, err, om.CodeServiceUnavailable, "the key is [hidden], the token [hidden]")
	if closeErr := c.Close(t.Context()); strings.Contains(closeErr.Error()+err.Error(), "s3cret") {
		t.Error(closeErr)
	}
}
