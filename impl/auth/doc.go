// Package auth says who may connect to the broker's server and what they may
// do, the same for every protocol. It knows no network, no protocol and no
// broker: a protocol's server asks it.
//
// # What a server does
//
//	audit := auth.NewAudit(logger)
//	directory, err := auth.OpenDirectory(ctx, auth.NewFile(path), audit)
//	gate := auth.NewGate(auth.GateConfig{})
//	logins := auth.NewAuthenticator(auth.AuthenticatorConfig{Directory: directory, Gate: gate, Audit: audit})
//	rights := auth.NewAuthorizer(directory, audit)
//	quotas := auth.NewQuotas(directory)
//
// For each connection, in this order: [Gate.Enter], a login by one of the
// methods of [Authenticator], leave, [Quotas.Connect]; for each request
// [Authorizer.Allow] before anything is looked at, then [Session.Take]; for
// what is delivered [Session.Hold] and [Session.Release]; at the end
// [Session.Close]. A connection that is idle is asked for with
// [Authorizer.Check] now and then.
//
// # Who and what
//
// A [Document] holds users, roles, rules and quotas; a [Directory] follows and
// alters the stored one. A [Rule] allows or denies verbs on resources to a user
// or role. What no rule allows is forbidden, and what one rule denies no other
// allows. A change holds for the next question of those who are connected, too:
// who is disabled, deleted, expired or has another password now is no longer
// logged in.
//
// # Errors
//
// What a client meets is an *openmessaging.Error; files that cannot be read
// give the errors of package os. CodeUnauthorized (1401): who it is is not
// proved, or is proved no longer. CodeForbidden (1403): a right is missing.
// CodeServiceUnavailable (1503) and CodeMaxInFlight (20010), both retryable:
// too much for now. CodeBadParameter (1418): a document, rule or configuration
// breaks the rules. What a client is told of a failed login is the same for
// every reason; the [Audit] has the reason.
//
// # Secrets
//
// [Secret] and [Verifier] print as "[redacted]" with every verb of fmt, in slog
// and in JSON. No error and no line of the audit holds a secret.
//
// The model and what it does not protect from are in docs/security.md.
package auth
