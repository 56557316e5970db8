package scan

import (
	"testing"
	"time"
)

func TestParsePosition(t *testing.T) {
	now := time.Date(2018, 2, 7, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"begin":                     "begin",
		"end":                       "end",
		"offset:42":                 "offset:42",
		"2018-02-07":                "time:2018-02-07T00:00:00Z",
		"time:2018-02-07":           "time:2018-02-07T00:00:00Z",
		"2018-02-07T01:00:00+01:00": "time:2018-02-07T00:00:00Z",
		"time:2018-02-07T00:00:00Z": "time:2018-02-07T00:00:00Z",
		"-1h":                       "time:2018-02-07T11:00:00Z",
		"-1h30m":                    "time:2018-02-07T10:30:00Z",
	} {
		if p, err := ParsePosition(text, now); err != nil || p.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, p, err, want)
		}
	}
	for _, text := range []string{"", "now", "1h", "--1h", "-", "offset:-1", "offset:", "2018-13-01", "time:-x"} {
		if p, err := ParsePosition(text, now); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add("offset:42")
	f.Add("-1h")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text, time.Unix(1e9, 0))
		if err == nil {
			if _, err := ParsePosition(p.String(), time.Now()); err != nil {
				t.Errorf("%q: %v: %v", text, p, err)
			}
		}
	})
}
