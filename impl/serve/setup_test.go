package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/openmessaging/openmessaging-go/impl/auth"
	"github.com/openmessaging/openmessaging-go/impl/remote"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rootKey = "root's own long secret"
	userKey = "correct horse battery"
)

// logs gathers what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// machine is a server that runs.
type machine struct {
	*testing.T
	address, admin string
	log            logs
	stop           context.CancelFunc
	over           chan error
	hangup         chan struct{}
	ca             string // file of the authority, "" without TLS
}

// start runs a server in memory, with the user root, until the test ends.
func start(t *testing.T, change func(*Loaded)) *machine {
	t.Helper()
	l := &Loaded{Config: Defaults()}
	l.Memory, l.Listen, l.Admin.Listen, l.InitAdmin = true, "127.0.0.1:0", "127.0.0.1:0", "root"
	l.Log.Level = "debug"
	if change != nil {
		change(l)
	}
	m, err := run(t, l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs a server as it is configured.
func run(t *testing.T, l *Loaded) (*machine, error) {
	t.Helper()
	m := &machine{T: t, over: make(chan error, 1), hangup: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	ready := make(chan struct{})
	go func() {
		m.over <- Run(ctx, l, Options{
			Log: &m.log, Hangup: m.hangup,
			Ready: func(address, admin string) error {
				m.address, m.admin = address, admin
				close(ready)
				return nil
			},
			AskPassword: func(string) (auth.Secret, error) { return auth.NewSecret(rootKey), nil },
		})
	}()
	select {
	case <-ready:
	case err := <-m.over:
		cancel()
		return nil, err
	}
	t.Cleanup(func() { m.end() })
	return m, nil
}

// end stops the server.
func (m *machine) end() {
	m.Helper()
	m.stop()
	if err := <-m.over; err != nil {
		m.Error(err)
	}
	m.over <- nil
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err, "\n", m.log.String())
	}
}

// until waits until something holds.
func (m *machine) until(what string, holds func() bool) {
	m.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			m.Fatalf("not within 20 s: %s\n%s", what, m.log.String())
		}
		<-time.After(5 * time.Millisecond)
	}
}

// as returns an option for who comes with a key.
func as(account, key string) oms.Option {
	return oms.WithCredentials(func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: account, AccountKey: key}, nil
	})
}

func withToken(token string) oms.Option {
	return oms.WithCredentials(func(context.Context) (spi.Credentials, error) { return spi.Credentials{Token: token}, nil })
}

// dial opens an access point.
func (m *machine) dial(opts ...oms.Option) (om.AccessPoint, error) {
	ctx, cancel := context.WithTimeout(m.Context(), 20*time.Second)
	defer cancel()
	var options []string
	if m.ca != "" {
		options = []string{"tls", "true", "ca", m.ca}
	}
	ap, err := oms.Open(ctx, remote.URL(m.address, options...), opts...)
	if err == nil {
		m.Cleanup(func() { _ = ap.Close(context.Background()) })
	}
	return ap, err
}

func (m *machine) open(opts ...oms.Option) om.AccessPoint {
	m.Helper()
	ap, err := m.dial(opts...)
	m.must(err)
	return ap
}

// raw returns a connection that says what it likes.
func (m *machine) raw(opts ...grpc.DialOption) *grpc.ClientConn {
	m.Helper()
	transport := insecure.NewCredentials()
	if m.ca != "" {
		transport = credentials.NewTLS(&tls.Config{RootCAs: pool(m.T, m.ca), ServerName: "localhost"})
	}
	cc, err := grpc.NewClient("passthrough:///"+m.address, append([]grpc.DialOption{grpc.WithTransportCredentials(transport)}, opts...)...)
	m.must(err)
	m.Cleanup(func() { _ = cc.Close() })
	return cc
}

// get asks the listener for health and metrics.
func (m *machine) get(path string) (status int, body string) {
	m.Helper()
	r, err := http.Get("http://" + m.admin + path)
	m.must(err)
	defer http.DefaultClient.CloseIdleConnections()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	m.must(err)
	return r.StatusCode, string(b)
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", "ca")
	return a
}

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

// issue writes the files of a certificate and its key.
func (a *authority) issue(file, name string) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer, a.key = template, private, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(file+".pem", "CERTIFICATE", der), a.write(file+".key", "EC PRIVATE KEY", keyDER)
}

func (a *authority) write(name, kind string, der []byte) string {
	return write(a.t, filepath.Join(a.dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	content, err := os.ReadFile(file)
	p := x509.NewCertPool()
	if err != nil || !p.AppendCertsFromPEM(content) {
		t.Fatal(err)
	}
	return p
}

// secured configures TLS.
func (a *authority) secured(l *Loaded) {
	l.TLS.Cert, l.TLS.Key = a.issue("server", "server")
}

func wantCode(t *testing.T, err error, code om.Code) {
	t.Helper()
	if om.CodeOf(err) != code {
		t.Fatalf("got %v, want %v", err, code)
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}
