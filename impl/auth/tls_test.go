package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(24 * time.Hour)}
	a.key, a.cert = a.sign(template)
	return a
}

func (a *authority) sign(c *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// server writes the files of a server's certificate.
func (a *authority) server(cert, key, name string) {
	a.t.Helper()
	k, c := a.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Raw}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *authority) client(c *x509.Certificate) tls.Certificate {
	a.t.Helper()
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	key, cert := a.sign(c)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// handshake returns what both sides see.
func handshake(t *testing.T, server *tls.Config, client *tls.Config) (s, c tls.ConnectionState, err error) {
	t.Helper()
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	in, out := tls.Server(left, server), tls.Client(right, client)
	failed := make(chan error, 1)
	go func() {
		err := in.Handshake()
		if err == nil {
			_, err = in.Write([]byte("x"))
		}
		failed <- err
		left.Close()
	}()
	_, err = out.Read(make([]byte, 1))
	if serverErr := <-failed; serverErr != nil {
		err = serverErr
	}
	return in.ConnectionState(), out.ConnectionState(), err
}

func TestTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		files := TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), ClientCA: filepath.Join(dir, "ca.pem")}
		servers, clients, others := newAuthority(t), newAuthority(t), newAuthority(t)
		roots := x509.NewCertPool()
		roots.AddCert(servers.cert)
		servers.server(files.Cert, files.Key, "one.example")
		write := func(path string, content []byte) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(files.ClientCA, clients.pem())
		log := &logs{}
		server, err := OpenTLS(files, log.logger())
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		config := server.Config()
		config.NextProtos = []string{"h2"}
		wait := func() { time.Sleep(3 * pollEvery); synctest.Wait() }
		try := func(name string, alter func(*tls.Config)) (tls.ConnectionState, error) {
			c := &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			if alter != nil {
				alter(c)
			}
			s, _, err := handshake(t, config, c)
			return s, err
		}
		with := func(c tls.Certificate) func(*tls.Config) {
			return func(config *tls.Config) { config.Certificates = []tls.Certificate{c} }
		}
		state, err := try("one.example", nil)
		if err != nil || state.NegotiatedProtocol != "h2" || len(state.VerifiedChains) != 0 {
			t.Fatal(err)
		}
		good := clients.client(&x509.Certificate{Subject: pkix.Name{CommonName: "alice"}})
		if state, err := try("one.example", with(good)); err != nil || len(state.VerifiedChains) != 1 {
			t.Error(err)
		}
		for what, c := range map[string]tls.Certificate{
			"another authority": others.client(&x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}),
			"expired":           clients.client(&x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, NotAfter: time.Now().Add(-time.Minute)}),
		} {
			if _, err := try("one.example", with(c)); err == nil {
				t.Errorf("%s: accepted", what)
			}
		}
		if _, err := try("one.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 }); err == nil {
			t.Error("TLS 1.1")
		}
		if _, err := try("one.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err != nil {
			t.Error(err)
		}
		// Half a pair keeps the old, the whole pair is used.
		servers.server(files.Cert, "", "two.example")
		wait()
		if _, err := try("one.example", nil); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "the old one stays"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		servers.server(files.Cert, files.Key, "two.example")
		wait()
		if _, err := try("two.example", nil); err != nil {
			t.Error(err)
		}
		// Another client authority holds for the next handshake.
		write(files.ClientCA, others.pem())
		wait()
		if _, err := try("two.example", with(good)); err == nil {
			t.Error("the old authority is still trusted")
		}
		write(files.ClientCA, []byte("nothing"))
		wait()
		if _, err := try("two.example", nil); err != nil {
			t.Error(err)
		}
	})
}

func TestTLSFilesRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	newAuthority(t).server(cert, key, "x.example")
	for _, f := range []TLSFiles{{}, {Cert: cert}, {Key: key}, {Cert: cert, Key: key, RequireClientCert: true}, {Cert: key, Key: cert},
		{Cert: cert, Key: key + "x"}, {Cert: cert, Key: key, ClientCA: key}} {
		if c, err := OpenTLS(f, (&logs{}).logger()); err == nil {
			c.Close()
			t.Errorf("%+v", f)
		}
	}
	c, err := OpenTLS(TLSFiles{Cert: cert, Key: key, ClientCA: cert, RequireClientCert: true}, (&logs{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := handshake(t, c.Config(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("a client without a certificate")
	}
}

func TestNoResumptionWithClientCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	newAuthority(t).server(cert, key, "x.example")
	for _, ca := range []string{"", cert} {
		c, err := OpenTLS(TLSFiles{Cert: cert, Key: key, ClientCA: ca}, (&logs{}).logger())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		server, client := c.Config(), &tls.Config{InsecureSkipVerify: true, ServerName: "x.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for i := range 2 {
			state, _, err := handshake(t, server, client)
			if want := i == 1 && ca == ""; err != nil || state.DidResume != want {
				t.Errorf("authorities %q, connection %d: resumed %v, %v", ca, i, state.DidResume, err)
			}
		}
	}
}

func certificateRules(t *testing.T, texts ...string) (rules []CertificateRule) {
	t.Helper()
	for _, text := range texts {
		r, err := ParseCertificateRule(text)
		if err != nil || r.String() != text {
			t.Fatal(text, err)
		}
		rules = append(rules, r)
	}
	return rules
}

func TestCertificate(t *testing.T) {
	w := newWorld(t)
	w.auth.config.Certificates = certificateRules(t, "uri:spiffe://example.org/sa/*", "dns:*.clients.example.org", "email:*@example.org", "cn:*")
	a := newAuthority(t)
	uri := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	login := func(c *x509.Certificate) (*Principal, error) {
		_, cert := a.sign(c)
		w.auth.config.Gate = NewGate(GateConfig{})
		return w.auth.Certificate(clientFrom, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert, a.cert}}})
	}
	end := time.Now().Add(30 * time.Minute).Truncate(time.Second)
	for what, c := range map[string]*x509.Certificate{
		"cn":    {Subject: pkix.Name{CommonName: "alice"}},
		"dns":   {DNSNames: []string{"alice.clients.example.org", "alice.example.com"}, Subject: pkix.Name{CommonName: "bob"}},
		"email": {EmailAddresses: []string{"alice@example.org"}},
		"uri":   {URIs: []*url.URL{uri("spiffe://example.org/sa/alice")}, DNSNames: []string{"bob.clients.example.org"}},
	} {
		c.NotAfter = end
		p, err := login(c)
		if err != nil || p.Name != "alice" || p.Method != ByCertificate || !p.Expires.Equal(end) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	two := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: commonName, Value: "bob"}, {Type: commonName, Value: "alice"}}}
	other := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "alice"}}}
	for what, c := range map[string]*x509.Certificate{
		"nobody":        {Subject: pkix.Name{CommonName: "nobody"}},
		"empty":         {},
		"two names":     {Subject: two},
		"another field": {Subject: other},
		"two SANs":      {DNSNames: []string{"alice.clients.example.org", "bob.clients.example.org"}, Subject: pkix.Name{CommonName: "alice"}},
		"NUL":           {Subject: pkix.Name{CommonName: "alice\x00.evil"}},
		"space":         {Subject: pkix.Name{CommonName: "alice "}},
		"empty name":    {DNSNames: []string{".clients.example.org"}, Subject: pkix.Name{CommonName: "alice"}},
	} {
		p, err := login(c)
		if om.CodeOf(err) != om.CodeUnauthorized || p != nil {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	_, leaf := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "alice"}})
	for _, state := range []*tls.ConnectionState{nil, {}, {PeerCertificates: []*x509.Certificate{leaf}}} {
		w.auth.config.Gate = NewGate(GateConfig{})
		_, err := w.auth.Certificate(clientFrom, state)
		wantCode(t, err, om.CodeUnauthorized)
	}
	for _, text := range []string{"", "*", "cn", "cn:", "cn:alice", "cn:*x*", "o:*", ":*", "dns*"} {
		_, err := ParseCertificateRule(text)
		wantCode(t, err, om.CodeBadParameter)
	}
}

func FuzzCertificateRule(f *testing.F) {
	f.Add("dns:*.clients.example.org")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseCertificateRule(text); err == nil && r.String() != text {
			t.Fatalf("%q is %q", text, r)
		}
	})
}

func TestScramPlus(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	newAuthority(t).server(cert, key, "x.example")
	pair, err := tls.LoadX509KeyPair(cert, key)
	w.must(err)
	server := &tls.Config{Certificates: []tls.Certificate{pair}}
	one, oneClient, err := handshake(t, server, &tls.Config{InsecureSkipVerify: true})
	w.must(err)
	_, twoClient, err := handshake(t, server, &tls.Config{InsecureSkipVerify: true})
	w.must(err)
	login := func(gs2 string, client *tls.ConnectionState) (*Principal, string, error) {
		c := newClient("alice", goodPassword)
		c.gs2 = gs2
		if client != nil {
			b, err := scram.NewTLSExporterBinding(client)
			w.must(err)
			c.binding = string(b.Data)
		}
		w.auth.config.Gate = NewGate(GateConfig{})
		conversation, err := w.auth.Scram(clientFrom, &one)
		w.must(err)
		reply, p, err := conversation.Step([]byte(c.begin()))
		if err != nil {
			return p, string(reply), err
		}
		final, _ := c.end(string(reply))
		reply, p, err = conversation.Step([]byte(final))
		return p, string(reply), err
	}
	p, _, err := login("p=tls-exporter,,", &oneClient)
	if err != nil || p.Name != "alice" {
		t.Error(err)
	}
	if p, _, err := login("n,,", nil); err != nil || p == nil {
		t.Error(err)
	}
	for gs2, client := range map[string]*tls.ConnectionState{"p=tls-exporter,,": &twoClient, "y,,": nil, "p=tls-unique,,": &oneClient} {
		p, reply, err := login(gs2, client)
		if om.CodeOf(err) != om.CodeUnauthorized || p != nil || !strings.HasPrefix(reply, "e=") {
			t.Errorf("%s: %v %q", gs2, err, reply)
		}
	}
}
