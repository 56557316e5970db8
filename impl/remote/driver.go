// Package remote is the driver "oms": the reference broker over the network.
//
//	oms:oms://host:port[,host:port]/<region>
//
// Import it for its side effect. All hosts serve the same broker; the driver
// connects to the first that answers and, when that goes away, to the next, by
// itself. An access point has one connection, which its producers and consumers
// share. The region is a name without meaning to the driver. Options:
//
//	tls=true            connect by TLS
//	ca=FILE             certificates that servers are checked against; default those of the system
//	cert=FILE key=FILE  the client's own certificate, for servers that ask for one
//	server_name=NAME    the name that the server's certificate is for; default the host
//
// Credentials of oms.WithCredentials: the token is sent with each call; account and
// key log in by SCRAM-SHA-256, so that the key never travels, and on TLS 1.3 the
// login is bound to the connection. With neither the client's certificate says who
// it is. They are asked for anew for each connection and after the server has
// refused them. Without TLS they are used with this machine only.
//
// The driver sends again by itself what it does not know to be stored; the
// broker stores it once.
//
// As gives a *grpc.ClientConnInterface the connection, for the calls of the
// protocol that the portable API has no words for, such as a backup or those about
// users. It ends with the access point.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Version is the driver's version.
const Version = "0.1.0"

func init() { spi.Register(Driver{}) }

// Driver is the driver; its zero value is ready.
type Driver struct{}

// Info implements spi.Driver.
func (Driver) Info() spi.Info {
	return spi.Info{Name: "oms", Version: Version, SpecVersion: om.SpecVersion}
}

// Open implements spi.Driver. It returns when a host has answered.
func (Driver) Open(ctx context.Context, cfg spi.Config) (spi.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	secure, err := parseOptions(cfg.URL)
	if err != nil {
		return nil, om.NewError(om.CodeMalformedURL, "open", cfg.URL.String(), "%w", err)
	}
	if cfg.Credentials != nil && secure == nil {
		for _, h := range cfg.URL.Hosts {
			if !isLoopback(h.Host) {
				return nil, om.NewError(om.CodeBadParameter, "open", cfg.URL.String(), "credentials would go to %s in clear; use tls=true", h.Host)
			}
		}
	}
	return dial(ctx, cfg, secure)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// parseOptions returns how connections are secured; nil is not at all.
func parseOptions(u om.URL) (*tls.Config, error) {
	one := make(map[string]string)
	for key, values := range u.Options {
		if len(values) != 1 {
			return nil, fmt.Errorf("the option %s occurs %d times", key, len(values))
		}
		switch key {
		case "tls", "ca", "cert", "key", "server_name":
			one[key] = values[0]
		default:
			return nil, fmt.Errorf("%s=%s: no such option; there are tls, ca, cert, key, server_name", key, values[0])
		}
	}
	secure := false
	if text, ok := one["tls"]; ok {
		var err error
		if secure, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("tls=%s is neither true nor false", text)
		}
		delete(one, "tls")
	}
	if !secure {
		for key := range one {
			return nil, fmt.Errorf("%s is for TLS; say tls=true", key)
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: one["server_name"]}
	if file := one["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ca=%s: %w", file, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca=%s: the file holds no certificate", file)
		}
	}
	return c, addCertificate(c, one["cert"], one["key"])
}

// addCertificate has the client's certificate read for each connection, so that
// it can be renewed.
func addCertificate(c *tls.Config, cert, key string) error {
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "" || key == "":
		return errors.New("cert and key belong together")
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert=%s, key=%s: %w", cert, key, err)
		}
		return &pair, nil
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	_, err := load()
	return err
}

// URL returns the access-point URL of a server, for example at
// "localhost:7650", with options such as "tls" in pairs of key and value.
func URL(address string, options ...string) string {
	var b strings.Builder
	b.WriteString("oms:oms://" + address + "/default")
	for i := 0; i+1 < len(options); i += 2 {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(options[i] + "=" + strings.ReplaceAll(strings.ReplaceAll(options[i+1], "%", "%25"), "&", "%26"))
	}
	return b.String()
}
