package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

const (
	defaultListen = "127.0.0.1:7650"
	// stopWithin bounds an end in good order.
	stopWithin = 30 * time.Second
)

func serveCommand() *cobra.Command {
	var path, listen string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker as a server",
		Long: `Run the broker as a server that clients reach with driver "oms". Everything it
acknowledges is synced to disk before. Ctrl-C or SIGTERM ends it in good order:
nothing new is accepted, consumers may settle what they have for some seconds,
the rest is given back. A second signal ends it at once.

Nobody is asked who he is, so the server listens on this machine's own addresses
only.`,
		Example: "  oms serve --path ./data\n  oms serve --path ./data --listen '[::1]:7650'",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if path == "" {
				return usage(c, errors.New("--path says in which folder messages are stored; it is made when it is missing"))
			}
			return serve(c, store.Options{Path: path}, listen, func(string) error { return nil })
		},
	}
	c.Flags().StringVar(&path, "path", "", "folder of the store")
	c.Flags().StringVar(&listen, "listen", defaultListen, "address to listen on; port 0 takes a free one")
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
			return serve(c, store.Options{Path: path, Memory: path == ""}, listen, func(address string) error {
				return paste(c.OutOrStdout(), remote.URL(address))
			})
		},
	}
	c.Flags().StringVar(&path, "path", "", "folder of the store (default: in memory)")
	c.Flags().StringVar(&listen, "listen", defaultListen, "address to listen on; port 0 takes a free one")
	return c
}

// paste prints the URL and what to do with it.
func paste(out io.Writer, url string) error {
	_, err := fmt.Fprintf(out, `%s

Try it in another terminal:

  oms bench send --messages 10000 --url %[1]s

In a program:

  import _ "github.com/openmessaging/openmessaging-go/impl/remote"

  ap, err := oms.Open(ctx, "%[1]s")

Ctrl-C ends the broker.
`, url)
	return err
}

// serve runs a server until the command's context ends. ready is told the address
// when clients can connect.
func serve(c *cobra.Command, st store.Options, listen string, ready func(address string) error) error {
	log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
	l, err := listenLocally(listen)
	if err != nil {
		return usage(c, err)
	}
	b, err := broker.Open(broker.Config{Store: st, Logger: log})
	if err != nil {
		return &exitError{exitFailed, errors.Join(err, l.Close())}
	}
	s := server.New(server.Options{Broker: b, Logger: log})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	log.Info("serving", "address", l.Addr().String(), "path", st.Path)
	if err = ready(l.Addr().String()); err == nil {
		select {
		case err = <-served:
			served <- nil
		case <-c.Context().Done():
			log.Info("stopping")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		log.Warn("some connections were cut off", "after", stopWithin)
	}
	if err = errors.Join(err, <-served, b.Close()); err != nil {
		return &exitError{exitFailed, err}
	}
	log.Info("stopped")
	return nil
}

// listenLocally listens on an address of this machine's own.
func listenLocally(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--listen %s: the server does not ask who its clients are, so it listens on 127.0.0.1, [::1] or localhost only", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	return l, nil
}
