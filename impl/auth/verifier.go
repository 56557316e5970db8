package auth

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// Bounds of passwords and verifiers.
const (
	MinPassword       = 12        // characters, after SASLprep
	MaxPassword       = 1024      // bytes
	MinIterations     = 4096      // of PBKDF2
	DefaultIterations = 32_768    // of PBKDF2
	MaxIterations     = 1_000_000 // of PBKDF2
)

const saltSize = 16

// Verifier proves that somebody knows a password and does not hold it: salt,
// iterations, StoredKey and ServerKey of SCRAM-SHA-256 (RFC 5802, RFC 7677). It
// can still be guessed against, so it prints as "[redacted]"; Encode and YAML,
// the form in which it is stored, tell it. The zero Verifier matches nothing.
// Values are not changed after they are made.
type Verifier struct {
	redacted
	keys func() scram.StoredCredentials // not a pointer: fmt follows one to a struct where it prints an error of its own
}

func hide(keys scram.StoredCredentials) Verifier {
	return Verifier{keys: func() scram.StoredCredentials { return keys }}
}

// NewVerifier returns the verifier of a password with a salt of its own.
// Iterations is MinIterations to MaxIterations, 0 means DefaultIterations. A
// password of fewer than MinPassword characters or more than MaxPassword bytes,
// or one that SASLprep (RFC 4013) refuses, is CodeBadParameter; no error holds
// it.
func NewVerifier(password Secret, iterations int) (Verifier, error) {
	if iterations == 0 {
		iterations = DefaultIterations
	}
	if iterations < MinIterations || iterations > MaxIterations {
		return Verifier{}, badParameter("%d iterations; %d to %d are possible", iterations, MinIterations, MaxIterations)
	}
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return Verifier{}, err
	}
	return derive(password, scram.KeyFactors{Salt: string(salt), Iters: iterations})
}

// Another returns the verifier of a second password of the same user, with the
// salt and the iterations of v: a login names one salt, so all verifiers of a
// user share it.
func (v Verifier) Another(password Secret) (Verifier, error) {
	if v.keys == nil {
		return Verifier{}, badParameter("there is no verifier to add another to")
	}
	return derive(password, v.keys().KeyFactors)
}

// DeriveVerifier returns the verifier of a password with a salt that is given, of
// 16 bytes or more, as another side has it: see [Verifier.Another].
func DeriveVerifier(password Secret, salt []byte, iterations int) (Verifier, error) {
	if len(salt) < saltSize || iterations < MinIterations || iterations > MaxIterations {
		return Verifier{}, badParameter("a salt of %d bytes and %d iterations; %d bytes are the least, %d to %d iterations are possible", len(salt), iterations, saltSize, MinIterations, MaxIterations)
	}
	return derive(password, scram.KeyFactors{Salt: string(salt), Iters: iterations})
}

// Salt returns the salt, and Iterations the iterations: what who logs in is told.
// Both are zero for the zero Verifier.
func (v Verifier) Salt() []byte {
	if v.keys == nil {
		return nil
	}
	return []byte(v.keys().Salt)
}

// Iterations is documented with Salt.
func (v Verifier) Iterations() int {
	if v.keys == nil {
		return 0
	}
	return v.keys().Iters
}

func derive(password Secret, factors scram.KeyFactors) (Verifier, error) {
	prepared, err := prepare(password)
	if err != nil {
		return Verifier{}, err
	}
	if n := utf8.RuneCountInString(prepared); n < MinPassword {
		return Verifier{}, badParameter("the password has %d characters; %d are the least", n, MinPassword)
	}
	keys, err := stored(prepared, factors)
	return hide(keys), err
}

// prepare checks the length of a password and prepares it with SASLprep.
func prepare(password Secret) (string, error) {
	raw := password.Reveal()
	if len(raw) > MaxPassword {
		return "", badParameter("the password is longer than %d bytes", MaxPassword)
	}
	prepared, err := stringprep.SASLprep.Prepare(raw)
	if err != nil { // the error holds a part of the password
		return "", badParameter("the password holds characters that SASLprep (RFC 4013) forbids, such as control characters or emoji")
	}
	return prepared, nil
}

func stored(prepared string, factors scram.KeyFactors) (scram.StoredCredentials, error) {
	client, err := scram.SHA256.NewClientUnprepped("", prepared, "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	return client.GetStoredCredentialsWithError(factors)
}

// matching returns the first of the verifiers, all with the same salt, that
// the password has. It takes one derivation however many there are, and no less
// for a password that is refused.
func matching(password Secret, verifiers []Verifier) (Verifier, bool) {
	prepared, err := prepare(password)
	keys, failed := stored(prepared, verifiers[0].keys().KeyFactors)
	if err != nil || failed != nil {
		return Verifier{}, false
	}
	found := -1
	for i, v := range verifiers {
		if subtle.ConstantTimeCompare(keys.StoredKey, v.keys().StoredKey) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Verifier{}, false
	}
	return verifiers[found], true
}

var stampSeed = maphash.MakeSeed()

// stamp tells verifiers apart, in this process: without the seed nobody can
// guess against it.
func (v Verifier) stamp() uint64 { return maphash.Bytes(stampSeed, v.keys().StoredKey) | 1 }

// decoy returns the verifier of a user who is not there, made of v, the
// document's decoy. It is the same each time, so that asking twice tells no
// more than asking once.
func (v Verifier) decoy(user string) Verifier {
	sum := func(what string) []byte {
		m := hmac.New(sha256.New, v.keys().ServerKey)
		m.Write([]byte(what + ":" + user))
		return m.Sum(nil)
	}
	return hide(scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(sum("salt")[:saltSize]), Iters: v.keys().Iters},
		StoredKey:  sum("stored key"),
		ServerKey:  sum("server key"),
	})
}

// Encode returns the verifier in the form in which it is stored, that of RFC
// 5803 as PostgreSQL has it: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey.
func (v Verifier) Encode() string {
	if v.keys == nil {
		return ""
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", v.keys().Iters, b64([]byte(v.keys().Salt)), b64(v.keys().StoredKey), b64(v.keys().ServerKey))
}

var encoded = regexp.MustCompile(`^SCRAM-SHA-256\$([0-9]{1,7}):([A-Za-z0-9+/=]{1,128})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})$`)

// ParseVerifier reads what Encode returns. No error holds a part of it.
func ParseVerifier(text string) (Verifier, error) {
	parts := encoded.FindStringSubmatch(text)
	if parts == nil {
		return Verifier{}, badParameter("the verifier is not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
	}
	var raw [3][]byte
	var errs [3]error
	for i, s := range parts[2:] {
		raw[i], errs[i] = base64.StdEncoding.Strict().DecodeString(s)
	}
	n, err := strconv.Atoi(parts[1])
	switch {
	case err != nil || n < MinIterations || n > MaxIterations:
		return Verifier{}, badParameter("the verifier has not %d to %d iterations", MinIterations, MaxIterations)
	case cmp.Or(errs[:]...) != nil || len(raw[0]) < saltSize || len(raw[1]) != sha256.Size || len(raw[2]) != sha256.Size:
		return Verifier{}, badParameter("the verifier has a salt of less than %d bytes, keys of not %d, or is not base64", saltSize, sha256.Size)
	}
	return hide(scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(raw[0]), Iters: n},
		StoredKey:  raw[1],
		ServerKey:  raw[2],
	}), nil
}

// MarshalYAML returns what is stored: the text of Encode.
func (v Verifier) MarshalYAML() (any, error) { return v.Encode(), nil }

// UnmarshalYAML reads the text of Encode.
func (v *Verifier) UnmarshalYAML(text func(any) error) (err error) {
	var s string
	if err := text(&s); err != nil {
		return badParameter("a verifier is not text") // the library's error holds the value
	}
	*v, err = ParseVerifier(s)
	return err
}
