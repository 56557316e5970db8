package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// asProgram in the environment has the test's binary be oms.
const asProgram = "OMS_TEST_IS_PROGRAM"

// command runs a command line and returns its exit status and output.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		part string // of stdout and stderr together
	}{
		{[]string{}, 0, "Running a broker:"},
		{[]string{"--help"}, 0, "Running a broker:"},
		{[]string{"bench"}, 0, "roundtrip"},
		{[]string{"bench", "publish", "--help"}, 0, "Examples:"},
		{[]string{"bnech"}, 2, "oms: unknown command"},
		{[]string{"bench", "publish", "--sise", "1"}, 2, "unknown flag: --sise; see oms bench publish --help"},
		{[]string{"bench", "publish", "extra"}, 2, "see oms bench publish --help"},
		{[]string{"bench", "publish", "--size", "-1"}, 2, "--size -1"},
		{[]string{"bench", "publish", "--batch", "0"}, 2, "--batch 0"},
		{[]string{"bench", "publish", "--bytes", "lots"}, 2, "--bytes lots"},
		{[]string{"bench", "publish", "--url", "oms:nowhere://h/r"}, 1, "known: badger"},
		{[]string{"store", "check"}, 2, "see oms store check --help"},
		{[]string{"store", "check", filepath.Join(dir, "missing")}, 2, "no such file"},
		{[]string{"store", "check", dir}, 2, "holds no store"},
		{[]string{"version"}, 0, "drivers: badger"},
		{[]string{"completion", "bash"}, 0, "bash completion"},
	} {
		code, stdout, stderr := command(t, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.part) {
			t.Errorf("%v: status %d, want %d\n%s%s", c.args, code, c.code, stdout, stderr)
		}
		if code != 0 && strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: the error is not one line: %s", c.args, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("the check has made a folder")
	}
}

// keys are the keys that programs rely on, in their order.
var keys = []string{
	"scenario", "messages", "size", "batch", "seconds", "messages_per_second", "bytes_per_second", "p50_ms", "p99_ms",
	"limit_messages_per_second", "ratio_to_limit", "cpu_seconds", "rss_bytes",
}

func TestBench(t *testing.T) {
	for _, args := range [][]string{
		{"publish", "--messages", "5000", "--batch", "64", "--producers", "3", "--queues", "2", "--limit"},
		{"send", "--messages", "200", "--producers", "4", "--limit"},
		{"consume", "--messages", "3000", "--batch", "100", "--queues", "2"},
		{"roundtrip", "--messages", "200", "--rate", "5000"},
		{"roundtrip", "--messages", "200", "--rate", "5000", "--delay", "100ms"},
		{"publish", "--bytes", "64kB", "--rate", "100000", "--url", "oms:badger://local/bench?memory=true"},
	} {
		t.Run(args[0], func(t *testing.T) {
			code, stdout, stderr := command(t, slices.Concat([]string{"bench"}, args, []string{"--json"})...)
			if code != 0 || stderr != "" {
				t.Fatalf("status %d: %s", code, stderr)
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(stdout), &got); err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(strings.NewReader(stdout))
			var order []string
			for depth := 0; ; {
				token, err := d.Token()
				if err != nil {
					break
				}
				switch v := token.(type) {
				case json.Delim:
					if v == '{' || v == '[' {
						depth++
					} else {
						depth--
					}
				case string:
					if _, ok := got[v]; ok && depth == 1 && !slices.Contains(order, v) {
						order = append(order, v)
					}
				}
			}
			if !slices.Equal(order[:len(keys)], keys) {
				t.Errorf("keys %v", order)
			}
			want := map[string]float64{"publish": 5000, "send": 200, "consume": 3000, "roundtrip": 200}[args[0]]
			if slices.Contains(args, "--bytes") {
				want = 500
			}
			if got["messages"] != want || got["duplicates"] != 0.0 || got["p99_ms"] == nil {
				t.Errorf("%s", stdout)
			}
			if slices.Contains(args, "--limit") != (got["ratio_to_limit"] != nil) {
				t.Errorf("ratio %v", got["ratio_to_limit"])
			}
			code, stdout, stderr = command(t, append([]string{"bench"}, args...)...)
			if code != 0 || !strings.Contains(stdout, "messages/s") || stderr != "" {
				t.Errorf("status %d: %s%s", code, stdout, stderr)
			}
		})
	}
}

func TestBenchCSV(t *testing.T) {
	code, stdout, stderr := command(t, "bench", "publish", "--messages", "1000", "--csv")
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if code != 0 || err != nil || len(rows) != 2 {
		t.Fatalf("status %d, %v: %s%s", code, err, stdout, stderr)
	}
	for name, want := range map[string]string{"scenario": "publish", "messages": "1000", "ratio_to_limit": "", "queues": "1"} {
		if i := slices.Index(rows[0], name); i < 0 || rows[1][i] != want {
			t.Errorf("%s is not %q: %s", name, want, stdout)
		}
	}
	if code, _, _ := command(t, "bench", "publish", "--json", "--csv"); code != exitUsage {
		t.Errorf("status %d for two formats", code)
	}
}

func TestBenchIsInterrupted(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"bench", "publish", "--messages", "100000", "--batch", "10", "--rate", "1000"}, &out, &errs)
	if code != 0 || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("status %d: %s%s", code, out.String(), errs.String())
	}
}

func TestStoreCheck(t *testing.T) {
	dir := t.TempDir()
	ap, err := oms.Open(t.Context(), badger.URL(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "q"}); err != nil {
		t.Fatal(err)
	}
	p, err := ap.NewProducer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := p.SendBatch(t.Context(), []*om.Message{om.NewMessage("q", make([]byte, 20_000)), om.NewMessage("q", nil)}); err != nil {
			t.Fatal(err)
		}
	}
	code, _, stderr := command(t, "store", "check", dir)
	if code != 2 || !strings.Contains(stderr, "is held by process") {
		t.Errorf("in use: status %d: %s", code, stderr)
	}
	if err := ap.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "store", "check", dir)
	if code != 0 || !strings.Contains(stdout, "is in order") || stderr != "" {
		t.Errorf("clean: status %d: %s%s", code, stdout, stderr)
	}
	vlogs, err := filepath.Glob(filepath.Join(dir, "b-*", "*.vlog"))
	if err != nil || len(vlogs) == 0 {
		t.Fatal(vlogs, err)
	}
	for _, path := range vlogs {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 30_000 {
			data[25_000] ^= 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, stdout, _ = command(t, "store", "check", "--json", dir)
	var report struct {
		Findings []struct{ Where, What string }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 1 || len(report.Findings) == 0 {
		t.Errorf("damaged: status %d: %s", code, stdout)
	}
	code, stdout, _ = command(t, "store", "check", dir)
	if code != 1 || !strings.Contains(stdout, "WRONG") {
		t.Errorf("damaged: status %d: %s", code, stdout)
	}
}
