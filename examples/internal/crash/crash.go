// Package crash kills a program of an example while it works.
package crash

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"
)

// Worker is the name of the variable that tells a program that it is the
// worker, and its folder.
const Worker = "EXAMPLE_WORKER"

// Run starts this program again as the worker of a folder, and kills it with
// SIGKILL at a random moment, some times; the last time it lets it finish. Each
// line that the worker prints goes to line. It returns how often it killed.
func Run(ctx context.Context, folder string, times int, line func(string)) (kills int, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	for {
		cmd := exec.CommandContext(ctx, program)
		cmd.Env = append(os.Environ(), Worker+"="+folder)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return kills, err
		}
		if err := cmd.Start(); err != nil {
			return kills, err
		}
		var kill *time.Timer
		if kills < times {
			kill = time.AfterFunc(50*time.Millisecond+rand.N(300*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line(lines.Text())
		}
		err = cmd.Wait()
		switch {
		case err == nil:
			return kills, nil
		case ctx.Err() != nil:
			return kills, ctx.Err()
		case kill == nil || kill.Stop():
			return kills, fmt.Errorf("the worker failed: %w", err)
		}
		kills++
	}
}
