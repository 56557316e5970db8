package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

// TLSFiles names the PEM files of a server's TLS.
type TLSFiles struct {
	Cert, Key string // chain, the server's first, and its private key; needed
	// ClientCA holds the authorities of clients' certificates. With it
	// clients may show one, which must be verified; without it none is
	// asked for.
	ClientCA string
	// RequireClientCert refuses clients that show none.
	RequireClientCert bool
}

// TLS is a server's TLS configuration that follows its files: a changed
// certificate, key or client authority holds for the next handshake. When the
// new files do not fit together, that is logged once and the old ones stay.
type TLS struct {
	config *live[tls.Config]
}

// OpenTLS reads the files and follows them until Close.
func OpenTLS(files TLSFiles, log *slog.Logger) (*TLS, error) {
	switch {
	case files.Cert == "" || files.Key == "":
		return nil, badParameter("TLS needs the files of a certificate and its key")
	case files.RequireClientCert && files.ClientCA == "":
		return nil, badParameter("clients' certificates are required, and no file of client authorities is named")
	}
	config, err := newLive(log, "TLS certificate", files.load, files.Cert, files.Key, files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return &TLS{config}, nil
}

// Close ends the following of the files; handshakes go on with what was read
// last.
func (t *TLS) Close() { t.config.close() }

// Config returns a configuration for listeners: TLS 1.2 or later, the standard
// library's choice of ciphers, and what the files hold at each handshake. Where
// clients show certificates there are no session tickets, so that each
// connection is verified against the authorities of its time. The caller may
// set NextProtos before it is used.
func (t *TLS) Config() *tls.Config {
	outer := t.config.value.Load().Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := t.config.value.Load().Clone()
		now.NextProtos = outer.NextProtos
		return now, nil
	}
	return outer
}

func (f TLSFiles) load() (*tls.Config, error) {
	var pem [3][]byte
	for i, path := range []string{f.Cert, f.Key, f.ClientCA} {
		if path == "" {
			continue
		}
		var err error
		if pem[i], err = readFile(path, MaxDocument); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(pem[0], pem[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.ClientCA == "" {
		return c, nil
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem[2]) {
		return nil, errors.New(f.ClientCA + " holds no certificate")
	}
	c.SessionTicketsDisabled = true
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if f.RequireClientCert {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}
