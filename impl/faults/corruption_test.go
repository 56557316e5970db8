package faults_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// damagesInCI is how many damages of each store are tried without -faults.full.
const damagesInCI = 15

// TestCorruption damages each kind of file in copies of a store, one at a time.
// The store must not open, or have everything, or tell of the damage when it is
// read; and store.Check must find it in the first and the last case. Without
// -faults.full it tries a random choice of all damages.
func TestCorruption(t *testing.T) {
	seed := seed(t)
	for i, f := range fillings {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f.Messages = makeFilled(t, f, dir)
			t.Log("\n" + listing(dir))
			rnd := newRand(seed, uint64(i))
			cases := f.allDamages(t, rnd, dir)
			if !*fullFlag {
				rnd.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
				cases = cases[:min(len(cases), damagesInCI)]
			}
			verdicts := judgeAll(t, cases)
			t.Log("\n" + table(cases, verdicts))
			for i, v := range verdicts {
				if v.Outcome == wrong {
					t.Errorf("%s: %s", cases[i], v.Detail)
				}
			}
		})
	}
}

// makeFilled has a child make the store and returns how many messages each
// partition has.
func makeFilled(t *testing.T, f filling, dir string) (messages int64) {
	t.Helper()
	setup, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	c, err := startChild("fill", "FAULTS_PATH="+dir, "FAULTS_FILLING="+string(setup))
	if err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
	defer hang.Stop()
	for lines := bufio.NewScanner(c.out); lines.Scan(); {
		if messages, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Wait(); c.ProcessState.Exited() != (f.End == endClosed) || err != nil && f.End == endClosed {
		t.Fatalf("the store was not made: %v\n%s", err, c.tail())
	}
	return messages
}

// allDamages lists the damages to the files of the store itself, of its oldest
// and of its newest bucket.
func (f filling) allDamages(t *testing.T, rnd *rand.Rand, dir string) (cases []damageCase) {
	t.Helper()
	buckets, err := filepath.Glob(filepath.Join(dir, "b-*"))
	if err != nil || len(buckets) == 0 {
		t.Fatalf("buckets %v, %v", buckets, err)
	}
	slices.Sort(buckets)
	skip := buckets[min(1, len(buckets)-1) : len(buckets)-1]
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skip, path) {
				return filepath.SkipDir
			}
			return nil
		}
		if f.Only != nil && !slices.ContainsFunc(f.Only, func(name string) bool { ok, _ := filepath.Match(name, d.Name()); return ok }) {
			return nil
		}
		file, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		more, err := f.damages(rnd, dir, file)
		cases = append(cases, more...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// judgeAll has a child judge the cases. A case that kills the child or hangs is
// wrong; the next child goes on behind it.
func judgeAll(t *testing.T, cases []damageCase) []verdict {
	t.Helper()
	var verdicts []verdict
	for len(verdicts) < len(cases) {
		more, err := judgeSome(cases[len(verdicts):], t.TempDir())
		verdicts = append(verdicts, more...)
		if err != nil {
			verdicts = append(verdicts, verdict{Outcome: wrong, Detail: err.Error()})
		}
	}
	return verdicts
}

func judgeSome(cases []damageCase, work string) (verdicts []verdict, err error) {
	c, err := startChild("damage", "FAULTS_PATH="+work)
	if err != nil {
		return nil, err
	}
	hang := time.AfterFunc(deadline, func() { _ = c.Process.Kill() })
	defer hang.Stop()
	in, out := json.NewEncoder(c.in), json.NewDecoder(c.out)
	for _, one := range cases {
		hang.Reset(deadline)
		var v verdict
		if err = in.Encode(one); err == nil {
			err = out.Decode(&v)
		}
		if err != nil {
			break
		}
		verdicts = append(verdicts, v)
	}
	_ = c.in.Close()
	ended := c.Wait()
	if len(verdicts) < len(cases) {
		return verdicts, fmt.Errorf("the process died: %v, %v\n%s", err, ended, c.tail())
	}
	return verdicts, nil
}

// String tells what is damaged and how.
func (c damageCase) String() string {
	switch c.How {
	case "flip":
		return fmt.Sprintf("%s: byte %d xor %#02x", c.File, c.At, c.Mask)
	case "truncate":
		return fmt.Sprintf("%s: truncated to %d", c.File, c.At)
	}
	return c.File + ": deleted"
}

// table shows the outcomes.
func table(cases []damageCase, verdicts []verdict) string {
	var b strings.Builder
	counts := make(map[string]int)
	for i, c := range cases {
		v := verdicts[i]
		counts[v.Outcome]++
		line, _, _ := strings.Cut(v.Detail, "\n")
		fmt.Fprintf(&b, "%-52s %-9s %3d findings  writes %-13s %s\n", c, v.Outcome, v.Findings, v.Writes, line)
	}
	fmt.Fprintf(&b, "%d damages: %v\n", len(cases), counts)
	return b.String()
}
