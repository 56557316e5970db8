package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/contexts"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

const whoIsAsked = "\n\nThe account of the URL, or of the context, asks. Its key or token comes from where\noms context says."

// users is the server whose users a command looks at or changes.
type users struct{ target }

// command makes a command that talks to a server.
func (u *users) command(use, short, long, example string, check cobra.PositionalArgs, f func(c *cobra.Command, s wirepb.SecurityServiceClient, args []string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: cmp.Or(long, short+".") + whoIsAsked, Example: example, Args: args(check),
		RunE: func(c *cobra.Command, args []string) error {
			err := u.with(c, func(s wirepb.SecurityServiceClient) error { return f(c, s, args) })
			if _, ok := status.FromError(err); err != nil && ok {
				err = wire.FromStatus(c.Context(), err, "", "")
			}
			return failed(err)
		},
	}
	u.add(c)
	return c
}

// with runs f with a connection.
func (u *users) with(c *cobra.Command, f func(wirepb.SecurityServiceClient) error) error {
	choice, err := contexts.Choose(u.url, u.context)
	if err != nil {
		return usage(c, err)
	}
	at, err := om.ParseURL(choice.URL)
	if err != nil {
		return usage(c, err)
	}
	if info := (remote.Driver{}).Info(); at.Driver != info.Name {
		return usage(c, fmt.Errorf("users are kept by servers of this broker, whose URLs begin with oms:%s", info.Name))
	}
	choice.Account = cmp.Or(choice.Account, at.Account)
	ap, err := connect(c, choice)
	if err != nil {
		return err
	}
	var cc grpc.ClientConnInterface
	if !ap.As(&cc) {
		err = errors.New("the connection has no calls about users")
	} else {
		err = f(wirepb.NewSecurityServiceClient(cc))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), closeWithin)
	defer cancel()
	if closing := ap.Close(ctx); err == nil {
		err = closing
	}
	return err
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
