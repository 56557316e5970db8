package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

const (
	connectWithinTime = 10 * time.Second
	whoIsAsked        = "\n\nThe server is named by --url or OMS_URL. Who asks is the account of the URL; its\nkey comes from OMS_ACCOUNT_KEY or a question on the terminal, a token from OMS_TOKEN."
)

// users is the server whose users a command looks at or changes.
type users struct{ url string }

// command makes a command that talks to a server.
func (u *users) command(use, short, long, example string, check cobra.PositionalArgs, f func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: cmp.Or(long, short+".") + whoIsAsked, Example: example, Args: args(check),
		RunE: func(c *cobra.Command, args []string) error {
			err := u.with(c, func(s wirepb.SecurityServiceClient) error { return f(c, s, args) })
			var exit *exitError
			if err == nil || errors.As(err, &exit) {
				return err
			}
			return &exitError{exitFailed, wire.FromStatus(c.Context(), err, "", "")}
		},
	}
	c.Flags().StringVar(&u.url, "url", "", "access-point URL of the server, such as oms:oms://admin@127.0.0.1:7650/default")
	return c
}

// with runs f with a connection.
func (u *users) with(c *cobra.Command, f func(wirepb.SecurityServiceClient) error) error {
	url := cmp.Or(u.url, os.Getenv("OMS_URL"))
	if url == "" {
		return usage(c, errors.New("--url or OMS_URL says which server is meant"))
	}
	at, err := om.ParseURL(url)
	if err != nil {
		return usage(c, err)
	}
	if info := (remote.Driver{}).Info(); at.Driver != info.Name {
		return usage(c, fmt.Errorf("users are kept by servers of this broker, whose URLs begin with oms:%s", info.Name))
	}
	opts, err := credentials(c, at.Account)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), connectWithinTime)
	defer cancel()
	ap, err := oms.Open(ctx, url, opts...)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	var cc grpc.ClientConnInterface
	if !ap.As(&cc) {
		err = errors.New("the connection has no calls about users")
	} else {
		err = f(wirepb.NewSecurityServiceClient(cc))
	}
	if closing := ap.Close(context.WithoutCancel(c.Context())); err == nil {
		err = closing
	}
	return err
}

// credentials returns who the command is.
func credentials(c *cobra.Command, account string) ([]oms.Option, error) {
	now := spi.Credentials{AccountID: account, AccountKey: os.Getenv("OMS_ACCOUNT_KEY"), Token: os.Getenv("OMS_TOKEN")}
	in, ok := c.InOrStdin().(*os.File)
	if now.AccountKey == "" && now.Token == "" && account != "" && ok && term.IsTerminal(int(in.Fd())) {
		_, _ = fmt.Fprintf(c.ErrOrStderr(), "Key of account %s: ", account)
		key, err := term.ReadPassword(int(in.Fd()))
		_, _ = fmt.Fprintln(c.ErrOrStderr())
		if err != nil {
			return nil, &exitError{exitFailed, err}
		}
		now.AccountKey = string(key)
	}
	if now.AccountKey == "" && now.Token == "" {
		return nil, nil
	}
	return []oms.Option{oms.WithCredentials(func(context.Context) (spi.Credentials, error) { return now, nil })}, nil
}

// newPassword reads the new password of a user: from a file or variable that is
// named, the terminal without an echo, or else the first line of standard input.
func newPassword(c *cobra.Command, user, from string) (auth.Secret, error) {
	if from != "" {
		return auth.LoadSecret(from)
	}
	if in, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return promptPassword(c.ErrOrStderr(), in, user)
	}
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), auth.MaxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return auth.Secret{}, err
	}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	if line == "" {
		return auth.Secret{}, errors.New("there is no password on standard input; give one there, or with --password-from file:PATH or env:NAME")
	}
	return auth.NewSecret(line), nil
}

// verifier makes what the server gets instead of the password.
func verifier(ctx context.Context, s wirepb.SecurityServiceClient, user string, password auth.Secret, further bool) (string, error) {
	with, err := s.PreparePassword(ctx, &wirepb.PreparePasswordRequest{Name: user})
	if err != nil {
		return "", err
	}
	var v auth.Verifier
	switch {
	case !further:
		v, err = auth.NewVerifier(password, int(with.GetIterations()))
	case len(with.GetSalt()) == 0:
		err = fmt.Errorf("%s has no password yet; leave out --add", user)
	default:
		v, err = auth.DeriveVerifier(password, with.GetSalt(), int(with.GetIterations()))
	}
	if err != nil {
		return "", err
	}
	return v.Encode(), nil
}
