package spi

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// MaxName is the longest name that CheckName takes, in bytes.
const MaxName = 255

// CheckName refuses a name that is empty, longer than MaxName or not valid
// UTF-8, with CodeBadParameter. what says whose name it is, such as "queue".
func CheckName(op, what, name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return om.NewError(om.CodeBadParameter, op, name, "the %s's name must be 1 to %d bytes of valid UTF-8", what, MaxName)
	}
	return nil
}

// MaxToken is the length of the longest token, in bytes.
const MaxToken = 72

// Token writes a name for systems that restrict names: letters, digits, "-" and
// "_" as they are, other bytes as "=" and two hexadecimal digits. The rest of one
// that would be longer than MaxToken becomes its hash, so that a name cannot
// always be read from its token. Different names have different tokens.
func Token(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() <= MaxToken {
		return b.String()
	}
	return fmt.Sprintf("%s==%x", b.String()[:MaxToken/2], sha256.Sum256([]byte(name)))[:MaxToken]
}
