package auth

import (
	"context"
	"crypto/tls"
	"runtime"
	"time"

	"github.com/xdg-go/stringprep"
	"golang.org/x/sync/semaphore"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Authenticator finds out who somebody is. Every refusal is CodeUnauthorized
// with the same text for every reason, so that nobody learns which users there
// are; the audit has the reason. Who failed too often gets
// CodeServiceUnavailable, which is retryable. From is the remote address, as
// net.Addr prints it. All methods may be called concurrently.
type Authenticator struct {
	config  AuthenticatorConfig
	hashing *semaphore.Weighted
}

// AuthenticatorConfig says what an [Authenticator] works with.
type AuthenticatorConfig struct {
	Directory *Directory // needed
	Gate      *Gate      // needed
	Audit     *Audit     // needed
	// Tokens checks bearer tokens; without it they are refused.
	Tokens *Tokens
	// Certificates says how a certificate names a user; without rules
	// certificates are refused.
	Certificates []CertificateRule
}

// NewAuthenticator returns an authenticator.
func NewAuthenticator(c AuthenticatorConfig) *Authenticator {
	return &Authenticator{config: c, hashing: semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2)))}
}

// Password checks a user's password as PLAIN and HTTP's basic authentication
// send it. Ask for it on protected channels only. It takes milliseconds of a
// core; when half of the cores are busy with that it blocks until its turn or
// the end of ctx.
func (a *Authenticator) Password(ctx context.Context, from, user string, password Secret) (*Principal, error) {
	if err := a.hashing.Acquire(ctx, 1); err != nil {
		return nil, om.WrapError(err, "login", "")
	}
	defer a.hashing.Release(1)
	if err := a.wait(from, user); err != nil {
		return nil, err
	}
	user = prepareName(user)
	v, ok := matching(password, a.config.Directory.now.Load().verifiers(user))
	if !ok {
		return nil, a.refuse(ByPassword, from, user, "wrong user name or password")
	}
	return a.accept(&Principal{Name: user, Method: ByPassword, From: from, stamp: v.stamp()})
}

// Token checks a bearer token: see [Tokens].
func (a *Authenticator) Token(from string, token Secret) (*Principal, error) {
	if err := a.wait(from, ""); err != nil {
		return nil, err
	}
	if a.config.Tokens == nil {
		return nil, a.refuse(ByToken, from, "", "tokens are not configured")
	}
	p, err := a.config.Tokens.verify(token)
	if err != nil {
		return nil, a.refuse(ByToken, from, "", err.Error())
	}
	p.From = from
	return a.accept(p)
}

// Certificate finds the user of a client's certificate in a connection whose
// handshake verified it.
func (a *Authenticator) Certificate(from string, state *tls.ConnectionState) (*Principal, error) {
	if err := a.wait(from, ""); err != nil {
		return nil, err
	}
	name, expires, err := certificateUser(a.config.Certificates, state)
	if err != nil {
		return nil, a.refuse(ByCertificate, from, "", err.Error())
	}
	return a.accept(&Principal{Name: name, Method: ByCertificate, From: from, Expires: expires})
}

// prepareName returns the name as SASLprep has it; one that it refuses stays,
// and no user has it.
func prepareName(user string) string {
	if len(user) > MaxName {
		return user
	}
	if prepared, err := stringprep.SASLprep.Prepare(user); err == nil {
		return prepared
	}
	return user
}

// wait refuses who must wait after failed logins. It is asked right before a
// proof is checked, so that guesses side by side gain nothing.
func (a *Authenticator) wait(from, user string) error {
	wait := a.config.Gate.check(from, user)
	if wait == 0 {
		return nil
	}
	a.config.Audit.loginRefused("", from, user, "too many failed logins")
	wait = (wait + time.Second - 1).Truncate(time.Second)
	return om.NewError(om.CodeServiceUnavailable, "login", "", "too many failed logins; try again in %v", wait)
}

// accept lets in who has proved to be p, if that is somebody who may log in.
func (a *Authenticator) accept(p *Principal) (*Principal, error) {
	if why := a.config.Directory.now.Load().refuses(p, time.Now()); why != "" {
		return nil, a.refuse(p.Method, p.From, p.Name, why)
	}
	a.config.Gate.succeeded(p.From, p.Name)
	return p, nil
}

func (a *Authenticator) refuse(m Method, from, user, why string) error {
	counted := user
	if m == ByToken || m == ByCertificate {
		counted = "" // nobody guesses these
	}
	a.config.Gate.failed(from, counted)
	a.config.Audit.loginRefused(m, from, user, why)
	if m == ByScram || m == ByPassword {
		return unauthorized("login", "user name or password is wrong, or the user may not log in")
	}
	return unauthorized("login", "the %s is not accepted; the server's log has the reason", m)
}
