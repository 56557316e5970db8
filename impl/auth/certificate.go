package auth

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"
)

// CertificateRule says how a client's certificate names a user. Make one with
// [ParseCertificateRule].
type CertificateRule struct {
	field          string
	prefix, suffix string
}

// ParseCertificateRule reads a rule: a field of the certificate and a pattern
// with one asterisk. What the asterisk stands for is the user's name.
//
//	cn:*                                      the subject's common name
//	dns:*.clients.example.org                 a DNS name (SAN)
//	email:*@example.org                       a mail address (SAN)
//	uri:spiffe://example.org/ns/prod/sa/*     a URI (SAN)
//
// Errors are CodeBadParameter.
func ParseCertificateRule(text string) (CertificateRule, error) {
	field, pattern, _ := strings.Cut(text, ":")
	prefix, suffix, ok := strings.Cut(pattern, "*")
	switch {
	case len(text) > maxRule, !ok, strings.Contains(suffix, "*"):
		return CertificateRule{}, badParameter("the certificate rule %q is not like cn:* or dns:*.clients.example.org, with one asterisk", short(text))
	case field != "cn" && field != "dns" && field != "email" && field != "uri":
		return CertificateRule{}, badParameter("the certificate rule %q: %q is none of cn, dns, email, uri", text, field)
	}
	return CertificateRule{field, prefix, suffix}, nil
}

// String returns the rule as [ParseCertificateRule] reads it.
func (r CertificateRule) String() string { return r.field + ":" + r.prefix + "*" + r.suffix }

var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// values returns the field of a certificate.
func (r CertificateRule) values(c *x509.Certificate) (values []string) {
	switch r.field {
	case "cn":
		for _, name := range c.Subject.Names {
			if s, ok := name.Value.(string); ok && name.Type.Equal(commonName) {
				values = append(values, s)
			}
		}
	case "dns":
		values = c.DNSNames
	case "email":
		values = c.EmailAddresses
	case "uri":
		for _, u := range c.URIs {
			values = append(values, u.String())
		}
	}
	return values
}

// certificateUser returns the user that the first rule that matches finds, and
// when the certificate's chain expires.
func certificateUser(rules []CertificateRule, state *tls.ConnectionState) (user string, expires time.Time, err error) {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return "", expires, errors.New("there is no verified certificate")
	}
	chain := state.VerifiedChains[0]
	for _, r := range rules {
		var found []string
		for _, v := range r.values(chain[0]) {
			rest, begins := strings.CutPrefix(v, r.prefix)
			name, ends := strings.CutSuffix(rest, r.suffix)
			if begins && ends {
				found = append(found, name)
			}
		}
		switch {
		case len(found) > 1:
			return "", expires, fmt.Errorf("the certificate names %d users by the rule %s", len(found), r)
		case len(found) == 1:
			expires = chain[0].NotAfter
			for _, c := range chain {
				if c.NotAfter.Before(expires) {
					expires = c.NotAfter
				}
			}
			return found[0], expires, checkUser(found[0])
		}
	}
	return "", expires, errors.New("no rule matches the certificate")
}
