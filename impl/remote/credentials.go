package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"

	"github.com/xdg-go/scram"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// minIterations is how much work a server must at least ask for, so that one that
// only pretends to be it learns nothing that is quickly guessed from.
const minIterations = 4096

// secrets sends with each call who makes it: a token, or the name of a login that
// account and key have made on the connection. The key itself never travels.
type secrets struct {
	ask     func(context.Context) (spi.Credentials, error)
	account string // of the URL
	secure  bool   // connections are TLS
	logins  wirepb.LoginServiceClient
	turn    chan struct{} // held by who logs in

	mu     sync.Mutex
	header map[string]string // nil when they must be asked for
	state  attempts
}

// attempts counts, so that a call that was refused knows whether trying again
// makes sense.
type attempts struct{ asked, failed int }

func newSecrets(cfg spi.Config, secure bool) *secrets {
	return &secrets{ask: cfg.Credentials, account: cfg.URL.Account, secure: secure, turn: make(chan struct{}, 1)}
}

func (s *secrets) known() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (s *secrets) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if len(uri) > 0 && strings.HasSuffix(uri[0], "/"+wirepb.LoginService_ServiceDesc.ServiceName) {
		return nil, nil
	}
	if header := s.known(); header != nil {
		return header, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if header := s.known(); header != nil {
		return header, nil
	}
	header, err := s.prove(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.asked++
	if err != nil {
		s.state.failed++
		return nil, err
	}
	s.header = header
	return header, nil
}

// prove asks for the credentials and returns what calls say.
func (s *secrets) prove(ctx context.Context) (map[string]string, error) {
	c, err := s.ask(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "the program gave no credentials: %v", err)
	}
	if c.AccountID == "" {
		c.AccountID = s.account
	}
	switch {
	case c.Token != "":
		return map[string]string{"authorization": "Bearer " + strings.TrimSpace(c.Token)}, nil
	case c.AccountKey == "":
		return map[string]string{}, nil // the certificate says it
	}
	session, err := s.login(ctx, c.AccountID, c.AccountKey)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": wire.SessionScheme + session}, nil
}

// login logs in by SCRAM-SHA-256, on the connection that calls use. On TLS 1.3 the
// login is bound to it. It also finds out whether the server knows the password.
func (s *secrets) login(ctx context.Context, user, key string) (session string, err error) {
	client, err := scram.SHA256.NewClient(user, key, "")
	if err != nil { // the error may hold a part of the key
		return "", status.Error(codes.Unauthenticated, "the account or its key holds characters that SASLprep (RFC 4013) forbids")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.logins.Login(ctx)
	if err != nil {
		return "", err
	}
	client = client.WithMinIterations(minIterations)
	conversation := client.NewConversation()
	if binding, ok := s.binding(stream.Context()); ok {
		conversation = client.NewConversationWithChannelBinding(binding)
	}
	message, err := conversation.Step("")
	for err == nil {
		var answer *wirepb.LoginResponse
		if answer, err = exchange(stream, message); err != nil {
			return "", err
		}
		session = answer.GetSession()
		if message, err = conversation.Step(string(answer.GetMessage())); conversation.Done() {
			break
		}
	}
	if err != nil || !conversation.Valid() || session == "" {
		return "", wire.Status(om.NewError(om.CodeUnauthorized, "login", "", "the server does not know the account's key, or is not the one it says it is"))
	}
	return session, nil
}

func exchange(stream grpc.BidiStreamingClient[wirepb.LoginRequest, wirepb.LoginResponse], message string) (*wirepb.LoginResponse, error) {
	_ = stream.Send(&wirepb.LoginRequest{Message: []byte(message)}) // Recv tells what ended the stream
	return stream.Recv()
}

// binding binds a login to the connection of its stream, where that can be.
func (s *secrets) binding(ctx context.Context) (scram.ChannelBinding, bool) {
	if !s.secure {
		return scram.ChannelBinding{}, false
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return scram.ChannelBinding{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || info.State.Version < tls.VersionTLS13 {
		return scram.ChannelBinding{}, false
	}
	b, err := scram.NewTLSExporterBinding(&info.State)
	return b, err == nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Open has
// seen to it that what is not secured stays on this machine.
func (s *secrets) RequireTransportSecurity() bool { return false }

// forget has credentials asked for again.
func (s *secrets) forget() {
	s.mu.Lock()
	s.header = nil
	s.mu.Unlock()
}

// before returns what again wants to know of the time before a call.
func (s *secrets) before() attempts {
	if s == nil {
		return attempts{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// again reports whether a call that ended with err can be made once more with
// other credentials: the server did not take those that it was made with, and
// they were older than the call, or a login of a connection that is no more.
func (s *secrets) again(before attempts, err error) bool {
	if s == nil || status.Code(err) != codes.Unauthenticated {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	session := strings.HasPrefix(s.header["authorization"], wire.SessionScheme)
	s.header = nil
	return s.state == before || session && s.state.failed == before.failed
}

// watch forgets them for each new connection.
func (s *secrets) watch(ctx context.Context, cc *grpc.ClientConn) {
	for state := cc.GetState(); cc.WaitForStateChange(ctx, state); {
		if state = cc.GetState(); state == connectivity.Connecting {
			s.forget()
		}
	}
}

var errLoggedOut = errors.New("the login has ended; the driver logs in again")
