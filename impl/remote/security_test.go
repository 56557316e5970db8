package remote_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/openmessaging/openmessaging-go/impl/remote"
	"github.com/openmessaging/openmessaging-go/impl/server"
	"github.com/openmessaging/openmessaging-go/impl/store"
	"github.com/openmessaging/openmessaging-go/impl/wire"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// guard lets calls through that carry what it wants.
type guard struct {
	mu   sync.Mutex
	want string
	told int // calls without it
}

func (g *guard) check(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := md.Get("authorization"); len(got) != 1 || got[0] != g.want {
		g.told++
		return wire.Status(om.NewError(om.CodeUnauthorized, "open", "", "%v is not what is wanted", got))
	}
	return nil
}

func (g *guard) set(want string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.want = want
}

func (g *guard) options() server.Options {
	return server.Options{
		Unary: []grpc.UnaryServerInterceptor{func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			if err := g.check(ctx); err != nil {
				return nil, err
			}
			return h(ctx, req)
		}},
		Stream: []grpc.StreamServerInterceptor{func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if err := g.check(s.Context()); err != nil {
				return err
			}
			return h(srv, s)
		}},
	}
}

func TestCredentialsAreAskedAgain(t *testing.T) {
	g := &guard{want: "Bearer one"}
	m := newMachine(t, store.Options{Memory: true}, g.options())
	p := newProxy(t, m.address)
	var mu sync.Mutex
	now, asked := spi.Credentials{Token: "one"}, 0
	give := func(c spi.Credentials) {
		mu.Lock()
		defer mu.Unlock()
		now = c
	}
	cfg := config(t, "oms:oms://carol@"+p.Addr().String()+"/default")
	cfg.Credentials = func(context.Context) (spi.Credentials, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return now, nil
	}
	c := open(t, cfg)
	c.createQueue(1)
	s := c.sender()
	for range 5 {
		c.send(s, message("x", ""))
		c.must(c.Conn.(spi.Pinger).Ping(c.ctx))
	}
	if asked > 3 { // when it connects, and perhaps once for each that races with that
		t.Errorf("asked %d times on one connection", asked)
	}
	askedYet := func() int {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}
	before := askedYet()
	p.cut()
	for askedYet() == before { // a call that is quicker than the news of the new connection says the old ones once more
		if err := c.Conn.(spi.Pinger).Ping(c.ctx); err != nil && !om.Retryable(err) {
			t.Fatalf("not asked for a new connection: %v", err)
		}
	}
	g.set("Bearer two")
	give(spi.Credentials{Token: "two"})
	c.must(c.Conn.(spi.Pinger).Ping(c.ctx)) // refused, asked, let through
	if g.told != 1 {
		t.Errorf("%d calls were refused", g.told)
	}
	give(spi.Credentials{Token: "three"})
	g.set("Bearer three")
	p.cut()
	for { // a new connection, new credentials
		outs, err := s.Send(c.ctx, []*om.Message{message("y", "")})
		if err == nil {
			c.must(outs[0].Err)
			break
		}
		if !om.Retryable(err) && !errors.Is(err, om.ErrSecurity) {
			t.Fatal(err)
		}
	}
	give(spi.Credentials{Token: "wrong"})
	g.set("Bearer right")
	if err := c.Conn.(spi.Pinger).Ping(c.ctx); !errors.Is(err, om.CodeUnauthorized) {
		t.Error(err)
	}
	cfg.Credentials = func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{}, errors.New("the vault is shut")
	}
	if _, err := (remote.Driver{}).Open(c.ctx, cfg); !errors.Is(err, om.CodeUnauthorized) {
		t.Error(err)
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authority) file(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", "ca")
	return a
}

// issue returns the files of a certificate for a host, and of its key. The first
// one signs the others.
func (a *authority) issue(file, host string) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.key = private
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.file(file+".pem", "CERTIFICATE", der), a.file(file+".key", "EC PRIVATE KEY", keyDER)
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func TestTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	cert, key := a.issue("server", "broker.example.com")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, strange := filepath.Join(a.dir, "ca.pem"), filepath.Join(other.dir, "ca.pem")
	mine, mineKey := a.issue("client", "carol")
	theirs, theirsKey := other.issue("client", "mallory")
	for _, mutual := range []bool{false, true} {
		t.Run(fmt.Sprintf("mutual=%v", mutual), func(t *testing.T) {
			c := &tls.Config{Certificates: []tls.Certificate{pair}}
			if mutual {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, a.pool()
			}
			m := newMachine(t, store.Options{Memory: true}, server.Options{TLS: c})
			for name, try := range map[string]struct {
				options []string
				good    bool
			}{
				"plain":               {nil, false},
				"own certificate":     {[]string{"tls", "true", "ca", ca, "server_name", "broker.example.com", "cert", mine, "key", mineKey}, true},
				"no certificate":      {[]string{"tls", "true", "ca", ca, "server_name", "broker.example.com"}, !mutual},
				"strange certificate": {[]string{"tls", "true", "ca", ca, "server_name", "broker.example.com", "cert", theirs, "key", theirsKey}, !mutual},
				"another name":        {[]string{"tls", "true", "ca", ca, "cert", mine, "key", mineKey}, false},
				"strange authority":   {[]string{"tls", "true", "ca", strange, "server_name", "broker.example.com"}, false},
				"system's authority":  {[]string{"tls", "true", "server_name", "broker.example.com"}, false},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				conn, err := remote.Driver{}.Open(ctx, config(t, remote.URL(m.address, try.options...)))
				cancel()
				if (err == nil) != try.good {
					t.Errorf("%s: %v", name, err)
				}
				if err == nil {
					if err := conn.Close(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
