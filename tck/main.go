package tck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Exit statuses of the program.
const (
	ExitConformant    = 0 // everything that ran passed or is a known failure
	ExitNotConformant = 1
	ExitBroken        = 2 // the settings, the target or the kit itself failed
	ExitNothingRan    = 3
)

// Main is the program omstck with the drivers that are linked in. A vendor's
// own program is this call and a blank import of the driver:
//
//	package main
//
//	import (
//		_ "example.com/mine/driver"
//		"github.com/openmessaging/openmessaging-go/tck"
//	)
//
//	func main() { tck.Main() }
//
// It ends the process. An interrupt ends the run; what has run is reported.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exit is an error with an exit status; err may be nil when everything was said.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return fmt.Sprint(e.err) }

func broken(format string, args ...any) error { return &exit{ExitBroken, fmt.Errorf(format, args...)} }

// Command runs a command line of omstck and returns its exit status.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "omstck",
		Short:         "The OpenMessaging conformance kit: proves whether a driver conforms, requirement by requirement",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(runCommand(), listCommand(), versionCommand())
	err := root.ExecuteContext(ctx)
	var e *exit
	if err != nil && !errors.As(err, &e) {
		e = &exit{ExitBroken, fmt.Errorf("%s; see omstck --help", strings.Join(strings.Fields(err.Error()), " "))}
	}
	if e == nil {
		return ExitConformant
	}
	if e.err != nil {
		fmt.Fprintln(stderr, "omstck:", e.err)
	}
	return e.code
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the specification version and the linked-in drivers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			drivers := spi.DefaultRegistry.Names()
			if len(drivers) == 0 {
				drivers = []string{"none"}
			}
			fmt.Fprintf(c.OutOrStdout(), "omstck for OpenMessaging %s, %d requirements\ndrivers: %s\n",
				om.SpecVersion, len(requirements()), strings.Join(drivers, ", "))
			return nil
		},
	}
}

func listCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the requirements", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				out := json.NewEncoder(c.OutOrStdout())
				out.SetIndent("", "  ")
				return out.Encode(requirements())
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, r := range requirements() {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name(), r.Profile(), r.Kind, r.Text)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// without returns the IDs of all requirements but these.
func without(ids []string) []string {
	rest := []string{} // not nil, which stands for all
	for _, r := range requirements() {
		if !slices.Contains(ids, r.ID) {
			rest = append(rest, r.ID)
		}
	}
	return rest
}
