package nats

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// maxToken is the longest token that is written out.
const maxToken = 72

// token writes a name so that it may be a token of a subject and a part of the
// name of a stream or consumer: letters, digits, "-" and "_" as they are,
// other bytes as "=" and two hexadecimal digits. The rest of a long one becomes
// its hash; the true name is in the metadata.
func token(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() <= maxToken {
		return b.String()
	}
	return fmt.Sprintf("%s==%x", b.String()[:maxToken/2], sha256.Sum256([]byte(name)))[:maxToken]
}

const maxName = 255 // bytes

func checkName(op, what, name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return om.NewError(om.CodeBadParameter, op, name, "the %s's name must be 1 to %d bytes of valid UTF-8", what, maxName)
	}
	return nil
}

// spaceStream is the stream, always empty, that stands for a namespace.
func (o *options) spaceStream(namespace string) string {
	return "oms~" + o.region + "~" + token(namespace)
}

// stream is the stream of a partition.
func (o *options) stream(namespace, queue string, partition int) string {
	return fmt.Sprintf("%s~%s~%d", o.spaceStream(namespace), token(queue), partition)
}

// subject is what a stream listens to.
func subject(stream string) string { return strings.ReplaceAll(stream, "~", ".") }
