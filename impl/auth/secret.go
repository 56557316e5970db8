package auth

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// redacted makes the type that embeds it print as "[redacted]" in fmt, slog,
// JSON and text. The type keeps what it hides behind a pointer: fmt reaches
// unexported fields of other structs without asking for methods, and prints an
// address then.
type redacted struct{}

const redactedText = "[redacted]"

func (redacted) String() string               { return redactedText }
func (redacted) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redactedText) }
func (redacted) LogValue() slog.Value         { return slog.StringValue(redactedText) }
func (redacted) MarshalText() ([]byte, error) { return []byte(redactedText), nil }

// Secret is a password, a token or a key. It prints as "[redacted]" in fmt,
// slog, JSON and YAML; only Reveal tells it. The zero Secret is empty. Compare
// with Equal, not with ==.
type Secret struct {
	redacted
	value *string
}

// NewSecret returns value as a Secret.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Equal compares in a time that depends on the lengths only.
func (s Secret) Equal(t Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// maxSecret bounds a secret that is loaded, bytes.
const maxSecret = 64 << 10

// LoadSecret reads a secret from where ref says: "file:PATH" or "env:NAME". One
// line end at the end of a file or variable is left out. A missing file or
// variable, an empty secret and one of more than 64 KiB are errors. No error
// holds the secret, nor ref when it has neither form: it may be the secret
// itself, given by mistake.
func LoadSecret(ref string) (Secret, error) {
	scheme, at, _ := strings.Cut(ref, ":")
	var value string
	switch {
	case scheme == "file" && at != "":
		b, err := readFile(at, maxSecret)
		if err != nil {
			return Secret{}, fmt.Errorf("secret: %w", err)
		}
		value = string(b)
	case scheme == "env" && at != "":
		v, ok := os.LookupEnv(at)
		if !ok {
			return Secret{}, fmt.Errorf("secret: the environment variable %q is not set", at)
		}
		value = v
	default:
		return Secret{}, errors.New("secret: name its source as file:PATH or env:NAME; a secret itself does not belong here")
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	switch {
	case value == "":
		return Secret{}, fmt.Errorf("secret: %s is empty", ref)
	case len(value) > maxSecret:
		return Secret{}, fmt.Errorf("secret: %s is longer than %d bytes", ref, maxSecret)
	}
	return NewSecret(value), nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, limit)
}

func readAll(f *os.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", f.Name(), limit)
	}
	return b, err
}
