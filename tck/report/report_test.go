package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

type writer = func(io.Writer, *report.Report) error

var writers = []writer{report.WriteJSON, report.WriteJUnit, report.WriteTable, report.WriteHTML}

func written(t *testing.T, write writer, r *report.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// golden compares what a writer makes of the sample with a file.
func golden(t *testing.T, name string, write writer) []byte {
	t.Helper()
	got := written(t, write, sample())
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed; look at it and run with -update if it is right:\n%s", path, got)
	}
	return got
}

func TestGoldenFiles(t *testing.T) {
	golden(t, "sample.json", report.WriteJSON)
	golden(t, "sample.xml", report.WriteJUnit)
	table := golden(t, "sample.txt", report.WriteTable)
	if bytes.ContainsAny(table, "\x00\x1b") {
		t.Error("the table holds control characters, which could move the cursor")
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriters_pass_errors_on(t *testing.T) {
	for i, write := range writers {
		if err := write(brokenWriter{}, sample()); !errors.Is(err, errBroken) {
			t.Errorf("writer %d: %v", i, err)
		}
	}
}

func TestWriters_do_not_change_the_report(t *testing.T) {
	r := sample()
	for i, write := range writers {
		written(t, write, r)
		if !reflect.DeepEqual(r, sample()) {
			t.Fatalf("writer %d changed the report", i)
		}
	}
}

// junit is what CI systems read of JUnit XML.
type junit struct {
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Skipped  int    `xml:"skipped,attr"`
	Time     string `xml:"time,attr"`
	Cases    []struct {
		Name    string       `xml:"name,attr"`
		Class   string       `xml:"classname,attr"`
		Time    string       `xml:"time,attr"`
		Out     string       `xml:"system-out"`
		Details []junitChild `xml:",any"`
	} `xml:"testcase"`
}

type junitChild struct {
	XMLName xml.Name
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func TestJUnit_elements_and_counts(t *testing.T) {
	var all struct {
		junit
		Suites []junit `xml:"testsuite"`
	}
	if err := xml.Unmarshal(written(t, report.WriteJUnit, sample()), &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range append(all.Suites, all.junit) {
		if c.Tests != 9 || c.Failures != 2 || c.Errors != 1 || c.Skipped != 5 || c.Time != "12.250" {
			t.Errorf("%d tests, %d failures, %d errors, %d skipped, %s s", c.Tests, c.Failures, c.Errors, c.Skipped, c.Time)
		}
	}
	want := map[string]string{"R001": "", "R002": "failure ", "G02": "failure listed as a known failure, but it passes", "R052": "error the hook failed",
		"R032": "skipped not-supported: the driver", "R041": "skipped known failure: not yet", "R051": "skipped untested: no hook",
		"G01": "skipped skipped: not selected", "R900": "skipped untested: 日本語 العربية"}
	for _, c := range all.Suites[0].Cases {
		id, _, _ := strings.Cut(c.Name, "_")
		got := ""
		for _, d := range c.Details {
			got += d.XMLName.Local + " " + d.Message
		}
		if start, ok := want[id]; !ok || !strings.HasPrefix(got, start) || start == "" && got != "" {
			t.Errorf("%s: %.60q, want %q", c.Name, got, start)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	c := all.Suites[0].Cases[1]
	const clean = "</td><script>document.title='owned'</script> \"quoted\" & 'single' \ufffd\ufffd[2J \u202e end"
	if c.Name != "R002_extremes" || c.Class != "values" || c.Time != "1.500" || c.Out != "a line\n"+clean ||
		c.Details[0].Message != clean || c.Details[0].Text != clean+"\nsecond line\nExtremes survive (specification §1)" {
		t.Errorf("the failed case is %+v", c)
	}
}

func TestTable_lines(t *testing.T) {
	text := string(written(t, report.WriteTable, sample()))
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && strings.HasPrefix(line, "  ") {
			t.Errorf("%d characters in %q", n, line)
		}
	}
	const last = "\nnot-conformant: 2 passed, 1 not supported, 1 skipped, 2 untested, 2 failed, 1 error\n"
	if !strings.HasSuffix(text, last) {
		t.Errorf("the last line is not %q:\n%s", last, text)
	}
	for _, has := range []string{"R002_extremes\n", "known failure: not yet\n", "listed as a known failure, but it passes", "more characters)"} {
		if !strings.Contains(text, has) {
			t.Errorf("%q is missing", has)
		}
	}
	for _, not := range []string{"R001", "R032"} {
		if strings.Contains(text, not) {
			t.Errorf("%s is listed, though it passed or is not supported", not)
		}
	}
}

func TestTable_equal_messages_together(t *testing.T) {
	r := &report.Report{Conclusion: report.Broken, Cases: []report.Case{
		{ID: "R001", Slug: "one", Verdict: report.Error, Message: "refused"}, {ID: "R002", Slug: "two", Verdict: report.Error, Message: "other"},
		{ID: "R003", Slug: "three", Verdict: report.Error, Message: "refused"},
	}}
	const want = "\nerror\n  R001_one, R003_three\n      refused\n  R002_two\n      other\n\nerror: no cases\n"
	if got := string(written(t, report.WriteTable, r)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHTML_escapes(t *testing.T) {
	page := string(written(t, report.WriteHTML, sample()))
	for _, raw := range []string{"<script>document", "sample <b>", "\x00", "\x1b", "\u202e", "\u2028"} {
		if strings.Contains(page, raw) {
			t.Errorf("%q of the report is not escaped", raw)
		}
	}
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	page = strings.Replace(page, `<link rel="icon" href="data:,">`, "", 1) // keeps browsers from asking for /favicon.ico
	for _, part := range []string{"src=", "@import", "url(", "<link", "http://", "https://"} {
		if strings.Contains(page, part) {
			t.Errorf("the page holds %q; it must need nothing else", part)
		}
	}
	for _, part := range []string{"default-src &#39;none&#39;", "script-src &#39;sha256-", "style-src &#39;sha256-"} {
		if !strings.Contains(page, part) {
			t.Errorf("the policy lacks %q", part)
		}
	}
}
