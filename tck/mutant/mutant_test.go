package mutant_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/mutant"
	"github.com/openmessaging/openmessaging-go/tck/report"
)

// check runs cases, nil for all, against a mutant in a bubble.
func check(t *testing.T, m mutant.Mutant, cases []string) (r *report.Report) {
	synctest.Test(t, func(t *testing.T) {
		target, release := m.Target()
		r = tck.Check(t.Context(), target, tck.Selection{IDs: cases})
		release()
	})
	return r
}

func row(r *report.Report, id string) report.Case {
	return r.Cases[slices.IndexFunc(r.Cases, func(c report.Case) bool { return c.ID == id })]
}

// TestTheCorrectDriverPasses is what every kill is measured against.
func TestTheCorrectDriverPasses(t *testing.T) {
	for _, m := range []mutant.Mutant{mutant.Correct(), mutant.CorrectWithAccounts()} {
		t.Run(m.Name, func(t *testing.T) {
			r := check(t, m, nil)
			for _, c := range r.Cases {
				if c.Verdict != report.Pass && c.ID != "R053" {
					t.Errorf("%s: %s: %s\n%s", c.Name(), c.Verdict, c.Message, strings.Join(c.Log, "\n"))
				}
			}
			want := report.NotSupported
			if strings.Contains(m.Name, "accounts") {
				want = report.Pass
			}
			if c := row(r, "R053"); c.Verdict != want {
				t.Errorf("%s: %s: %s", c.Name(), c.Verdict, c.Message)
			}
			if r.Conclusion != report.Conformant {
				t.Errorf("%s: %s", r.Conclusion, r.Reason)
			}
		})
	}
}

// unproved lists the cases that no mutant kills, with the reason.
var unproved = map[string]string{}

// TestEveryMutantIsKilled proves each case by a run of it alone. What a run of all
// cases says of a mutant goes into the matrix: there cases meet what mutants
// remember of others.
func TestEveryMutantIsKilled(t *testing.T) {
	killed := make(map[string][]string) // case → mutants
	ran := 0
	names := make(map[string]bool)
	var matrix strings.Builder
	for _, m := range mutant.All() {
		if names[m.Name] {
			t.Errorf("two mutants are named %s", m.Name)
		}
		names[m.Name] = true
		t.Run(m.Kills+"_"+m.Name, func(t *testing.T) {
			ran++
			r := check(t, m, []string{m.Kills})
			c := row(r, m.Kills)
			switch {
			case c.Verdict != report.Fail:
				t.Errorf("%s: %s, want a failure: %s\n%s %s", c.Name(), c.Verdict, c.Message, r.Conclusion, r.Reason)
			case !strings.Contains(c.Message, m.Says):
				t.Errorf("%s fails, but does not say %q: %s", c.Name(), m.Says, c.Message)
			case strings.Contains(c.Message, "panic: "):
				t.Errorf("%s fails by a panic, which proves nothing: %s", c.Name(), c.Message)
			default:
				killed[m.Kills] = append(killed[m.Kills], m.Name)
			}
			if r.Conclusion != report.NotConformant {
				t.Errorf("the conclusion is %s (%s), want %s", r.Conclusion, r.Reason, report.NotConformant)
			}
			if raceEnabled { // many times slower
				return
			}
			r = check(t, m, nil)
			if r.Conclusion == report.Broken {
				t.Errorf("with all cases the conclusion is %s: %s", r.Conclusion, r.Reason)
			}
			var others []string
			for _, c := range r.Cases {
				if c.Verdict == report.Fail && c.ID != m.Kills {
					others = append(others, c.ID)
				}
			}
			fmt.Fprintf(&matrix, "%-34s %s  %s\n", m.Name, m.Kills, strings.Join(others, " "))
		})
	}
	t.Logf("the kill matrix: mutant, the case it is made for, other cases that fail\n%s", matrix.String())
	if ran < len(mutant.All()) {
		return // by -run: nothing can be said of what is unproved
	}
	var left []string
	for _, req := range tck.Requirements() {
		if len(killed[req.ID]) == 0 && unproved[req.ID] == "" {
			left = append(left, req.Name())
		}
		if len(killed[req.ID]) > 0 && unproved[req.ID] != "" {
			t.Errorf("%s is proved; take it off the list", req.Name())
		}
	}
	if len(left) > 0 {
		t.Errorf("no mutant kills %s", strings.Join(left, ", "))
	}
	t.Logf("unproved cases: %v; not yet provable: %v", left, unproved)
}
