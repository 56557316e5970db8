package report_test

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, write func(io.Writer, *report.Report) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s has changed; look at it and run with -update if it is right:\n%s", path, b.Bytes())
	}
	return b.Bytes()
}

func TestGoldenFiles(t *testing.T) {
	golden(t, "sample.json", report.WriteJSON)
	golden(t, "sample.xml", report.WriteJUnit)
	table := golden(t, "sample.txt", report.WriteTable)
	if bytes.ContainsAny(table, "\x00\x1b") {
		t.Error("the table holds control characters, which could move the cursor")
	}
}

func TestJSON_round_trip(t *testing.T) {
	var b bytes.Buffer
	if err := report.WriteJSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	got, err := report.ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sample()) {
		t.Errorf("read %+v", got)
	}
}

func TestReadJSON_refuses(t *testing.T) {
	for bad, says := range map[string]string{
		"":                                   "is no report",
		"{":                                  "is no report",
		`{"schema":2}`:                       "has schema 2",
		`{"schema":1,"cases":[{"id":"R1"}]}`: "unknown verdict",
		strings.Repeat(" ", 64<<20+1):        "more than",
	} {
		if _, err := report.ReadJSON(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: got %v, want an error that says %q", bad, err, says)
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	var b bytes.Buffer
	_ = report.WriteJSON(&b, sample())
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := report.ReadJSON(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, write := range []func(io.Writer, *report.Report) error{report.WriteJSON, report.WriteJUnit, report.WriteTable, report.WriteHTML} {
			if err := write(io.Discard, r); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestJUnit_elements_and_counts(t *testing.T) {
	var b bytes.Buffer
	if err := report.WriteJUnit(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var all struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Tests int `xml:"tests,attr"`
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	if all.Tests != 8 || all.Failures != 2 || all.Errors != 1 || all.Skipped != 4 {
		t.Errorf("counts %d tests, %d failures, %d errors, %d skipped", all.Tests, all.Failures, all.Errors, all.Skipped)
	}
	want := map[string]string{"R002_extremes": "failure", "G02_concurrent_use": "failure", "R052_unknown_destination": "error",
		"R032_order_per_key": "not-supported: ", "R041_priority": "known failure: ", "R051_stored_first": "untested: ", "G01_no_aliasing": "skipped: "}
	for _, s := range all.Suites {
		if s.Tests != len(s.Cases) {
			t.Errorf("a suite of %d cases counts %d", len(s.Cases), s.Tests)
		}
		for _, c := range s.Cases {
			got := ""
			switch {
			case c.Failure != nil:
				got = "failure"
			case c.Error != nil:
				got = "error"
			case c.Skipped != nil:
				got = c.Skipped.Message
			}
			if !strings.HasPrefix(got, want[c.Name]) || want[c.Name] == "" && got != "" {
				t.Errorf("%s: %q, want %q", c.Name, got, want[c.Name])
			}
		}
	}
}

func TestHTML_escapes(t *testing.T) {
	var b bytes.Buffer
	if err := report.WriteHTML(&b, sample()); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if strings.Contains(page, "<script>document.title") || strings.Contains(page, "sample <b>") {
		t.Error("text of the report is not escaped")
	}
	for _, part := range []string{"src=", "@import", "url(", "<link"} {
		if strings.Contains(page, part) {
			t.Errorf("the page holds %q; it must need nothing else", part)
		}
	}
}
