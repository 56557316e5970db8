package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// keyring holds the keys of an issuer; making RSA keys takes time.
var keyring = sync.OnceValue(func() map[string]crypto.Signer {
	make := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	rsa2, err := rsa.GenerateKey(rand.Reader, 2048)
	ec, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"rsa": make(rsa2, err), "ec": make(ec, err2), "other": make(other, err3), "ed": make(ed, err4)}
})

func jwks(t testing.TB, private bool, ids ...string) []byte {
	t.Helper()
	var set jwkset.JWKSMarshal
	for _, id := range ids {
		var key any = keyring()[id].Public()
		if private {
			key = keyring()[id]
		}
		jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}, Marshal: jwkset.JWKMarshalOptions{Private: private}})
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jwk.Marshal())
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openTokens(t *testing.T, w *world, keys []byte, alter func(*TokenConfig)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "jwks.json")
	w.must(os.WriteFile(path, keys, 0o600))
	c := TokenConfig{Keys: path, Issuer: "https://issuer.example", Audience: "broker", Groups: "groups"}
	if alter != nil {
		alter(&c)
	}
	tokens, err := OpenTokens(c, w.log.logger())
	w.must(err)
	t.Cleanup(tokens.Close)
	w.auth.config.Tokens = tokens
	return path
}

func claims(change ...any) jwt.MapClaims {
	c := jwt.MapClaims{"iss": "https://issuer.example", "aud": "broker", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for i := 0; i < len(change); i += 2 {
		c[change[i].(string)] = change[i+1]
		if change[i+1] == nil {
			delete(c, change[i].(string))
		}
	}
	return c
}

// sign makes a token; header is pairs, as the claims' changes.
func sign(t testing.TB, m jwt.SigningMethod, key any, c jwt.Claims, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(m, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokenIsAccepted(t *testing.T) {
	w := newWorld(t)
	openTokens(t, w, jwks(t, false, "rsa", "ec", "ed"), nil)
	ec, rsaKey := keyring()["ec"], keyring()["rsa"]
	for what, token := range map[string]string{
		"RS256":           sign(t, jwt.SigningMethodRS256, rsaKey, claims(), "kid", "rsa"),
		"PS256":           sign(t, jwt.SigningMethodPS256, rsaKey, claims(), "kid", "rsa"),
		"ES256":           sign(t, jwt.SigningMethodES256, ec, claims(), "kid", "ec"),
		"EdDSA":           sign(t, jwt.SigningMethodEdDSA, keyring()["ed"], claims(), "kid", "ed"),
		"audiences":       sign(t, jwt.SigningMethodES256, ec, claims("aud", []string{"x", "broker"}), "kid", "ec"),
		"just expired":    sign(t, jwt.SigningMethodES256, ec, claims("exp", time.Now().Add(-10*time.Second).Unix()), "kid", "ec"),
		"in a moment":     sign(t, jwt.SigningMethodES256, ec, claims("nbf", time.Now().Add(10*time.Second).Unix(), "iat", time.Now().Add(10*time.Second).Unix()), "kid", "ec"),
		"other key named": sign(t, jwt.SigningMethodES256, ec, claims(), "kid", "ec", "jku", "https://evil.example", "jwk", map[string]string{"kty": "oct"}),
	} {
		p, err := w.auth.Token(clientFrom, NewSecret(token))
		if err != nil || p.Name != "alice" || p.Method != ByToken || p.From != clientFrom || p.Expires.IsZero() {
			t.Errorf("%s: %+v, %v\n%s", what, p, err, w.log)
		}
	}
}

func TestTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	openTokens(t, w, jwks(t, false, "rsa", "ec", "ed"), nil)
	ec, rsaKey := keyring()["ec"], keyring()["rsa"]
	good := sign(t, jwt.SigningMethodES256, ec, claims(), "kid", "ec")
	segments := strings.Split(good, ".")
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	w.must(err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	enc := base64.RawURLEncoding.EncodeToString
	es := func(c jwt.Claims, header ...any) string {
		return sign(t, jwt.SigningMethodES256, ec, c, append([]any{"kid", "ec"}, header...)...)
	}
	payload := enc([]byte(strings.Replace(decode(t, segments[1]), `"alice"`, `"admin"`, 1)))
	ago, soon := time.Now().Add(-time.Minute).Unix(), time.Now().Add(time.Minute).Unix()
	cases := map[string]string{
		"none":                   sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(), "kid", "ec"),
		"None":                   enc([]byte(`{"alg":"None","kid":"ec"}`)) + "." + segments[1] + ".",
		"no algorithm":           enc([]byte(`{"kid":"ec"}`)) + "." + segments[1] + "." + segments[2],
		"HMAC with the PEM":      sign(t, jwt.SigningMethodHS256, public, claims(), "kid", "rsa"),
		"HMAC with the DER":      sign(t, jwt.SigningMethodHS256, der, claims(), "kid", "rsa"),
		"HMAC with the JWKS":     sign(t, jwt.SigningMethodHS256, jwks(t, false, "rsa"), claims(), "kid", "rsa"),
		"algorithm not listed":   sign(t, jwt.SigningMethodRS512, rsaKey, claims(), "kid", "rsa"),
		"key of another kind":    sign(t, jwt.SigningMethodRS256, rsaKey, claims(), "kid", "ec"),
		"forged":                 sign(t, jwt.SigningMethodES256, keyring()["other"], claims(), "kid", "ec"),
		"unknown kid":            es(claims(), "kid", "other"),
		"kid not text":           es(claims(), "kid", 7),
		"no kid":                 sign(t, jwt.SigningMethodES256, ec, claims()),
		"no kid, first key":      sign(t, jwt.SigningMethodRS256, rsaKey, claims()),
		"subject changed":        segments[0] + "." + payload + "." + segments[2],
		"no signature":           segments[0] + "." + segments[1] + ".",
		"two parts":              segments[0] + "." + segments[1],
		"four parts":             good + ".x",
		"padded":                 good + "=",
		"empty":                  "",
		"dots":                   strings.Repeat(".", 5000),
		"huge":                   strings.Repeat("A", 1<<20) + good,
		"huge claims":            es(claims("x", strings.Repeat("x", maxToken))),
		"expired":                es(claims("exp", ago)),
		"expires as text":        es(claims("exp", "tomorrow")),
		"never expires":          es(claims("exp", nil)),
		"expires at 0":           es(claims("exp", 0)),
		"not yet":                es(claims("nbf", soon)),
		"not before text":        es(claims("nbf", "yesterday")),
		"issued later":           es(claims("iat", soon)),
		"wrong audience":         es(claims("aud", "another")),
		"no audience":            es(claims("aud", nil)),
		"audience in part":       es(claims("aud", "brokers")),
		"wrong issuer":           es(claims("iss", "https://evil.example")),
		"no issuer":              es(claims("iss", nil)),
		"no subject":             es(claims("sub", nil)),
		"SUB for sub":            es(claims("sub", nil, "SUB", "alice", "Sub", "alice")),
		"subject a number":       es(claims("sub", 7)),
		"subject with a newline": es(claims("sub", "alice\nbob")),
		"unknown subject":        es(claims("sub", "nobody")),
		"groups no roles":        es(claims("sub", "nobody", "groups", []string{"nothing"})),
		"groups a number":        es(claims("groups", 7)),
		"critical extension":     es(claims(), "crit", []string{"exp"}),
	}
	for what, token := range cases {
		w.auth.config.Gate = NewGate(GateConfig{})
		p, err := w.auth.Token(clientFrom, NewSecret(token))
		if om.CodeOf(err) != om.CodeUnauthorized || p != nil {
			t.Errorf("%s: %+v, %v", what, p, err)
		} else if want := "openmessaging: login: unauthorized (1401): the token is not accepted; the server's log has the reason"; err.Error() != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	if strings.Contains(w.log.String(), segments[1][:40]) {
		t.Error("the log has a token")
	}
	w.auth.config.Gate = NewGate(GateConfig{})
	if _, err := w.auth.Token(clientFrom, NewSecret(good)); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func decode(t testing.TB, segment string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTokenWithOneKeyNeedsNoKid(t *testing.T) {
	w := newWorld(t)
	openTokens(t, w, jwks(t, false, "ec"), nil)
	if _, err := w.auth.Token(clientFrom, NewSecret(sign(t, jwt.SigningMethodES256, keyring()["ec"], claims()))); err != nil {
		t.Error(err)
	}
	_, err := w.auth.Token(clientFrom, NewSecret(sign(t, jwt.SigningMethodES256, keyring()["ec"], claims(), "kid", "x")))
	wantCode(t, err, om.CodeUnauthorized)
}

func TestTokenGroups(t *testing.T) {
	w := newWorld(t)
	openTokens(t, w, jwks(t, false, "ec"), nil)
	w.change(func(d *Document) error {
		_ = d.AddRole("writer")
		return d.Grant("role:writer", rule(t, "allow publish queue:q"))
	})
	login := func(sub string, groups any) (*Principal, error) {
		return w.auth.Token(clientFrom, NewSecret(sign(t, jwt.SigningMethodES256, keyring()["ec"], claims("sub", sub, "groups", groups))))
	}
	q := Queue("default", "q")
	for _, groups := range []any{"writer", []string{"writer"}, []any{"a b", 7, "unknown", "writer"}} {
		p, err := login("stranger", groups)
		w.must(err)
		w.must(w.rights.Allow(p, Publish, q))
		wantCode(t, w.rights.Allow(p, Browse, q), om.CodeForbidden)
	}
	many := make([]string, maxGroups+1)
	_, err := login("stranger", many)
	wantCode(t, err, om.CodeUnauthorized)
	p, err := login("stranger", "writer")
	w.must(err)
	// A denying rule of the user and a disabled user win over the token's
	// groups.
	w.change(func(d *Document) error {
		return d.AddUser("stranger", User{Rules: []Rule{rule(t, "deny publish queue:*")}})
	})
	wantCode(t, w.rights.Allow(p, Publish, q), om.CodeForbidden)
	w.change(func(d *Document) error { d.Users["stranger"].Disabled = true; return nil })
	wantCode(t, w.rights.Allow(p, Publish, q), om.CodeUnauthorized)
	_, err = login("stranger", "writer")
	wantCode(t, err, om.CodeUnauthorized)
	w.change(func(d *Document) error { return d.DeleteUser("stranger") })
	w.must(w.rights.Allow(p, Publish, q))
	w.change(func(d *Document) error { return d.DeleteRole("writer") })
	wantCode(t, w.rights.Allow(p, Publish, q), om.CodeUnauthorized)
	// Without the claim configured groups mean nothing.
	w.auth.config.Tokens.config.Groups = ""
	p, err = login("alice", "writer")
	if err != nil || p.Roles != nil {
		t.Error(p, err)
	}
}

func TestTokenEndsWhileConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		path := openTokens(t, w, jwks(t, false, "ec"), nil)
		login := func(key string) (*Principal, error) {
			return w.auth.Token(clientFrom, NewSecret(sign(t, jwt.SigningMethodES256, keyring()[key], claims("exp", time.Now().Add(time.Minute).Unix()))))
		}
		p, err := login("ec")
		w.must(err)
		time.Sleep(time.Minute + 29*time.Second)
		w.must(w.rights.Check(p))
		time.Sleep(time.Second)
		wantCode(t, w.rights.Check(p), om.CodeUnauthorized)
		// Keys are replaced; broken ones are not used and logged once.
		write := func(b []byte) {
			w.must(os.WriteFile(path, b, 0o600))
			time.Sleep(3 * pollEvery)
			synctest.Wait()
		}
		write([]byte("{"))
		_, err = login("ec")
		w.must(err)
		if n := strings.Count(w.log.String(), "the old one stays"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		write(jwks(t, false, "other"))
		_, err = login("other")
		w.must(err)
		_, err = login("ec")
		wantCode(t, err, om.CodeUnauthorized)
	})
}

func TestTokenKeysRefused(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakKey := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"w","e":"AQAB","n":%q}]}`, base64.RawURLEncoding.EncodeToString(weak.N.Bytes()))
	twice := jwks(t, false, "ec", "ec")
	for content, want := range map[string]string{
		"":            "not a JWKS",
		"{}":          "no key",
		`{"keys":[]}`: "no key",
		`{"keys":[{"kty":"oct","k":"aHVudGVyMg","kid":"a"}]}`: "shared secret",
		string(jwks(t, true, "ec")):                           "private key",
		string(jwks(t, true, "rsa")):                          "private key",
		weakKey:                                               "1024 bits",
		string(twice):                                         "of another",
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`:     "key 1",
		`{"keys":[{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}]}`: "no key",
	} {
		_, err := parseKeys([]byte(content))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "aHVudGVyMg") {
			t.Errorf("%.60s: %v; want %q", content, err, want)
		}
	}
	log := (&logs{}).logger()
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, jwks(t, false, "ec"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, alter := range []func(*TokenConfig){
		func(c *TokenConfig) { c.Issuer = "" }, func(c *TokenConfig) { c.Audience = "" }, func(c *TokenConfig) { c.Keys = "" },
		func(c *TokenConfig) { c.Algorithms = []string{"none"} }, func(c *TokenConfig) { c.Algorithms = []string{"ES256", "HS256"} },
		func(c *TokenConfig) { c.Skew = time.Hour }, func(c *TokenConfig) { c.Skew = -1 },
	} {
		c := TokenConfig{Keys: path, Issuer: "i", Audience: "a"}
		alter(&c)
		_, err := OpenTokens(c, log)
		wantCode(t, err, om.CodeBadParameter)
	}
	if _, err := OpenTokens(TokenConfig{Keys: path + ".missing", Issuer: "i", Audience: "a"}, log); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

func TestTokensNotConfigured(t *testing.T) {
	w := newWorld(t)
	_, err := w.auth.Token(clientFrom, NewSecret("x.y.z"))
	wantCode(t, err, om.CodeUnauthorized)
}

func FuzzToken(f *testing.F) {
	good := sign(f, jwt.SigningMethodES256, keyring()["ec"], claims(), "kid", "ec")
	f.Add(good)
	f.Add("a.b.c")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + ".e30.")
	keys, err := parseKeys(jwks(f, false, "ec", "rsa"))
	if err != nil {
		f.Fatal(err)
	}
	t := &Tokens{config: TokenConfig{Groups: "groups"}, parser: jwt.NewParser(jwt.WithValidMethods(algorithms)), keys: &live[[]publicKey]{}}
	t.keys.value.Store(&keys)
	f.Fuzz(func(tt *testing.T, token string) {
		p, err := t.verify(NewSecret(token))
		if err == nil && token != good {
			tt.Fatalf("%q logged in as %+v", token, p)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(jwks(f, false, "ec", "rsa", "ed"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if keys, err := parseKeys(b); (err == nil) != (len(keys) > 0) {
			t.Fatal(keys, err)
		}
	})
}
