package server

import (
	"context"

	"github.com/openmessaging/openmessaging-go/impl/auth"
)

// caller is who makes a call, and what of the quotas goes to him.
type caller struct {
	principal *auth.Principal
	session   *auth.Session
}

type callerKey struct{}

func withCaller(ctx context.Context, c *caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf returns who makes the call of a context, nil for nobody known.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// PrincipalOf returns who makes the call of a context, nil when the server asks
// nobody. It is there for handlers, not yet for Options.Unary and Options.Stream.
func PrincipalOf(ctx context.Context) *auth.Principal {
	if c := callerOf(ctx); c != nil {
		return c.principal
	}
	return nil
}

// account names the caller for the log.
func account(ctx context.Context) string {
	if p := PrincipalOf(ctx); p != nil {
		return p.Name
	}
	return ""
}
