package broker

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// lengths are the least and the most choices of a random history.
type lengths struct{ least, most int }

// histories runs random histories, in memory and on disk, each in a bubble with a
// time of its own. run makes its choices by r, leaves its broker in it, and fails
// by it.
func histories(t *testing.T, o store.Options, inMemory, onDisk lengths, run func(r *delayRun)) {
	for _, memory := range []bool{true, false} {
		t.Run(fmt.Sprintf("memory=%v", memory), func(t *testing.T) {
			o, n := o, onDisk
			if memory {
				n = inMemory
			}
			o.Memory, o.Reserve = memory, 1
			dir, runs := t.TempDir(), 0
			rapid.Check(t, func(rt *rapid.T) {
				choices := rapid.SliceOfN(rapid.IntRange(0, 10_000), n.least, n.most).Draw(rt, "choices")
				runs++
				o.Path = fmt.Sprint(dir, "/", runs)
				var failed any
				synctest.Test(t, func(*testing.T) { failed = runHistory(o, choices, run) })
				if failed != nil {
					rt.Fatal(failed)
				}
			})
		})
	}
}

// runHistory returns what went wrong.
func runHistory(o store.Options, choices []int, run func(r *delayRun)) (failed any) {
	r := &delayRun{choices: choices, cfg: Config{Store: o, Logger: slog.New(slog.DiscardHandler)}}
	defer os.RemoveAll(o.Path)
	defer func() {
		if r.b != nil {
			_ = r.b.Close()
		}
		f := recover()
		if _, ok := f.(failure); !ok && f != nil {
			panic(f)
		}
		failed = f
	}()
	run(r)
	return nil
}

// pass lets time pass.
func (r *delayRun) pass(d time.Duration) { time.Sleep(d) }
