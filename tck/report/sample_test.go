package report_test

import (
	"strings"
	"time"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// hostile holds what must not get through any of the writers.
const hostile = "</td><script>document.title='owned'</script> \"quoted\" & 'single' \x00\x1b[2J \u202e end"

// unicodes are texts of several scripts and directions.
const unicodes = "日本語 العربية עברית e\u0301 \U0001d11e \u2028 \u00a0 \ufffd"

// sample has every verdict, and hostile texts.
func sample() *report.Report {
	cases := []report.Case{
		{ID: "R001", Slug: "kinds-round-trip", Area: "values", Level: "M", Kind: "plain", Text: "Each kind arrives", Source: "specification §1", Verdict: report.Pass, Seconds: 0.012},
		{ID: "R002", Slug: "extremes", Area: "values", Level: "M", Kind: "plain", Text: "Extremes survive", Source: "specification §1", Verdict: report.Fail,
			Message: hostile + "\nsecond line", Seconds: 1.5, Log: []string{"a line", hostile}},
		{ID: "R032", Slug: "order-per-key", Area: "extension", Level: "O", Needs: []string{"order-key"}, Kind: "plain", Text: "Order per key", Source: "extension header",
			Verdict: report.NotSupported, Message: "the driver does not declare order-key"},
		{ID: "R041", Slug: "priority", Area: "extension", Level: "O", Needs: []string{"priority"}, Kind: "statistical", Text: "Priority", Source: "extension header",
			Verdict: report.Fail, Known: true, Message: "not yet", Seconds: 3},
		{ID: "R051", Slug: "stored-first", Area: "producer", Level: "M", Kind: "fault", Text: "Send returns after store", Source: "Java API", Verdict: report.Untested, Message: "no hook"},
		{ID: "R052", Slug: "unknown-destination", Area: "producer", Level: "M", Kind: "plain", Text: "Unknown queue", Source: "Java API", Verdict: report.Error, Message: "the hook failed"},
		{ID: "G01", Slug: "no-aliasing", Area: "binding", Level: "M", Kind: "plain", Text: strings.Repeat("long ", 100), Source: "Go binding", Verdict: report.Skipped, Message: "not selected"},
		{ID: "G02", Slug: "concurrent-use", Area: "binding", Level: "M", Kind: "plain", Text: "Concurrent use", Source: "Go binding", Verdict: report.Pass, Known: true, Seconds: 120},
		{ID: "R900", Slug: "hostile-" + hostile, Area: hostile, Level: "O", Needs: []string{hostile}, Kind: hostile, Text: hostile, Source: hostile,
			Verdict: report.Untested, Message: unicodes + "\n" + strings.Repeat("x", 3000), Log: []string{"]]>", "\xff\ufffe", strings.Repeat("y", 300)}},
	}
	return &report.Report{
		Schema: report.Schema, Tool: "omstck test",
		Target:     report.Target{Name: "sample <b>", URL: "oms:sample://host:80/r", Driver: "sample", SpecVersion: "1.0.0", Capabilities: []string{"admin", "nack"}},
		Conclusion: report.NotConformant, Reason: "failed: R002", Started: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC), Seconds: 12.25,
		Counts: report.Count(cases), Cases: cases,
		Profiles: []report.Profile{
			{Name: "core", Conclusion: report.NotConformant, Counts: report.Counts{report.Pass: 2, report.Fail: 1, report.Error: 1, report.Untested: 2, report.Skipped: 1}},
			{Name: "extended/order-key", Conclusion: report.Undeclared, Counts: report.Counts{report.NotSupported: 1}},
			{Name: "extended/priority", Conclusion: report.Partial, Counts: report.Counts{report.Fail: 1}},
		},
	}
}
