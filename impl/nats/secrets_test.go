package nats_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/openmessaging/openmessaging-go/internal/natsserver"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
	"github.com/openmessaging/openmessaging-go/spi"
)

// certificate writes a certificate for the loopback and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	ok(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	ok(t, err)
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		ok(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs)
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	ok(t, err)
	roots := x509.NewCertPool()
	pemBytes, err := os.ReadFile(cert)
	ok(t, err)
	roots.AppendCertsFromPEM(pemBytes)
	address := natsserver.Address(start(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	}))
	q := url.Values{"sync": {"always"}, "tls_ca": {cert}, "tls_cert": {cert}, "tls_key": {key}}
	ap := open(t, urlOf(address, "?"+q.Encode()))
	createQueue(t, ap, "q", 1)
	for _, without := range []string{"tls_ca", "tls_cert"} {
		q := url.Values{"sync": {"always"}, "tls": {"true"}, "tls_ca": {cert}, "tls_cert": {cert}, "tls_key": {key}}
		q.Del(without)
		if without == "tls_cert" {
			q.Del("tls_key")
		}
		if ap, err := oms.Open(t.Context(), urlOf(address, "?"+q.Encode())); err == nil {
			t.Errorf("opened without %s", without)
			_ = ap.Close(t.Context())
		}
	}
}

func TestNkey(t *testing.T) {
	user, err := nkeys.CreateUser()
	ok(t, err)
	public, err := user.PublicKey()
	ok(t, err)
	seed, err := user.Seed()
	ok(t, err)
	path := filepath.Join(t.TempDir(), "user.nk")
	ok(t, os.WriteFile(path, seed, 0o600))
	address := natsserver.Address(start(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} }))
	open(t, urlOf(address, "?sync=always&nkey="+url.QueryEscape(path)))
	_, err = oms.Open(t.Context(), urlOf(address, "?sync=always"))
	is(t, err, false, om.ErrSecurity)
}

// TestCredentialsAreAskedForAgain rotates the password while the client runs.
func TestCredentialsAreAskedForAgain(t *testing.T) {
	t.Parallel()
	m := &machine{parent: t.TempDir()}
	ok(t, m.start(server.RANDOM_PORT))
	port := portOf(m.server)
	natsserver.Stop(m.server)
	serve := func(password string) *server.Server {
		s, err := natsserver.Start(m.dir, func(o *server.Options) { o.Port, o.Username, o.Password = port, "app", password })
		ok(t, err)
		return s
	}
	s := serve("old")
	var password atomic.Value
	password.Store("old")
	ap := open(t, urlOf(natsserver.Address(s), "?sync=always"), oms.WithCredentials(func(context.Context) (spi.Credentials, error) {
		return spi.Credentials{AccountID: "app", AccountKey: password.Load().(string)}, nil
	}))
	createQueue(t, ap, "q", 1)
	p := producer(t, ap)
	natsserver.Stop(s)
	s = serve("new")
	t.Cleanup(func() { natsserver.Stop(s) })
	_, err := p.Send(t.Context(), om.NewMessage("q", nil))
	is(t, err, true, om.CodeServiceUnavailable) // the old password does not open any more
	password.Store("new")
	await(t, "a send succeeds", func() bool {
		_, err := p.Send(t.Context(), om.NewMessage("q", nil))
		return err == nil
	})
}
