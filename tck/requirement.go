package tck

import (
	_ "embed"
	"strings"
	"sync"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Kind tells what a case needs to run.
type Kind string

// The kinds.
const (
	Plain       Kind = "plain"
	Timed       Kind = "timed"       // waits as the target's Timing says
	Fault       Kind = "fault"       // some of it needs hooks of the target's Faults
	Statistical Kind = "statistical" // judges averages
)

// Requirement is a row of the table.
type Requirement struct {
	ID     string          // R001 to R100 from the specification, G01 to G40 from the Go binding
	Area   string          // for example "extension"
	Slug   string          // for example "order-per-key"
	Core   bool            // demanded of everyone
	Needs  []om.Capability // when not Core: demanded of those who declare all of these
	Kind   Kind
	Text   string
	Source string
}

// Level returns "M" for a requirement of the core and "O" for the others.
func (r Requirement) Level() string {
	if r.Core {
		return "M"
	}
	return "O"
}

// Name returns the name of the requirement's case, for example
// R032_order_per_key.
func (r Requirement) Name() string { return r.ID + "_" + strings.ReplaceAll(r.Slug, "-", "_") }

// Profile returns the group the requirement is judged in: "core", or
// "extended/" and its capabilities.
func (r Requirement) Profile() string {
	if r.Core {
		return "core"
	}
	names := make([]string, len(r.Needs))
	for i, c := range r.Needs {
		names[i] = string(c)
	}
	return "extended/" + strings.Join(names, "+")
}

//go:embed requirements.tsv
var tableText string

var requirements = sync.OnceValue(func() (rs []Requirement) {
	lines := strings.Split(strings.TrimSpace(tableText), "\n")
	for _, line := range lines[1:] {
		f := strings.Split(line, "\t")
		r := Requirement{ID: f[0], Area: f[1], Slug: f[2], Core: f[3] == "M", Kind: Kind(f[5]), Text: f[6], Source: f[7]}
		if f[4] != "" {
			for _, c := range strings.Split(f[4], "+") {
				r.Needs = append(r.Needs, om.Capability(c))
			}
		}
		rs = append(rs, r)
	}
	return rs
})

// Requirements returns the table, ordered by ID with R before G. The slice is
// the caller's.
func Requirements() []Requirement { return append([]Requirement(nil), requirements()...) }
