package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

func TestJSON_round_trip(t *testing.T) {
	got, err := report.ReadJSON(bytes.NewReader(written(t, report.WriteJSON, sample())))
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	for _, c := range want.Cases {
		for i, line := range c.Log {
			c.Log[i] = strings.ToValidUTF8(line, "\ufffd")
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
}

func TestJSON_lists_are_never_null(t *testing.T) {
	r := &report.Report{Schema: 1, Conclusion: report.Conformant, Profiles: []report.Profile{{Name: "core", Conclusion: report.Conformant}}}
	if text := written(t, report.WriteJSON, r); bytes.Contains(text, []byte("null")) {
		t.Errorf("null in\n%s", text)
	}
	if r.Counts != nil || r.Cases != nil || r.Profiles[0].Counts != nil {
		t.Error("the report was changed")
	}
}

func TestReadJSON_takes_unknown_fields(t *testing.T) {
	r, err := report.ReadJSON(strings.NewReader(`{"schema":1,"conclusion":"partial","new":{"field":1}}`))
	if err != nil || r.Conclusion != report.Partial {
		t.Errorf("read %+v, %v", r, err)
	}
}

func TestReadJSON_refuses(t *testing.T) {
	for bad, says := range map[string]string{
		"":               "pass a file that omstck wrote",
		"{":              "pass a file that omstck wrote",
		"null":           "pass a file that omstck wrote",
		`{"cases":[]}`:   "pass a file that omstck wrote",
		`{"schema":2}`:   "has schema 2, this program knows 1: use the omstck that wrote it",
		`{"schema":1} x`: "pass a file that omstck wrote",
		`{"schema":1,"conclusion":"partial","seconds":"1"}`:                                    "write it anew",
		`{"schema":1,"conclusion":"partial","cases":[{"id":"R1"}]}`:                            `case "R1" has the unknown verdict ""`,
		`{"schema":1,"conclusion":"partial","counts":{"passed":1}}`:                            `unknown verdict "passed"`,
		`{"schema":1,"conclusion":"partial","counts":{"pass":-1}}`:                             "counts -1",
		`{"schema":1,"conclusion":"good"}`:                                                     `unknown conclusion "good"`,
		`{"schema":1,"conclusion":"partial","profiles":[{"name":"core","conclusion":"good"}]}`: `profile "core" has the unknown conclusion`,
		strings.Repeat(" ", report.MaxJSON+1):                                                  "more than 64 MiB: pass a file that omstck wrote",
	} {
		if _, err := report.ReadJSON(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q: got %v, want an error that says %q", bad, err, says)
		}
	}
	text := append(written(t, report.WriteJSON, sample()), bytes.Repeat([]byte(" "), 1<<20)...)
	text = append(text, bytes.Repeat([]byte(" "), report.MaxJSON-len(text))...)
	if _, err := report.ReadJSON(bytes.NewReader(text)); err != nil {
		t.Errorf("64 MiB: %v", err)
	}
	if _, err := report.ReadJSON(iotest.ErrReader(errBroken)); !errors.Is(err, errBroken) {
		t.Errorf("a broken reader: %v", err)
	}
}

// What was read can be written, and written as JSON it stays the same.
func FuzzReadJSON(f *testing.F) {
	var b bytes.Buffer
	if err := report.WriteJSON(&b, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":1,"conclusion":"error","cases":[{"verdict":"pass","seconds":1e300,"text":"\u0000"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := report.ReadJSON(bytes.NewReader(data))
		if err != nil {
			return
		}
		first := written(t, report.WriteJSON, r)
		again, err := report.ReadJSON(bytes.NewReader(first))
		if err != nil {
			t.Fatalf("read again: %v", err)
		}
		if second := written(t, report.WriteJSON, again); !bytes.Equal(first, second) {
			t.Errorf("first\n%s\nthen\n%s", first, second)
		}
		if err := xml.Unmarshal(written(t, report.WriteJUnit, r), new(struct{})); err != nil {
			t.Errorf("JUnit: %v", err)
		}
		written(t, report.WriteHTML, r)
		for line := range bytes.Lines(written(t, report.WriteTable, r)) {
			if bytes.ContainsFunc(bytes.TrimSuffix(line, []byte("\n")), unicode.IsControl) {
				t.Errorf("a control character in %q", line)
			}
		}
	})
}
