package server

import "context"

// Principal is who makes a call. The zero Principal is somebody unknown.
type Principal struct {
	// Account is the name of the account.
	Account string
}

type principalKey struct{}

// WithPrincipal returns a context for the calls of p, for interceptors that
// know who calls.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns who makes the call of a context.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
