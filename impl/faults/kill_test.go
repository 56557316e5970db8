package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKill kills a process that sends and receives, at a random moment and
// sometimes while it opens the store, and checks after it that nothing that was
// acknowledged is lost or changed, nothing appears that was not sent, what was
// settled stays settled, and all else is delivered.
func TestKill(t *testing.T) { killRounds(t, killing{rounds: 50, perStore: 5}) }

// TestKillWithRetention is TestKill with buckets of 8 MiB that come and go.
func TestKillWithRetention(t *testing.T) {
	killRounds(t, killing{rounds: 20, perStore: 10, retention: true})
}

func killRounds(t *testing.T, k killing) {
	if *roundsFlag > 0 {
		k.rounds = *roundsFlag
	}
	k.seed = seed(t)
	for first := 0; first < k.rounds; first += k.perStore {
		t.Run(fmt.Sprintf("round=%d", first+1), func(t *testing.T) {
			t.Parallel()
			k := k
			k.t, k.dir, k.rnd, k.ledger = t, t.TempDir(), newRand(k.seed, uint64(first)), newLedger()
			if k.retention {
				k.options = []string{"retain_bytes", "64MiB"}
				k.ledger.expiring = true
			}
			last := min(first+k.perStore, k.rounds) - 1
			for i := first; i <= last; i++ {
				k.round(i, i == first, i == last)
			}
			t.Logf("%d messages acknowledged, %d found; %d acknowledgements, %d more undecided by a kill; %d copied by the route; oldest offsets %v",
				k.ledger.sent, k.ledger.found, k.ledger.acked, k.ledger.undecided, k.ledger.copied, k.ledger.begins)
		})
	}
}

// killing is a store that is killed again and again.
type killing struct {
	rounds    int
	perStore  int // rounds before a new store is begun
	retention bool
	seed      uint64

	t       *testing.T
	rnd     *rand.Rand
	dir     string
	options []string
	ledger  *ledger
}

// round lets a child work for a while, kills it, and looks at the store: always
// in the last round, now and then in the others, so that kills also follow
// each other. In the first round the child makes the store.
func (k *killing) round(i int, first, last bool) {
	after, delay := "ready", 10*time.Millisecond+time.Duration(k.rnd.Int64N(int64(390*time.Millisecond)))
	if k.rnd.IntN(5) == 0 || first && k.rnd.IntN(2) == 0 {
		after, delay = "opening", time.Duration(k.rnd.Int64N(int64(60*time.Millisecond)))
	}
	k.run(i, after, delay)
	if k.t.Failed() {
		k.t.FailNow()
	}
	if !last && k.rnd.IntN(2) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(k.t.Context(), deadline)
	defer cancel()
	c, err := connect(ctx, k.dir, k.options...)
	if err != nil {
		k.t.Fatalf("round %d, killed %v after %s: the store cannot be opened: %v\n%s", i+1, delay, after, err, listing(k.dir))
	}
	if err := k.ledger.verify(ctx, c); err != nil {
		k.t.Errorf("round %d, killed %v after %s: %v\n%s", i+1, delay, after, err, listing(k.dir))
	}
	if err := c.Close(ctx); err != nil {
		k.t.Errorf("round %d: close: %v", i+1, err)
	}
	if k.t.Failed() {
		k.t.FailNow()
	}
}

// run starts a child and kills it some time after it has said a word.
func (k *killing) run(i int, after string, delay time.Duration) {
	producer := uint32(i * loadProducers)
	if k.retention {
		producer |= heavy
	}
	c, err := startChild("load",
		"FAULTS_PATH="+k.dir, "FAULTS_OPTIONS="+strings.Join(k.options, " "),
		fmt.Sprintf("FAULTS_PRODUCER=%d", producer), fmt.Sprintf("FAULTS_SEED=%d", k.seed+uint64(i)))
	if err != nil {
		k.t.Fatal(err)
	}
	words := make(chan string, 2)
	read := make(chan error, 1)
	go func() { read <- k.ledger.read(c.out, words) }()
	kill := time.NewTimer(deadline)
	defer kill.Stop()
	for killed := false; ; {
		select {
		case word := <-words:
			if word == after {
				kill.Reset(delay)
				after = ""
			}
			continue
		case <-kill.C:
			if after != "" {
				k.t.Errorf("round %d: the child is not %s after %v", i+1, after, deadline)
			}
			killed = true
			if err := c.Process.Kill(); err != nil {
				k.t.Error(err)
			}
			if err := <-read; err != nil {
				k.t.Errorf("round %d: %v", i+1, err)
			}
		case err := <-read:
			k.t.Errorf("round %d: the child stopped talking: %v", i+1, err)
			_ = c.Process.Kill()
		}
		err := c.Wait()
		if c.ProcessState.Exited() || !killed {
			k.t.Errorf("round %d: the child ended by itself: %v\n%s", i+1, err, c.tail())
		}
		return
	}
}

// listing lists the files of a store, for messages of failure.
func listing(dir string) string {
	var b strings.Builder
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			name, _ := filepath.Rel(dir, path)
			fmt.Fprintf(&b, "%12d %s\n", info.Size(), name)
		}
		return nil
	})
	return b.String()
}
