package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/netip"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Security is what a server needs to know who calls and what each may do; see
// package auth. All fields are needed.
type Security struct {
	Directory     *auth.Directory
	Gate          *auth.Gate
	Authenticator *auth.Authenticator
	Authorizer    *auth.Authorizer
	Quotas        *auth.Quotas
}

// maxLogins bounds the logins of one connection: tokens that are renewed, or
// users who share it.
const maxLogins = 16

// logins are those of a connection, by what calls say in their metadata.
type logins struct {
	by       map[[sha256.Size]byte]*caller
	sessions map[string]*auth.Session // by user
}

// authenticate returns a context that knows who makes a call.
func (s *Server) authenticate(ctx context.Context, method string) (context.Context, error) {
	if s.opts.Security == nil || method == wirepb.LoginService_Login_FullMethodName {
		return ctx, nil
	}
	c := connection(ctx)
	if c == nil {
		return nil, om.NewError(om.CodeUnauthorized, "login", "", "the connection is not known")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	said := md.Get("authorization")
	if len(said) > 1 {
		return nil, om.NewError(om.CodeUnauthorized, "login", "", "there is more than one authorization")
	}
	who, err := c.login(ctx, strings.Join(said, ""))
	if err != nil {
		return nil, err
	}
	return withCaller(ctx, who), nil
}

// login returns the login that a call names, or makes it. Calls of one connection
// take turns, so that a password is checked once.
func (c *conn) login(ctx context.Context, said string) (*caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := sha256.Sum256([]byte(said))
	security := c.s.opts.Security
	if who := c.logins.by[key]; who != nil {
		if security.Authorizer.Check(who.principal) == nil {
			return who, nil
		}
		delete(c.logins.by, key)
	}
	p, err := prove(ctx, security.Authenticator, said)
	if err != nil {
		return nil, err
	}
	return c.enter(key, p)
}

// prove checks what a call says of who makes it.
func prove(ctx context.Context, a *auth.Authenticator, said string) (*auth.Principal, error) {
	from, state := client(ctx), tlsState(ctx)
	scheme, rest, _ := strings.Cut(said, " ")
	switch rest = strings.TrimSpace(rest); {
	case said == "":
		if state != nil && len(state.VerifiedChains) > 0 {
			return a.Certificate(from, state)
		}
		return nil, om.NewError(om.CodeUnauthorized, "login", "", "this server wants to know who you are; give the access point credentials")
	case strings.EqualFold(scheme, "session"):
		return nil, om.NewError(om.CodeUnauthorized, "login", "", "this login is over, or of another connection; log in again")
	case strings.EqualFold(scheme, "bearer"):
		return a.Token(from, auth.NewSecret(rest))
	case strings.EqualFold(scheme, "basic"):
		if state == nil && !isLoopback(from) {
			return nil, om.NewError(om.CodeUnauthorized, "login", "", "a password has travelled in clear: change it, and use TLS or LoginService")
		}
		pair, err := base64.StdEncoding.DecodeString(rest)
		user, password, ok := strings.Cut(string(pair), ":")
		if err != nil || !ok {
			return nil, om.NewError(om.CodeUnauthorized, "login", "", "the basic authorization is not base64 of user:password")
		}
		return a.Password(ctx, from, user, auth.NewSecret(password))
	}
	return nil, om.NewError(om.CodeUnauthorized, "login", "", "the authorization is none of Session, Bearer and Basic")
}

// enter adds a login; c.mu is held. A user counts once on each connection.
func (c *conn) enter(key [sha256.Size]byte, p *auth.Principal) (*caller, error) {
	if c.over {
		return nil, om.NewError(om.CodeServiceUnavailable, "login", "", "the connection is closed")
	}
	if c.logins.sessions == nil {
		c.logins = logins{make(map[[sha256.Size]byte]*caller), make(map[string]*auth.Session)}
	}
	session := c.logins.sessions[p.Name]
	if session == nil {
		if len(c.logins.sessions) >= maxLogins {
			return nil, om.NewError(om.CodeServiceUnavailable, "login", "", "%d users share this connection; open another", maxLogins)
		}
		var err error
		if session, err = c.s.opts.Security.Quotas.Connect(p); err != nil {
			return nil, err
		}
		c.logins.sessions[p.Name] = session
	}
	if len(c.logins.by) >= maxLogins {
		c.logins.drop(c.s.opts.Security.Authorizer)
	}
	who := &caller{p, session}
	c.logins.by[key] = who
	c.known()
	return who, nil
}

// drop forgets logins that are over, and any of them when none is.
func (l *logins) drop(a *auth.Authorizer) {
	for key, who := range l.by {
		if a.Check(who.principal) != nil {
			delete(l.by, key)
		}
	}
	for key := range l.by {
		if len(l.by) < maxLogins {
			return
		}
		delete(l.by, key)
	}
}

// close ends the sessions.
func (l *logins) close() {
	for _, s := range l.sessions {
		s.Close()
	}
	*l = logins{}
}

// checkLogins closes connections on which nobody is logged in any more.
func (s *Server) checkLogins() {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.open))
	for c := range s.open {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		for key, who := range c.logins.by {
			if s.opts.Security.Authorizer.Check(who.principal) != nil {
				delete(c.logins.by, key)
			}
		}
		over := !c.stranger.Load() && len(c.logins.by) == 0
		c.mu.Unlock()
		if over {
			_ = c.Close()
		}
	}
}

// loginService implements wirepb.LoginServiceServer.
type loginService struct {
	wirepb.UnimplementedLoginServiceServer
	s *Server
}

func (l *loginService) Login(stream grpc.BidiStreamingServer[wirepb.LoginRequest, wirepb.LoginResponse]) error {
	ctx := stream.Context()
	c, security := connection(ctx), l.s.opts.Security
	if security == nil || c == nil {
		return om.NewError(om.CodeUnsupported, "login", "", "this server has no users: leave the credentials out, or start it with a first user (oms serve --init-admin NAME)")
	}
	state := tlsState(ctx)
	if state != nil && state.Version < tls.VersionTLS13 {
		state = nil // it cannot be bound to
	}
	conversation, err := security.Authenticator.Scram(client(ctx), state)
	if err != nil {
		return err
	}
	for {
		q, err := stream.Recv()
		if err != nil {
			return err
		}
		reply, p, err := conversation.Step(q.GetMessage())
		if err != nil {
			return err
		}
		out := &wirepb.LoginResponse{Message: reply}
		if p == nil {
			if err := stream.Send(out); err != nil {
				return err
			}
			continue
		}
		out.Session = rand.Text()
		c.mu.Lock()
		_, err = c.enter(sha256.Sum256([]byte(wire.SessionScheme+out.Session)), p)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return stream.Send(out)
	}
}

// tlsState returns the state of the TLS connection of a call, nil without TLS.
func tlsState(ctx context.Context) *tls.ConnectionState {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return &info.State
		}
	}
	return nil
}

func isLoopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().Unmap().IsLoopback()
}
