package tck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/report"
	"github.com/openmessaging/openmessaging-go/tck/stdio"
)

// keyVariable is the environment variable with the account's key: secrets are
// no arguments, which every user of the machine can read.
const keyVariable = "OMSTCK_ACCOUNT_KEY"

// runFlags are what the command run is told.
type runFlags struct {
	target  Target
	child   string
	only    []string
	skip    []string
	known   string
	account string
	outputs map[string]*string // by format
}

func runCommand() *cobra.Command {
	f := runFlags{outputs: map[string]*string{}}
	c := &cobra.Command{
		Use:   "run",
		Short: "Test a driver",
		Long: `Test the driver that the URL names, and print what failed. The exit status is 0 when it is
conformant (or all that ran passed), 1 when it is not, 2 when the settings, the target or the kit
failed, 3 when nothing ran.

A driver in another language is a program that speaks the protocol of package tck/stdio on its
standard input and output: give its command with --child.

The environment variable ` + keyVariable + ` holds the key of the account that --account names.`,
		Example: `  omstck run --url 'oms:badger://local/tck?memory=true'
  omstck run --url 'oms:mine://broker:9876/test' --json report.json --junit report.xml --html report.html
  omstck run --child 'python3 examples/pydriver/driver.py'
  omstck run --url 'oms:mine://broker:9876/test' --case R032,G27`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.StringVar(&f.target.URL, "url", "", "access-point URL of the system to test")
	flags.StringVar(&f.child, "child", "", "command of a driver process to test over its standard input and output")
	flags.StringVar(&f.target.Name, "name", "", "name in reports (default: the driver's)")
	flags.StringSliceVar(&f.only, "case", nil, "run these requirements only, for example R032,G27")
	flags.StringSliceVar(&f.skip, "skip", nil, "leave these requirements out; the verdict is then partial at best")
	flags.StringVar(&f.known, "known-failures", "", "file with requirements that are known to fail; one that passes fails the run")
	flags.StringVar(&f.account, "account", "", "account id to connect with")
	flags.Float64Var(&f.target.Timing.Scale, "scale", 1, "factor for all waiting times, for slow systems")
	flags.IntVar(&f.target.Parallel, "parallel", 16, "cases that run at once")
	for _, format := range []string{"json", "junit", "html"} {
		f.outputs[format] = flags.String(format, "", "write a report in this format to a file")
	}
	return c
}

func (f *runFlags) run(c *cobra.Command) error {
	sel, err := f.prepare()
	if err != nil {
		return err
	}
	progress := newProgress(c.ErrOrStderr())
	sel.Progress = progress.add
	r := Check(c.Context(), f.target, sel)
	progress.finish()
	ran := len(r.Cases) - r.Counts[report.Skipped]
	if ran > 0 {
		if err := report.WriteTable(c.OutOrStdout(), r); err != nil {
			return broken("printing the result: %w", err)
		}
	}
	if err := f.write(r); err != nil {
		return err
	}
	switch {
	case c.Context().Err() != nil:
		return broken("interrupted; %d of %d cases had run", ran, len(r.Cases))
	case r.Conclusion == report.Broken && ran > 0:
		return broken("%s", r.Reason)
	case r.Conclusion == report.Broken && strings.Contains(r.Reason, nothingRan):
		return &exit{ExitNothingRan, errors.New(r.Reason)}
	case r.Conclusion == report.Broken:
		return broken("%s", r.Reason)
	case r.Conclusion == report.NotConformant:
		return &exit{ExitNotConformant, nil}
	}
	return nil
}

// prepare checks the flags before anything runs.
func (f *runFlags) prepare() (sel Selection, err error) {
	switch {
	case (f.target.URL == "") == (f.child == ""):
		return sel, broken("give either --url or --child; see omstck run --help")
	case f.child != "":
		words := strings.Fields(f.child)
		if len(words) == 0 {
			return sel, broken("--child is blank; give a command such as 'python3 driver.py'")
		}
		f.target.URL = "oms:child://localhost/tck"
		f.target.Driver = stdio.Driver("child", stdio.Command{Path: words[0], Args: words[1:], Share: true})
	default:
		u, err := om.ParseURL(f.target.URL)
		if err != nil {
			return sel, broken("%w", err)
		}
		if _, err := spi.DefaultRegistry.Lookup(u.Driver); err != nil {
			return sel, broken("%w", err)
		}
	}
	if s := f.target.Timing.Scale; !(s > 0 && s <= 1000) {
		return sel, broken("--scale %v is not above 0 and up to 1000", s)
	}
	if f.target.Parallel < 1 {
		return sel, broken("--parallel %d is not positive", f.target.Parallel)
	}
	if len(f.only) > 0 && len(f.skip) > 0 {
		return sel, broken("--case and --skip exclude each other")
	}
	for _, id := range append(f.only, f.skip...) {
		if !isRequirement(id) {
			return sel, broken("there is no requirement %.40q; omstck list shows them", id)
		}
	}
	if sel.IDs = f.only; len(f.skip) > 0 {
		sel.IDs = without(f.skip)
	}
	if f.known != "" {
		file, err := os.Open(f.known)
		if err == nil {
			sel.KnownFailures, err = ReadKnownFailures(file)
			_ = file.Close()
		}
		if err != nil {
			return sel, broken("known failures %s: %w", f.known, err)
		}
	}
	if key := os.Getenv(keyVariable); f.account != "" || key != "" {
		f.target.Credentials = func(context.Context) (spi.Credentials, error) {
			return spi.Credentials{AccountID: f.account, AccountKey: key}, nil
		}
	}
	return sel, f.checkOutputs()
}

// checkOutputs finds out before the run that a report cannot be written.
func (f *runFlags) checkOutputs() error {
	for format, path := range f.outputs {
		if *path == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(*path)); err != nil || !info.IsDir() {
			return broken("--%s %s: its folder does not exist; make it first", format, *path)
		}
		file, err := os.OpenFile(*path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return broken("--%s: %w; choose a path that can be written", format, err)
		}
		_ = file.Close()
	}
	return nil
}

func (f *runFlags) write(r *report.Report) (err error) {
	for format, write := range map[string]func(io.Writer, *report.Report) error{
		"json": report.WriteJSON, "junit": report.WriteJUnit, "html": report.WriteHTML,
	} {
		path := *f.outputs[format]
		if path == "" {
			continue
		}
		file, openErr := os.Create(path)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		err = errors.Join(err, write(file, r), file.Close())
	}
	if err != nil {
		return broken("a report could not be written: %w", err)
	}
	return nil
}

// progress shows a line on a terminal and nothing anywhere else.
type progress struct {
	bar    *progressbar.ProgressBar
	failed chan int // holds the number of failures so far
}

func newProgress(w io.Writer) *progress {
	p := &progress{failed: make(chan int, 1)}
	p.failed <- 0
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(-1, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(),
			progressbar.OptionThrottle(50*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *progress) add(done, total int, c report.Case) {
	if p.bar == nil {
		return
	}
	failed := <-p.failed
	if c.Verdict == report.Fail || c.Verdict == report.Error {
		failed++
	}
	p.bar.ChangeMax(total)
	p.bar.Describe(fmt.Sprintf("%d failed", failed))
	_ = p.bar.Set(done)
	p.failed <- failed
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
