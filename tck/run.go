package tck

import (
	"context"
	"slices"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// Test is what Run needs of a *testing.T. It is said by methods so that
// programs with the kit do not link package testing.
type Test[T any] interface {
	Context() context.Context
	Cleanup(f func())
	Helper()
	Parallel()
	Run(name string, f func(T)) bool
	Skipf(format string, args ...any)
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Run runs each case as a sub-test, named after its requirement
// (R032_order_per_key), so that -run, -race, -count and -parallel work:
//
//	func TestConformance(t *testing.T) { tck.Run(t, tck.Target{URL: "oms:mine://localhost/tck"}) }
//
// A case that is not supported or untested is skipped with that word. A target
// that does not open fails the test at once. knownFailures are as of
// [Selection].
func Run[T Test[T]](t T, target Target, knownFailures ...string) {
	t.Helper()
	e := &engine{target: target, sel: Selection{KnownFailures: knownFailures}}
	if err := e.prepare(t.Context()); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { // when the parallel cases have ended, too
		if err := e.finish(context.Background()); err != nil {
			t.Errorf("%v", err)
		}
	})
	for _, req := range requirements() {
		t.Run(req.Name(), func(t T) {
			t.Helper()
			if req.Kind != Fault {
				t.Parallel()
			}
			c := row(req)
			e.runCase(t.Context(), req, &c)
			judgeTest(t, c, slices.Contains(knownFailures, req.ID))
		})
	}
}

func judgeTest[T Test[T]](t T, c report.Case, known bool) {
	t.Helper()
	for _, line := range c.Log {
		t.Logf("%s", line)
	}
	switch {
	case c.Verdict == report.Error:
		t.Errorf("the harness or the environment failed: %s", c.Message)
	case known && c.Verdict == report.Pass:
		t.Errorf("it passes, but is listed as a known failure; take it off the list")
	case known && c.Verdict == report.Fail:
		t.Skipf("known failure: %s", c.Message)
	case c.Verdict == report.Fail:
		t.Errorf("%s\n%s (%s)", c.Message, c.Text, c.Source)
	case c.Verdict != report.Pass:
		t.Skipf("%s: %s", c.Verdict, c.Message)
	}
}
