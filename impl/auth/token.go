package auth

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxToken  = 8 << 10   // bytes of a token
	maxKeySet = 256 << 10 // bytes of a file of keys
	minRSA    = 2048      // bits
	maxSkew   = 5 * time.Minute
	maxGroups = 1024 // in a token
)

// algorithms are those a token may be signed with; none of them takes a secret
// that the server would share with the issuer.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// TokenConfig says which bearer tokens (JWT, RFC 7519) are accepted.
type TokenConfig struct {
	// Keys is a file with the issuer's public keys (JWKS, RFC 7517). It is
	// read again when it changes. Needed.
	Keys string
	// Issuer and Audience must be in the token, as iss and in aud. Needed:
	// a token for another service must not do here.
	Issuer, Audience string
	// Algorithms are those that are accepted; none means RS256, PS256,
	// ES256 and EdDSA.
	Algorithms []string
	// Groups is the claim whose values are taken for roles, as far as there
	// are such roles. With it a subject need not be a user. "" means that
	// tokens bring no roles.
	Groups string
	// Skew is how much the clocks may differ, at most 5 min; 0 means 30 s.
	Skew time.Duration
}

// Tokens checks bearer tokens. The subject is the user's name. A token needs
// exp, iss, aud and sub, a signature by one of the keys with an algorithm of
// the list that fits the key, and kid when there are several keys. All methods
// may be called concurrently.
type Tokens struct {
	config TokenConfig
	parser *jwt.Parser
	keys   *live[[]publicKey]
}

type publicKey struct {
	id        string
	algorithm string // "" for any that takes the key
	key       any
}

// OpenTokens reads the keys and follows their file until Close; when a new
// version is wrong, that is logged once and the old one stays. A configuration
// that makes no sense is CodeBadParameter.
func OpenTokens(c TokenConfig, log *slog.Logger) (*Tokens, error) {
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	}
	if c.Skew == 0 {
		c.Skew = 30 * time.Second
	}
	if c.Keys == "" || c.Issuer == "" || c.Audience == "" {
		return nil, badParameter("tokens need the file of the issuer's keys, the issuer and the audience")
	}
	if c.Skew < 0 || c.Skew > maxSkew {
		return nil, badParameter("a skew of %v; it is at most %v", c.Skew, maxSkew)
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			return nil, badParameter("tokens are not accepted with the algorithm %q; possible are %v", a, algorithms)
		}
	}
	t := &Tokens{config: c, parser: jwt.NewParser(jwt.WithValidMethods(c.Algorithms), jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience),
		jwt.WithLeeway(c.Skew), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())}
	keys, err := newLive(log, "file of token keys", func() (*[]publicKey, error) { return loadKeys(c.Keys) }, c.Keys)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	t.keys = keys
	return t, nil
}

// Close ends the following of the file.
func (t *Tokens) Close() { t.keys.close() }

// verify returns the principal of a token. The error is for the audit; it holds
// nothing of the token but names.
func (t *Tokens) verify(token Secret) (*Principal, error) {
	raw := token.Reveal()
	if len(raw) > maxToken {
		return nil, fmt.Errorf("the token has %d bytes, %d are the most", len(raw), maxToken)
	}
	claims := jwt.MapClaims{} // a struct would take "SUB" for sub
	if _, err := t.parser.ParseWithClaims(raw, claims, t.key); err != nil {
		return nil, tokenFault(err)
	}
	name, err := claims.GetSubject()
	if err != nil {
		return nil, errors.New("the subject is not text")
	}
	if err := checkUser(name); err != nil {
		return nil, err
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return nil, errors.New("the token does not expire")
	}
	p := &Principal{Name: name, Method: ByToken, Expires: expires.Add(t.config.Skew)}
	if t.config.Groups != "" {
		p.Roles, err = groups(claims[t.config.Groups])
	}
	return p, err
}

// tokenFault says what is wrong with a token, without the library's text, which
// quotes it.
func tokenFault(err error) error {
	for _, known := range []error{jwt.ErrTokenMalformed, errKey, jwt.ErrTokenUnverifiable, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenExpired,
		jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenRequiredClaimMissing} {
		if errors.Is(err, known) {
			return known
		}
	}
	return jwt.ErrTokenInvalidClaims
}

// groups reads a claim that holds text or a list of texts. What cannot be a
// role's name is left out.
func groups(claim any) (roles []string, err error) {
	var all []any
	switch v := claim.(type) {
	case nil:
	case string:
		all = []any{v}
	case []any:
		all = v
	default:
		return nil, errors.New("the claim of groups is neither text nor a list")
	}
	if len(all) > maxGroups {
		return nil, fmt.Errorf("the token has %d groups, %d are the most", len(all), maxGroups)
	}
	for _, g := range all {
		if name, ok := g.(string); ok && checkRole(name) == nil {
			roles = append(roles, name)
		}
	}
	return roles, nil
}

var errKey = errors.New("no key fits the token: its kid is unknown, missing among several keys, or its algorithm is not that of the key")

// key returns the key that a token names. Nothing in the token brings a key of
// its own: jwk, jku and x5u are not looked at.
func (t *Tokens) key(token *jwt.Token) (any, error) {
	if _, ok := token.Header["crit"]; ok {
		return nil, errors.New("critical extensions are not known here")
	}
	keys := *t.keys.value.Load()
	id, named := token.Header["kid"]
	for _, k := range keys {
		if (named && id == k.id || !named && len(keys) == 1) && (k.algorithm == "" || k.algorithm == token.Method.Alg()) {
			return k.key, nil
		}
	}
	return nil, errKey
}

func loadKeys(path string) (*[]publicKey, error) {
	content, err := readFile(path, maxKeySet)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &keys, nil
}

// parseKeys reads a JWKS. Keys for encryption and of unknown kinds are left
// out, as RFC 7517 has it; secrets and weak keys are refused.
func parseKeys(content []byte) (keys []publicKey, err error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(content, &set); err != nil {
		return nil, errors.New("it is not a JWKS") // the error may quote it
	}
	for i, m := range set.Keys {
		switch {
		case m.K != "" || m.KTY == jwkset.KtyOct:
			return nil, fmt.Errorf("key %d is a shared secret; only public keys belong here", i+1)
		case m.D != "" || m.P != "" || m.Q != "" || m.DP != "" || m.DQ != "" || m.QI != "" || len(m.OTH) > 0:
			return nil, fmt.Errorf("key %d is a private key; only public keys belong here, and this one is no secret any more", i+1)
		case m.USE == jwkset.UseEnc:
			continue
		}
		jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if errors.Is(err, jwkset.ErrUnsupportedKey) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if k, ok := jwk.Key().(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("key %d is an RSA key of %d bits; %d are the least", i+1, k.N.BitLen(), minRSA)
		}
		k := publicKey{id: m.KID, algorithm: m.ALG.String(), key: jwk.Key()}
		if slices.ContainsFunc(keys, func(other publicKey) bool { return other.id == k.id }) {
			return nil, fmt.Errorf("key %d has the kid %q of another, or none among several keys", i+1, short(k.id))
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key that signs tokens")
	}
	return keys, nil
}
