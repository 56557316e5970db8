//go:build unix

package stdio

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// roleEnv makes the test binary a child with that role.
const roleEnv = "OMS_STDIO_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		roles[role](&talk{in: bufio.NewReader(os.Stdin)})
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func command(role string) Command {
	return Command{
		Path: os.Args[0], Env: append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0"),
		StartTimeout: 20 * time.Second, CloseGrace: 20 * time.Second,
	}
}

func config(t *testing.T, options string) spi.Config {
	t.Helper()
	u, err := om.ParseURL("oms:child://me@local:7,other/r" + options)
	ok(t, err)
	return spi.Config{URL: u, Logger: slog.New(slog.DiscardHandler)}
}

// opened starts a child and checks when the test is over that nothing of it is left.
func opened(t *testing.T, c Command) *conn {
	t.Helper()
	v, err := Driver("child", c).Open(t.Context(), config(t, ""))
	ok(t, err)
	k := v.(*conn)
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil && om.CodeOf(err) != om.CodeServiceUnavailable {
			t.Error(err)
		}
		if err := syscall.Kill(k.child.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the child is there after Close: %v", err)
		}
	})
	return k
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails checks an error's code and that its text has all the parts.
func fails(t *testing.T, err error, code om.Code, parts ...string) {
	t.Helper()
	if om.CodeOf(err) != code || err == nil {
		t.Fatalf("code %d expected: %v", code, err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q is missing in: %v", p, err)
		}
	}
}

func sends(t *testing.T, c spi.Conn) spi.Sender {
	t.Helper()
	s, err := c.NewSender(t.Context(), spi.SenderConfig{})
	ok(t, err)
	return s
}

func receives(t *testing.T, c spi.Conn) spi.Receiver {
	t.Helper()
	r, err := c.NewReceiver(t.Context(), spi.ReceiverConfig{Queue: "q", Group: "g", Lease: time.Minute})
	ok(t, err)
	return r
}

// talk is the child's side of the protocol.
type talk struct{ in *bufio.Reader }

type asked struct {
	ID       int64             `json:"id"`
	Op       string            `json:"op"`
	Target   int64             `json:"target"`
	Ask      int64             `json:"ask"`
	Verdict  string            `json:"verdict"`
	Messages []json.RawMessage `json:"messages"`
	Receipts []json.RawMessage `json:"receipts"`
	line     string
}

// next reads a request; it ends the child with its input.
func (k *talk) next() asked {
	line, err := k.in.ReadString('\n')
	if err != nil {
		os.Exit(0)
	}
	a := asked{line: strings.TrimSpace(line)}
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		panic(err)
	}
	return a
}

func (k *talk) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// begin answers hello and open.
func (k *talk) begin() {
	k.say(`{"id":%d,"protocol":1,"unknown":[{}]}`, k.next().ID)
	k.say(`{"id":%d,"handle":9,"version":"7","spec_version":"1.0.9-beta","capabilities":["txn","nack"]}`, k.next().ID)
}
