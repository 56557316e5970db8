package tck

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// Selection narrows a run. The zero value runs everything.
type Selection struct {
	// IDs are the requirements to run; nil for all. What is left out is
	// Skipped in the report.
	IDs []string
	// KnownFailures are requirements that are known to fail: they run, and one
	// that passes makes the implementation not conformant, so that the list
	// stays true.
	KnownFailures []string
	// Progress, when set, is told of each finished case. It may be called
	// concurrently.
	Progress func(done, total int, c report.Case)
}

func (s Selection) has(id string) bool { return s.IDs == nil || slices.Contains(s.IDs, id) }

// Check runs the cases against a target and returns the report. It never
// panics and returns when all cases have ended or been given up; when ctx ends,
// the cases that did not run are Skipped. An environment that cannot be used, an
// access point that does not open for example, gives the conclusion Broken.
func Check(ctx context.Context, target Target, sel Selection) *report.Report {
	began := time.Now()
	r := &report.Report{
		Schema: report.Schema, Tool: "omstck " + om.SpecVersion, Started: began.UTC(),
		Target: report.Target{Name: target.Name},
	}
	e := &engine{target: target, sel: sel}
	err := e.prepare(ctx)
	r.Target.URL, r.Target.Driver, r.Target.SpecVersion = e.url, e.driver, e.spec
	if r.Target.Name == "" {
		r.Target.Name = e.driver
	}
	for _, c := range e.caps {
		r.Target.Capabilities = append(r.Target.Capabilities, string(c))
	}
	slices.Sort(r.Target.Capabilities)
	r.Cases = make([]report.Case, len(requirements()))
	for i, req := range requirements() {
		r.Cases[i] = row(req)
		r.Cases[i].Known = slices.Contains(sel.KnownFailures, req.ID)
	}
	if err == nil {
		e.run(ctx, r.Cases)
		err = e.finish(ctx)
	}
	r.Seconds = time.Since(began).Seconds()
	conclude(r, err)
	return r
}

func row(req Requirement) report.Case {
	c := report.Case{
		ID: req.ID, Slug: req.Slug, Area: req.Area, Level: req.Level(), Kind: string(req.Kind),
		Text: req.Text, Source: req.Source, Verdict: report.Skipped, Message: "not selected",
	}
	for _, n := range req.Needs {
		c.Needs = append(c.Needs, string(n))
	}
	return c
}

// engine runs the cases of one Check.
type engine struct {
	target  Target
	sel     Selection
	timing  Timing
	caps    om.Capabilities
	url     string
	driver  string
	spec    string
	base    om.AccessPoint // open while cases run: what it started belongs to no case
	endBase context.CancelFunc
}

// prepare finds the driver and asks it for its capabilities.
func (e *engine) prepare(ctx context.Context) error {
	e.target.Library = e.target.Library.filled()
	e.timing = e.target.Timing.scaled()
	e.url = e.target.URL
	for _, id := range slices.Concat(e.sel.IDs, e.sel.KnownFailures) {
		if !slices.ContainsFunc(requirements(), func(r Requirement) bool { return r.ID == id }) {
			return fmt.Errorf("there is no requirement %q; the IDs are R001 to R100 and G01 to G40", id)
		}
	}
	u, err := om.ParseURL(e.target.URL)
	if err != nil {
		return err
	}
	e.url, e.driver = u.String(), u.Driver
	if e.target.Driver == nil {
		if e.target.Driver, err = spi.DefaultRegistry.Lookup(u.Driver); err != nil {
			return err
		}
	}
	if e.target.Driver, err = named(e.target.Driver, u.Driver); err != nil {
		return err
	}
	if err := e.openBase(ctx); err != nil {
		return fmt.Errorf("the target does not open: %w", err)
	}
	e.caps, e.spec = e.base.Capabilities(), e.base.SpecVersion()
	return nil
}

// openBase opens the engine's own connection.
func (e *engine) openBase(ctx context.Context) error {
	// The context ends with the connection and not with Open: whether a driver
	// minds is for a case to tell.
	limit, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	late := time.AfterFunc(e.timing.Case, cancel)
	defer late.Stop()
	t := e.newT(limit, Requirement{ID: "base"})
	type opened struct {
		ap  om.AccessPoint
		err error
	}
	answer := make(chan opened, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answer <- opened{err: fmt.Errorf("the driver panicked: %v", p)}
			}
		}()
		ap, err := e.target.Library.Open(limit, e.target.URL, t.options(e.target.Driver)...)
		answer <- opened{ap, err}
	}()
	timer := time.NewTimer(e.timing.Case + e.timing.Arrive)
	defer timer.Stop()
	select {
	case o := <-answer:
		if o.err != nil {
			cancel()
			return o.err
		}
		e.base, e.endBase = o.ap, cancel
		return nil
	case <-timer.C:
		return fmt.Errorf("Open did not return within %v, although its context ended after %v", e.timing.Case+e.timing.Arrive, e.timing.Case)
	}
}

// revive opens the engine's own connection anew after a case that may have
// ended the system.
func (e *engine) revive(ctx context.Context) {
	if f := e.target.Faults; f.Kill == nil && f.Restart == nil {
		return
	}
	old, end := e.base, e.endBase
	if e.openBase(ctx) == nil { // else finish tells
		_ = old.Close(ctx)
		end()
	}
}

// finish asks the target for a sign of life, so that one that died on the way is
// told from one that does not conform, and closes the engine's own connection.
func (e *engine) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.timing.Arrive)
	defer cancel()
	t := e.newT(ctx, Requirement{ID: "base"})
	answer := make(chan error, 1)
	t.guard("base", e.timing.Arrive, func() {
		_, err := e.base.NewProducer(ctx)
		_ = e.base.Close(ctx)
		e.endBase()
		answer <- err
	})
	select {
	case err := <-answer:
		if err != nil {
			return fmt.Errorf("the target died during the run: %w", err)
		}
		return nil
	default:
		_, message, _ := t.end()
		return fmt.Errorf("the target died during the run: a new producer %s", message)
	}
}

// named refuses a driver of another name than the URL's: the registry would
// not find it.
func named(d spi.Driver, name string) (_ spi.Driver, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the driver panicked when asked for its Info: %v", p)
		}
	}()
	if got := d.Info().Name; got != name {
		return nil, fmt.Errorf("the URL names driver %q, the target's driver is %q", name, got)
	}
	return d, nil
}

// run runs the selected cases: those that use faults alone, the others at once.
func (e *engine) run(ctx context.Context, rows []report.Case) {
	parallel := e.target.Parallel
	if parallel <= 0 {
		parallel = 16
	}
	var mu sync.Mutex
	done, total := 0, 0
	var together, alone []int
	for i, req := range requirements() {
		switch {
		case !e.sel.has(req.ID):
			continue
		case req.Kind == Fault:
			alone = append(alone, i)
		default:
			together = append(together, i)
		}
		total++
	}
	do := func(i int) {
		if ctx.Err() != nil {
			rows[i].Message = "the run was ended before"
			return
		}
		e.runCase(ctx, requirements()[i], &rows[i])
		mu.Lock()
		done++
		n := done
		mu.Unlock()
		if e.sel.Progress != nil {
			e.sel.Progress(n, total, rows[i])
		}
	}
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for _, i := range together {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	all.Wait()
	for _, i := range alone {
		do(i)
	}
}

func (e *engine) newT(ctx context.Context, req Requirement) *trial {
	t := &trial{Timing: e.timing, target: &e.target, id: req.ID, ctx: ctx, gate: new(gate), caps: e.caps, verdict: report.Pass}
	t.gate.panicked = func(what string) { t.Errorf("%s", what) }
	return t
}

// runCase fills the row of one case.
func (e *engine) runCase(ctx context.Context, req Requirement, row *report.Case) {
	began := time.Now()
	run := cases[req.ID]
	var missing []string
	for _, c := range req.Needs {
		if !e.caps.Has(c) {
			missing = append(missing, string(c))
			run = probes[string(c)]
		}
	}
	t := e.newT(ctx, req)
	if run != nil {
		e.supervise(t, run)
	}
	if req.Kind == Fault {
		e.revive(ctx)
	}
	row.Verdict, row.Message, row.Log = t.end()
	if len(missing) > 0 && row.Verdict == report.Pass {
		row.Verdict, row.Message = report.NotSupported, "the driver does not declare "+strings.Join(missing, ", ")
	}
	row.Seconds = time.Since(began).Seconds()
}

// conclude judges the report.
func conclude(r *report.Report, broken error) {
	r.Counts = report.Count(r.Cases)
	order := []string{"core"}
	groups := map[string][]report.Case{}
	for i, req := range requirements() {
		name := req.Profile()
		if groups[name] == nil && name != "core" {
			order = append(order, name)
		}
		groups[name] = append(groups[name], r.Cases[i])
	}
	slices.Sort(order[1:])
	for _, name := range order {
		conclusion, _ := judge(groups[name])
		if n := len(groups[name]); report.Count(groups[name])[report.NotSupported] == n {
			conclusion = report.Undeclared
		}
		r.Profiles = append(r.Profiles, report.Profile{Name: name, Conclusion: conclusion, Counts: report.Count(groups[name])})
	}
	if broken != nil {
		r.Conclusion, r.Reason = report.Broken, broken.Error()
		return
	}
	r.Conclusion, r.Reason = judge(r.Cases)
}

// nothingRan is the reason when no case was executed.
const nothingRan = "nothing ran"

// judge draws the conclusion from cases. Known failures do not count, but must
// fail; untested cases are listed and count for nothing.
func judge(cases []report.Case) (report.Conclusion, string) {
	ids := map[string][]string{}
	for _, c := range cases {
		switch {
		case c.Known && c.Verdict == report.Pass:
			ids["fixed"] = append(ids["fixed"], c.ID)
		case c.Known && c.Verdict == report.Fail:
			ids["known"] = append(ids["known"], c.ID)
		default:
			ids[string(c.Verdict)] = append(ids[string(c.Verdict)], c.ID)
		}
	}
	some := func(key, what string) string { return fmt.Sprintf("%s: %s", what, strings.Join(ids[key], ", ")) }
	switch {
	case len(ids[string(report.Fail)]) > 0:
		return report.NotConformant, some(string(report.Fail), "failed")
	case len(ids["fixed"]) > 0:
		return report.NotConformant, some("fixed", "listed as known failures, but they pass; take them off the list")
	case len(ids[string(report.Error)]) > 0:
		return report.Broken, some(string(report.Error), "the harness or the environment failed")
	case len(ids[string(report.Skipped)]) == len(cases):
		return report.Broken, nothingRan
	case len(ids[string(report.Skipped)]) > 0:
		return report.Partial, fmt.Sprintf("%d cases were left out", len(ids[string(report.Skipped)]))
	case len(ids["known"]) > 0:
		return report.Partial, some("known", "known failures")
	}
	return report.Conformant, ""
}
