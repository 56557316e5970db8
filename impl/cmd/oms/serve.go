package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/serve"
)

func serveCommand() *cobra.Command {
	var file string
	var show, check bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker as a server",
		Long: `Run the broker as a server that clients reach with driver "oms". Everything it
acknowledges is synced to disk before. Ctrl-C or SIGTERM ends it in good order:
nothing new is accepted, consumers may settle what they have for some seconds,
the rest is given back. A second signal ends it at once.

Each setting is a flag, a variable of the environment (OMS_TLS_CERT for --tls-cert)
or a key of the file (tls.cert); flags go before the environment, that before the
file. SIGHUP, or a change of the file, has it read again.

Without users the server asks nobody who he is and listens on this machine's own
addresses only. --init-admin makes the first user; from then on everybody logs in,
and with --tls-cert and --tls-key the server listens anywhere.

Health, metrics and profiles are at --admin-listen: /livez, /readyz, /startupz,
/metrics, /debug/pprof/.`,
		Example: "  oms serve --path ./data\n  oms serve --config /etc/oms/oms.yaml --print-config\n  oms serve --path ./data --init-admin alice\n" +
			"  oms serve --path ./data --listen :7650 --tls-cert cert.pem --tls-key key.pem",
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := serve.Load(serve.Source{File: file, Environ: os.Environ(), Flags: c.Flags()})
			if err != nil {
				return usage(c, eachLine(err))
			}
			if show {
				return l.Print(c.OutOrStdout())
			}
			if err := l.Check(); err != nil {
				return usage(c, eachLine(err))
			}
			if check {
				for _, name := range l.Strange {
					fmt.Fprintln(c.ErrOrStderr(), "oms: this variable of the environment is no setting:", name)
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), "the configuration can be used")
				return err
			}
			return runServer(c, l, nil)
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	c.Flags().BoolVar(&show, "print-config", false, "print the configuration and where each value comes from, and end")
	c.Flags().BoolVar(&check, "check", false, "say what is wrong with the configuration, open nothing, and end")
	serve.AddFlags(c.Flags())
	return c
}

func devCommand() *cobra.Command {
	var path, listen string
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a broker for trying things out",
		Long: `Run a server that needs nothing: it keeps messages in memory, or in a folder with
--path. The first line it prints is the access-point URL. Ctrl-C ends it.`,
		Example: "  oms dev\n  oms dev --path ./data",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if local, err := serve.IsLocal(listen); err == nil && !local {
				return usage(c, fmt.Errorf("--listen %s can be reached from other machines, and this broker asks nobody who he is; listen on 127.0.0.1, [::1] or localhost, or use oms serve", listen))
			}
			l := &serve.Loaded{Config: serve.Defaults()}
			l.Path, l.Memory, l.Listen, l.Admin.Listen = path, path == "", listen, ""
			return runServer(c, l, func(address, _ string) error { return paste(c.OutOrStdout(), remote.URL(address)) })
		},
	}
	c.Flags().StringVar(&path, "path", "", "folder of the store (default: in memory)")
	c.Flags().StringVar(&listen, "listen", serve.Defaults().Listen, "address to listen on; port 0 takes a free one")
	return c
}

// eachLine has every problem of a joined error begin a line of the program.
func eachLine(err error) error { return errors.New(strings.ReplaceAll(err.Error(), "\n", "\noms: ")) }

// paste prints the URL and what to do with it.
func paste(out io.Writer, url string) error {
	_, err := fmt.Fprintf(out, `%s

Try it in another terminal:

  oms context add local --url %[1]s
  oms queue create orders
  oms publish orders hello
  oms consume orders --group mine -n 1

In a program:

  import _ "github.com/openmessaging/openmessaging-go/impl/remote"

  ap, err := oms.Open(ctx, "%[1]s")

Ctrl-C ends the broker.
`, url)
	return err
}

// runServer runs a server until the command's context ends.
func runServer(c *cobra.Command, l *serve.Loaded, ready func(address, admin string) error) error {
	hangup, stop := hangups(c.Context())
	defer stop()
	err := serve.Run(c.Context(), l, serve.Options{
		Log: c.ErrOrStderr(), Ready: ready, Hangup: hangup,
		AskPassword: func(user string) (auth.Secret, error) { return firstPassword(c, user) },
	})
	var config *serve.ConfigError
	switch {
	case errors.As(err, &config):
		return usage(c, eachLine(err))
	case err != nil:
		return &exitError{exitFailed, err}
	}
	return nil
}

// hangups passes on that the process got SIGHUP.
func hangups(ctx context.Context) (<-chan struct{}, func()) {
	signals, out := make(chan os.Signal, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(signals)
		cancel()
	}
}

// firstPassword asks for the password of the first user, or makes one where there
// is nobody to ask.
func firstPassword(c *cobra.Command, user string) (auth.Secret, error) {
	if in, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return promptPassword(c.ErrOrStderr(), in, user)
	}
	password := serve.GeneratePassword()
	_, err := fmt.Fprintf(c.OutOrStdout(), "The password of %s, shown this once: %s\n", user, password.Reveal())
	return password, err
}

// promptPassword asks for a new password twice, without an echo.
func promptPassword(out io.Writer, in *os.File, user string) (auth.Secret, error) {
	ask := func(what string) (string, error) {
		_, _ = fmt.Fprintf(out, "%s of %s: ", what, user)
		text, err := term.ReadPassword(int(in.Fd()))
		_, _ = fmt.Fprintln(out)
		return string(text), err
	}
	first, err := ask("New password")
	if err != nil {
		return auth.Secret{}, err
	}
	second, err := ask("The same again")
	switch {
	case err != nil:
		return auth.Secret{}, err
	case first != second:
		return auth.Secret{}, errors.New("the passwords differ; nothing is changed")
	}
	return auth.NewSecret(first), nil
}
