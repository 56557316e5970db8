package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/contexts"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

const (
	connectWithin = 10 * time.Second
	closeWithin   = 10 * time.Second
)

// target is the messaging system that a command talks to.
type target struct{ url, context string }

// add adds the flags that name the system.
func (t *target) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.url, "url", "", "access-point URL of the messaging system")
	f.StringVar(&t.context, "context", "", "name of a saved context, see oms context")
	_ = c.RegisterFlagCompletionFunc("context", completeContexts) // the flag is there
}

// connection is an open access point and how it was chosen.
type connection struct {
	om.AccessPoint
	choice contexts.Choice
}

// open connects. The error has its exit status.
func (t *target) open(c *cobra.Command) (*connection, error) {
	choice, err := contexts.Choose(t.url, t.context)
	if err != nil {
		return nil, usage(c, err)
	}
	return connect(c, choice)
}

func connect(c *cobra.Command, choice contexts.Choice) (*connection, error) {
	credentials, err := choice.Credentials(asker(c))
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	opts := []oms.Option{oms.WithLogger(log)}
	if credentials != nil {
		opts = append(opts, oms.WithCredentials(credentials))
	}
	ctx, cancel := context.WithTimeout(c.Context(), connectWithin)
	defer cancel()
	ap, err := oms.Open(ctx, choice.URL, opts...)
	switch code := om.CodeOf(err); {
	case err == nil:
		return &connection{ap, choice}, nil
	case code == om.CodeMalformedURL:
		return nil, &exitError{exitUsage, err}
	case code == om.CodeServiceUnavailable || code == om.CodeTimeout:
		err = fmt.Errorf("%w; is it running? oms doctor looks closer", err)
	}
	return nil, &exitError{exitFailed, err}
}

// asker asks for a secret on the terminal; nil where there is none.
func asker(c *cobra.Command) func(account string) (string, error) {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return func(account string) (string, error) {
		fmt.Fprintf(c.ErrOrStderr(), "Key of account %s: ", account)
		key, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		return string(key), err
	}
}

// with runs f with an open access point and closes it. Errors that have no exit
// status are failures.
func (t *target) with(c *cobra.Command, f func(ctx context.Context, ap *connection) error) error {
	ap, err := t.open(c)
	if err != nil {
		return err
	}
	err = f(c.Context(), ap)
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if closeErr := ap.Close(ctx); err == nil {
		err = closeErr
	}
	return failed(err)
}

// failed gives an error without an exit status that of a failure.
func failed(err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{exitFailed, err}
}

// nothing is a failure that standard error tells in words of its own.
func nothing(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Errorf(format, args...)}
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirmed asks before something is lost. Without a terminal it refuses.
func confirmed(c *cobra.Command, yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if !isTerminal(c.InOrStdin()) {
		return &exitError{exitUsage, fmt.Errorf("%s: nobody can be asked here; pass --yes", what)}
	}
	return ask(c.InOrStdin(), c.ErrOrStderr(), what)
}

func ask(in io.Reader, out io.Writer, what string) error {
	fmt.Fprintf(out, "%s? [y/N] ", what)
	var answer string
	_, _ = fmt.Fscanln(in, &answer) // nothing is no
	if answer != "y" && answer != "Y" && answer != "yes" {
		return &exitError{exitFailed, errors.New("nothing was done")}
	}
	return nil
}
