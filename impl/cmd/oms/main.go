// Command oms is the operator's program: it works with messaging systems through
// the portable client, runs the broker as a server, measures, and cares for
// stores.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	_ "github.com/openmessaging/openmessaging-go/impl/badger"
	_ "github.com/openmessaging/openmessaging-go/impl/nats"
	_ "github.com/openmessaging/openmessaging-go/impl/remote"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second signal ends the process
	signal.Ignore(syscall.SIGPIPE) // a write tells
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// gcPercent lets the heap, which is small beside the mapped files, grow to five
// times of what lives before it is collected.
const gcPercent = 400

// Exit statuses.
const (
	exitFailed = 1 // the command ran and failed, or found something
	exitUsage  = 2 // the command could not be run
)

// exitError gives an error an exit status; err may be nil when everything was
// said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }
func (e *exitError) Unwrap() error { return e.err }

// run runs a command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runWith(ctx, args, os.Stdin, stdout, stderr)
}

// runWith is run with a standard input of its own.
func runWith(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		// Cobra's own, with suggestions on lines of their own: an unknown command.
		said := strings.Join(strings.Fields(err.Error()), " ")
		exit = &exitError{exitUsage, fmt.Errorf("%s; see oms --help", said)}
	}
	if exit.err != nil {
		fmt.Fprintln(stderr, "oms:", exit.err)
	}
	return exit.code
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "oms",
		Short: "OpenMessaging for Go: work with messaging systems, run the broker, measure it",
		Long: `OpenMessaging for Go: work with messaging systems, run the broker, measure it.

Exit status: 0 done; 1 the command ran and failed, or found nothing or something
wrong; 2 the command line makes no sense or the command could not begin. Errors
are one line on standard error.`,
		Example: `  oms dev
  oms context add local --url oms:oms://127.0.0.1:7650/default
  oms queue create orders
  oms publish orders 'first order'
  oms consume orders --group billing -n 1`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.AddCommand(serveCommand(), devCommand(), benchCommand(), filterCommand(), storeCommand(), versionCommand())
	root.AddCommand(operatorCommands()...)
	arrange(root)
	return root
}

// usage is the error of a command line that makes no sense.
func usage(c *cobra.Command, err error) error {
	return &exitError{exitUsage, fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
}

// args has positional arguments refused with exit status 2.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(c, err)
		}
		return nil
	}
}
