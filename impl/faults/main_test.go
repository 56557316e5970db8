package faults_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var (
	roundsFlag = flag.Int("faults.rounds", 0, "how often the kill tests kill; 0 is the number for CI")
	seedFlag   = flag.Uint64("faults.seed", 0, "seed of the random choices; 0 is a new one")
	fullFlag   = flag.Bool("faults.full", false, "run TestCorruption with all damages, and TestRetentionGivesSpaceBack in full length and with its bound on latency")
)

// roleVariable makes the test binary one of the child processes below.
const roleVariable = "FAULTS_ROLE"

var roles = map[string]func() error{
	"load":    loadChild,
	"fill":    fillChild,
	"damage":  damageChild,
	"hold":    holdChild,
	"rework":  reworkChild,
	"poison":  poisonChild,
	"ordered": orderedChild,

	"transactions": transactionsChild,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	// Links of toxiproxy that a toxic holds up stay when the proxy stops.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

// deadline bounds everything that a test waits for.
const deadline = 5 * time.Minute

// seed returns the seed of a test and prints it.
func seed(t *testing.T) uint64 {
	s := *seedFlag
	for s == 0 {
		s = rand.Uint64()
	}
	t.Logf("repeat with -faults.seed=%d", s)
	return s
}

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// quiet is the logger of stores that are meant to complain.
var quiet = slog.New(slog.DiscardHandler)

// connect opens a store in a folder; options are pairs of key and value.
func connect(ctx context.Context, dir string, options ...string) (spi.Conn, error) {
	u, err := om.ParseURL(badger.URL(dir, options...))
	if err != nil {
		return nil, err
	}
	return badger.Driver{}.Open(ctx, spi.Config{URL: u, Logger: quiet})
}

// mustConnect opens a store and closes it when the test ends.
func mustConnect(t *testing.T, dir string, options ...string) spi.Conn {
	t.Helper()
	c, err := connect(t.Context(), dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// optional returns the optional interface T of a driver's value, which the
// driver "badger" has.
func optional[T any](v any) T {
	x, ok := spi.As[T](v)
	if !ok {
		panic(fmt.Sprintf("%T has no %T", v, *new(T)))
	}
	return x
}

// message returns a message for a partition of a queue.
func message(queue string, partition int32, body []byte) *om.Message {
	m := om.NewMessage(queue, body)
	m.Version, m.BornHost, m.BornAt = om.SpecVersion, "host", time.Now().UTC().Truncate(time.Millisecond)
	m.Ext.Partition = om.Some(partition)
	return m
}

// send sends messages and returns the first error, of the call or of a message.
func send(ctx context.Context, s spi.Sender, ms ...*om.Message) ([]spi.Outcome, error) {
	out, err := s.Send(ctx, ms)
	for i := 0; err == nil && i < len(out); i++ {
		err = out[i].Err
	}
	return out, err
}

// ack acknowledges and returns the first error, of the call or of a receipt.
func ack(ctx context.Context, r spi.Receiver, ds ...spi.Received) error {
	errs, err := r.Ack(ctx, receipts(ds))
	for i := 0; err == nil && i < len(errs); i++ {
		err = errs[i]
	}
	return err
}

func receipts(ds []spi.Received) []spi.Receipt {
	out := make([]spi.Receipt, len(ds))
	for i, d := range ds {
		out[i] = d.Receipt
	}
	return out
}

// child is a process of this test binary in a role.
type child struct {
	*exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr bytes.Buffer
}

// startChild starts a child, which must end when its input ends.
func startChild(role string, env ...string) (*child, error) {
	c := &child{Cmd: exec.Command(os.Args[0])}
	c.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	c.Stderr = &c.stderr
	var err error
	if c.in, err = c.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.StdoutPipe(); err != nil {
		return nil, err
	}
	return c, c.Start()
}

// tail returns the end of what a child said.
func (c *child) tail() string {
	s := c.stderr.String()
	if len(s) > 4000 {
		s = s[:2000] + "\n[...]\n" + s[len(s)-2000:]
	}
	return s
}

// waitForParent blocks until the parent closes the child's input or ends.
func waitForParent() { _, _ = io.Copy(io.Discard, os.Stdin) }
