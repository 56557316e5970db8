package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// WriteJUnit writes the report as JUnit XML, which CI systems show: one suite
// named after the target, a test case for each case with the area as its class.
// The verdicts become child elements: fail a failure, error an error, and
// not-supported, skipped and untested a skipped whose message begins with that
// word. A known failure is skipped, too ("known failure: ..."); a case that is
// listed as one but passes is a failure, as the conclusion says. Log lines are the
// case's system-out. Conclusion, driver, URL and spec version are properties.
//
// Text is escaped; characters that XML 1.0 forbids and bytes that are not UTF-8
// become U+FFFD. It fails only when the writer does. It does not change the
// report, so that it may be called at the same time as other readers of r.
func WriteJUnit(w io.Writer, r *Report) error {
	suite := junitSuite{
		Name:      "omstck " + r.Target.Name,
		Time:      junitTime(r.Seconds),
		Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05"), // UTC; the schema has no zone
		Properties: []junitProperty{
			{"tool", r.Tool},
			{"conclusion", string(r.Conclusion)},
			{"reason", r.Reason},
			{"driver", r.Target.Driver},
			{"url", r.Target.URL},
			{"spec_version", r.Target.SpecVersion},
			{"capabilities", strings.Join(r.Target.Capabilities, " ")},
		},
	}
	for _, c := range r.Cases {
		suite.add(c)
	}
	all := junitSuites{
		Name: suite.Name, Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors,
		Skipped: suite.Skipped, Time: suite.Time, Suites: []junitSuite{suite},
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Time    string       `xml:"time,attr"`
	Failure *junitDetail `xml:"failure"`
	Error   *junitDetail `xml:"error"`
	Skipped *junitDetail `xml:"skipped"`
	Out     string       `xml:"system-out,omitempty"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// add appends a case and counts it.
func (s *junitSuite) add(c Case) {
	row := junitCase{
		Name: c.Name(), Class: c.Area, Time: junitTime(c.Seconds), Out: strings.Join(c.Log, "\n"),
	}
	switch {
	case fixed(c):
		row.Failure = detail(c, fixedText)
		s.Failures++
	case c.Known && c.Verdict == Fail:
		row.Skipped = &junitDetail{Message: said(knownText, c.Message)}
		s.Skipped++
	case c.Verdict == Fail:
		row.Failure = detail(c, c.Message)
		s.Failures++
	case c.Verdict == Error:
		row.Error = detail(c, c.Message)
		s.Errors++
	case c.Verdict != Pass:
		row.Skipped = &junitDetail{Message: said(string(c.Verdict), c.Message)}
		s.Skipped++
	}
	s.Cases = append(s.Cases, row)
	s.Tests++
}

// detail has the first line of the message as the message and all of it as the
// text, together with the requirement.
func detail(c Case, message string) *junitDetail {
	first, _, _ := strings.Cut(message, "\n")
	return &junitDetail{Message: first, Text: fmt.Sprintf("%s\n%s (%s)", message, c.Text, c.Source)}
}

func said(word, message string) string {
	if message == "" {
		return word
	}
	return word + ": " + message
}

func junitTime(seconds float64) string {
	return fmt.Sprintf("%.3f", seconds)
}
