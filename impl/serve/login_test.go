package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/xdg-go/scram"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// security returns the calls about users, as root.
func (m *machine) security() wirepb.SecurityServiceClient {
	m.Helper()
	var cc grpc.ClientConnInterface
	if !m.open(as("root", rootKey)).As(&cc) {
		m.Fatal("there is no connection")
	}
	return wirepb.NewSecurityServiceClient(cc)
}

// addUser adds a user with a key and rules.
func (m *machine) addUser(s wirepb.SecurityServiceClient, name, key string, rules ...string) {
	m.Helper()
	ctx := m.Context()
	with, err := s.PreparePassword(ctx, &wirepb.PreparePasswordRequest{Name: name})
	m.must(err)
	v, err := auth.NewVerifier(auth.NewSecret(key), int(with.GetIterations()))
	m.must(err)
	_, err = s.CreateUser(ctx, &wirepb.CreateUserRequest{User: &wirepb.User{Name: name}, Verifier: v.Encode()})
	m.must(err)
	_, err = s.Grant(ctx, &wirepb.GrantRequest{Subject: "user:" + name, Rules: rules})
	m.must(err)
}

func code(err error) om.Code { return om.CodeOf(wire.FromStatus(context.Background(), err, "", "")) }

// issuer signs tokens.
type issuer struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	file string // of the public key
}

const issuerName = "https://issuer.example.org"

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, key, write(t, filepath.Join(t.TempDir(), "keys.json"), string(set))}
}

// token returns a token for root, changed.
func (i *issuer) token(change func(*jwt.Token)) string {
	i.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": issuerName, "aud": "oms", "sub": "root", "exp": time.Now().Add(time.Hour).Unix(),
	})
	token.Header["kid"] = "1"
	var key any = i.key
	if change != nil {
		change(token)
		if token.Method == jwt.SigningMethodNone {
			key = jwt.UnsafeAllowNoneSignatureType
		}
	}
	signed, err := token.SignedString(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return signed
}

func TestWhoGetsIn(t *testing.T) {
	a := newAuthority(t)
	var i *issuer
	secured := func(l *Loaded) { // one for each, as who fails often must wait
		a.secured(l)
		if i == nil {
			i = newIssuer(t)
		}
		l.Auth.Tokens.Keys, l.Auth.Tokens.Issuer, l.Auth.Tokens.Audience = i.file, issuerName, "oms"
	}
	begin := func() *machine {
		m := start(t, secured)
		m.ca = a.ca()
		return m
	}
	m := begin()
	claim := func(name string, value any) func(*jwt.Token) {
		return func(t *jwt.Token) { t.Claims.(jwt.MapClaims)[name] = value }
	}
	forged := strings.Split(i.token(nil), ".")
	other := strings.Split(i.token(claim("sub", "somebody")), ".")
	for name, c := range map[string]struct {
		opt  oms.Option
		good bool
	}{
		"key":                {as("root", rootKey), true},
		"wrong key":          {as("root", "not root's secret"), false},
		"nobody":             {as("nobody", rootKey), false},
		"token":              {withToken(i.token(nil)), true},
		"expired token":      {withToken(i.token(claim("exp", time.Now().Add(-time.Hour).Unix()))), false},
		"token of others":    {withToken(i.token(claim("iss", "https://evil.example.org"))), false},
		"token for others":   {withToken(i.token(claim("aud", "bank"))), false},
		"forged token":       {withToken(other[0] + "." + other[1] + "." + forged[2]), false},
		"unsigned token":     {withToken(i.token(func(t *jwt.Token) { t.Method, t.Header["alg"] = jwt.SigningMethodNone, "none" })), false},
		"token of nobody":    {withToken(i.token(claim("sub", "somebody"))), false},
		"what is no token":   {withToken("abc"), false},
		"session of nowhere": {withToken("x\" Session y"), false},
	} {
		if !c.good {
			m := begin()
			if _, err := m.dial(c.opt); om.CodeOf(err) != om.CodeUnauthorized {
				t.Errorf("%s: %v", name, err)
			}
			m.end()
			continue
		}
		ap, err := m.dial(c.opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			if !ap.Capabilities().Has(om.CapAuth) {
				t.Errorf("%s: auth is not declared", name)
			}
			m.must(ap.Resources().CreateNamespace(t.Context(), strings.ReplaceAll(name, " ", "-")))
		}
	}
	if _, err := m.dial(); om.CodeOf(err) != om.CodeUnauthorized {
		t.Errorf("nobody in particular: %v", err)
	}
}

func TestCertificatesAndBasicPasswords(t *testing.T) {
	a := newAuthority(t)
	m := start(t, func(l *Loaded) {
		a.secured(l)
		l.TLS.ClientCA, l.Auth.Certificates = a.ca(), []string{"cn:*"}
	})
	m.ca = a.ca()
	for user, good := range map[string]bool{"root": true, "mallory": false} {
		cert, key := a.issue(user, user)
		ap, err := oms.Open(t.Context(), remote.URL(m.address, "tls", "true", "ca", a.ca(), "cert", cert, "key", key))
		if (err == nil) != good {
			t.Errorf("the certificate of %s: %v", user, err)
		}
		if err == nil {
			m.must(ap.Resources().CreateNamespace(t.Context(), "made"))
			m.must(ap.Close(t.Context()))
		}
	}
	service := wirepb.NewMessagingServiceClient(m.raw())
	for said, want := range map[string]om.Code{
		"Basic " + base64.StdEncoding.EncodeToString([]byte("root:"+rootKey)):  0,
		"Basic " + base64.StdEncoding.EncodeToString([]byte("root:x"+rootKey)): om.CodeUnauthorized,
		"Basic root:" + rootKey: om.CodeUnauthorized,
		"Digest x":              om.CodeUnauthorized,
		"Session abc":           om.CodeUnauthorized,
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", said)
		if _, err := service.Open(ctx, &wirepb.OpenRequest{Protocol: wire.Protocol}); code(err) != want {
			t.Errorf("%s: %v", said, err)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer a", "authorization", "Bearer b")
	if _, err := service.Open(ctx, &wirepb.OpenRequest{Protocol: wire.Protocol}); code(err) != om.CodeUnauthorized {
		t.Errorf("two of them: %v", err)
	}
}

// exchange makes a login and returns its messages and the session.
func exchange(m *machine, cc grpc.ClientConnInterface) (client []string, session string) {
	m.Helper()
	scramClient, err := scram.SHA256.NewClient("root", rootKey, "")
	m.must(err)
	talk := scramClient.NewConversation()
	stream, err := wirepb.NewLoginServiceClient(cc).Login(m.Context())
	m.must(err)
	for said := ""; !talk.Done(); {
		message, err := talk.Step(said)
		m.must(err)
		if talk.Done() {
			break
		}
		client = append(client, message)
		m.must(stream.Send(&wirepb.LoginRequest{Message: []byte(message)}))
		answer, err := stream.Recv()
		m.must(err)
		said, session = string(answer.GetMessage()), answer.GetSession()
	}
	if session == "" {
		m.Fatal("there is no session")
	}
	return client, session
}

func TestLoginsAreNotForReuse(t *testing.T) {
	m := start(t, nil)
	cc := m.raw()
	client, session := exchange(m, cc)
	ping := func(cc grpc.ClientConnInterface) om.Code {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Session "+session)
		_, err := wirepb.NewMessagingServiceClient(cc).Ping(ctx, &wirepb.PingRequest{})
		return code(err)
	}
	if c := ping(cc); c != 0 {
		t.Error(c)
	}
	other := m.raw()
	if c := ping(other); c != om.CodeUnauthorized {
		t.Errorf("a session on another connection: %v", c)
	}
	stream, err := wirepb.NewLoginServiceClient(other).Login(t.Context())
	m.must(err)
	for _, message := range client { // as they were heard on the way
		m.must(stream.Send(&wirepb.LoginRequest{Message: []byte(message)}))
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	if code(err) != om.CodeUnauthorized {
		t.Errorf("a login that was recorded: %v", err)
	}
	contains(t, m.log.String(), "login refused")
}

func TestStrangersAreDropped(t *testing.T) {
	m := start(t, func(l *Loaded) { l.Auth.LoginTime = 2 * time.Second })
	friend := m.open(as("root", rootKey))
	var conns []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", m.address)
		m.must(err)
		defer c.Close()
		conns = append(conns, c)
	}
	big := conns[99] // one that speaks, and does not log in
	_, _ = big.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	for i, c := range conns {
		m.must(c.SetReadDeadline(time.Now().Add(20 * time.Second)))
		for {
			if _, err := c.Read(make([]byte, 1024)); err == nil {
				continue
			} else if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Errorf("connection %d is still there", i)
			}
			break
		}
	}
	m.must(friend.Resources().CreateNamespace(t.Context(), "still-here"))
	m.open(as("root", rootKey)) // and others get in again
	m.until("the connections are counted as closed", func() bool {
		_, body := m.get("/metrics")
		return strings.Contains(body, "\noms_connections 2\n")
	})
	if _, body := m.get("/metrics"); !slices.ContainsFunc(strings.Split(body, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "oms_connections_refused_total ") && !strings.HasSuffix(line, " 0")
	}) {
		t.Error("64 of one address may wait for their login, and 100 did")
	}
}
