package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const feed = "../../../examples/quickstart/earthquakes/earthquakes.jsonl"

func TestFilterPrintsWhatMatches(t *testing.T) {
	all, err := os.ReadFile(feed)
	if err != nil {
		t.Fatal(err)
	}
	for expression, want := range map[string]int{
		"mag >= 4.5": 85, "mag >= 4.5 AND place IS NOT NULL": 85, "felt IS NULL OR felt IS NOT NULL": 1707, "tsunami = 1 AND mag < 0": 0,
		"net IN ('us', 'ak') AND place LIKE '%Alaska%' AND mag >= 4.5": strings.Count(matching(string(all), 4.5), "Alaska"),
	} {
		code, out, errs := command(t, "filter", expression, feed)
		if got := strings.Count(out, "\n"); got != want || (code == 0) != (want > 0) || code > 1 || errs != "" {
			t.Errorf("%s: %d lines, want %d; status %d %s", expression, got, want, code, errs)
		}
		for line := range strings.Lines(out) {
			if !bytes.Contains(all, []byte(line)) {
				t.Fatalf("%s: the line %q is not one of the file", expression, line)
			}
		}
	}
}

// matching returns the lines of the feed from a magnitude on, found by a plain
// look at the text.
func matching(feed string, least float64) string {
	var out strings.Builder
	for line := range strings.Lines(feed) {
		m, err := parseLine([]byte(line))
		if err == nil && m.Properties.GetFloat64("mag", 0) >= least && strings.Contains("us ak", m.Properties.GetString("net", "?")) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestFilterRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.jsonl")
	if err := os.WriteFile(bad, []byte("{\"a\":1}\n\n{\"a\":2} x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"mag == 4", feed}, "column 5: \"==\" is not part of the language; write =\n  mag == 4\n      ^"},
		{[]string{"mag >", feed}, "not the end of the expression"},
		{[]string{"a = 9", bad}, "line 3: "},
		{[]string{"a = 9", bad + "x"}, "no such file"},
		{nil, "accepts between 1 and 2 arg(s)"},
	} {
		if code, _, errs := command(t, append([]string{"filter"}, c.args...)...); code != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%v: status %d, %q, want %q", c.args, code, errs, c.says)
		}
	}
}

func TestFilterExplainsAndConverts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.jsonl")
	if err := os.WriteFile(file, []byte(`{"n":"7","o":{"x":1},"l":[1],"big":12345678901234567890,"t":true}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--explain", "n > 5 OR t"}, 0, "(t OR n > 5) → true\n  t → true\n  n > 5 → unknown\n    n → '7'\n"},
		{[]string{"n > 5"}, 1, ""},
		{[]string{"--convert", "n > 5 AND o IS NOT NULL AND l IS NOT NULL AND big > 1e19"}, 0, `{"n":"7","o":{"x":1},"l":[1],"big":12345678901234567890,"t":true}` + "\n"},
	} {
		if code, out, errs := command(t, append(append([]string{"filter"}, c.args...), file)...); code != c.code || out != c.want {
			t.Errorf("%v: status %d %s\n%s", c.args, code, errs, out)
		}
	}
}
