// Package report holds what a run of the conformance kit found, and writes it
// as JSON, JUnit XML, one HTML page, or a table for a terminal.
package report

import "time"

// Schema is the version of the JSON form. It grows when a field changes its
// meaning or goes; new fields do not change it.
const Schema = 1

// Verdict is what became of a case.
type Verdict string

// The verdicts of cases, from good to bad.
const (
	Pass         Verdict = "pass"
	NotSupported Verdict = "not-supported" // the capability is not declared, and the call says so
	Skipped      Verdict = "skipped"       // the user left it out
	Untested     Verdict = "untested"      // the target has no hook for the fault, or the data did not suffice
	Fail         Verdict = "fail"
	Error        Verdict = "error" // the harness or the environment failed
)

// Verdicts lists the verdicts of cases, from good to bad.
var Verdicts = []Verdict{Pass, NotSupported, Skipped, Untested, Fail, Error}

// Conclusion is the verdict on an implementation or on one profile.
type Conclusion string

// The conclusions.
const (
	Conformant    Conclusion = "conformant"
	Partial       Conclusion = "partial" // what ran passed, but something was left out
	NotConformant Conclusion = "not-conformant"
	Broken        Conclusion = "error"         // the harness or the environment failed
	Undeclared    Conclusion = "not-supported" // of a profile whose capability is not declared
)

// Report is the result of a run. Its JSON form is stable: fields are in this
// order, lists are sorted, and rows hold no points in time.
type Report struct {
	Schema     int        `json:"schema"`
	Tool       string     `json:"tool"` // "omstck" and its version
	Target     Target     `json:"target"`
	Conclusion Conclusion `json:"conclusion"`
	// Reason says in one sentence why the conclusion is not Conformant.
	Reason   string    `json:"reason,omitempty"`
	Started  time.Time `json:"started"` // UTC
	Seconds  float64   `json:"seconds"`
	Counts   Counts    `json:"counts"`
	Profiles []Profile `json:"profiles"` // "core" first, then by name
	Cases    []Case    `json:"cases"`    // by ID
}

// Target tells what was tested. It holds no secrets.
type Target struct {
	Name         string   `json:"name"`
	URL          string   `json:"url"`
	Driver       string   `json:"driver"`
	SpecVersion  string   `json:"spec_version"`
	Capabilities []string `json:"capabilities"` // declared, sorted
}

// Counts counts cases by verdict.
type Counts map[Verdict]int

// Profile is a group of cases: "core", or "extended/" and a capability.
type Profile struct {
	Name       string     `json:"name"`
	Conclusion Conclusion `json:"conclusion"`
	Counts     Counts     `json:"counts"`
}

// Case is the row of one requirement.
type Case struct {
	ID      string   `json:"id"`    // for example R032
	Slug    string   `json:"slug"`  // for example order-per-key
	Area    string   `json:"area"`  // for example extension
	Level   string   `json:"level"` // "M", or "O" when it needs a capability
	Needs   []string `json:"needs,omitempty"`
	Kind    string   `json:"kind"`   // plain, timed, fault or statistical
	Text    string   `json:"text"`   // the requirement
	Source  string   `json:"source"` // where it comes from
	Verdict Verdict  `json:"verdict"`
	// Message says why the verdict is not Pass.
	Message string `json:"message,omitempty"`
	// Known tells that the user listed the case as a known failure.
	Known   bool     `json:"known_failure,omitempty"`
	Seconds float64  `json:"seconds"`
	Log     []string `json:"log,omitempty"` // what the case noted on its way
}

// Name returns the case's full name, for example R032_order_per_key.
func (c Case) Name() string {
	name := []byte(c.ID + "_" + c.Slug)
	for i, b := range name {
		if b == '-' {
			name[i] = '_'
		}
	}
	return string(name)
}

// Count counts the verdicts of cases.
func Count(cases []Case) Counts {
	counts := make(Counts)
	for _, c := range cases {
		counts[c.Verdict]++
	}
	return counts
}
