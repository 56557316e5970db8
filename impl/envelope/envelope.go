// Package envelope writes messages for systems that have a body of bytes and
// headers of text, and reads them again. Other clients of such a system read the
// body; what they send is read too.
package envelope

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The headers. All values are printable ASCII. The body is the message's own,
// unless Prefix says that properties that are too long for a header precede it.
const (
	OMS         = "Oms"     // version, born time in milliseconds since 1970, born host
	Key         = "Oms-Key" // percent-encoded, as the next two
	Correlation = "Oms-Correlation"
	Trace       = "Oms-Trace"
	Properties  = "Oms-Properties" // base64 of MessagePack
	Prefix      = "Oms-Prefix"     // how many bytes of properties precede the body
)

// MaxHeader is the size from which properties go in front of the body, in
// bytes before base64.
const MaxHeader = 16 << 10

// Put sets a header, or takes it away for "".
func Put(h map[string][]string, header, text string) {
	switch v := h[header]; {
	case text == "":
		delete(h, header)
	case len(v) == 1:
		v[0] = text
	default:
		h[header] = []string{text}
	}
}

// Pack sets the headers of m in h and returns the body to send. It may be that
// of m; m is not changed. The message id is left to the system. h may be that of
// a Pack before, which is then written over.
func Pack(m *om.Message, h map[string][]string) (body []byte) {
	b := append(make([]byte, 0, 64), m.Version...)
	b = strconv.AppendInt(append(b, ' '), m.BornAt.UnixMilli(), 10)
	Put(h, OMS, string(append(append(b, ' '), url.PathEscape(m.BornHost)...)))
	Put(h, Key, url.PathEscape(m.Ext.MessageKey))
	Put(h, Correlation, url.PathEscape(m.Ext.CorrelationID))
	Put(h, Trace, url.PathEscape(m.Ext.TraceID))
	packed, size := "", ""
	body = m.Body
	if len(m.Properties) > 0 {
		if p := chunk.AppendProperties(nil, m.Properties); len(p) <= MaxHeader {
			packed = base64.StdEncoding.EncodeToString(p)
		} else {
			size, body = strconv.Itoa(len(p)), append(p, m.Body...)
		}
	}
	Put(h, Properties, packed)
	Put(h, Prefix, size)
	return body
}

// Unpack reads into m what Pack wrote: version, born time and host, properties,
// body, and the texts of the extension header. The message keeps the body. A
// message of another client gets the version of this module, stored and host
// as when and where it was born, and its headers as properties, but those that
// begin with foreign, which are the system's own. Bytes that are not what Pack
// writes give an error.
func Unpack(m *om.Message, h map[string][]string, body []byte, stored time.Time, host, foreign string) error {
	m.Body, m.Properties = body, om.Properties{}
	born := strings.Split(first(h, OMS), " ")
	if len(born) != 3 {
		m.Version, m.BornAt, m.BornHost = om.SpecVersion, stored, host
		for k, v := range h {
			if len(v) > 0 && utf8.ValidString(k) && utf8.ValidString(v[0]) && !strings.HasPrefix(k, foreign) {
				m.Properties[k] = om.String(v[0])
			}
		}
		return nil
	}
	milli, err := strconv.ParseInt(born[1], 10, 64)
	m.Version, m.BornAt = born[0], time.UnixMilli(milli).UTC()
	for _, t := range [...]struct {
		escaped string
		to      *string
	}{{born[2], &m.BornHost}, {first(h, Key), &m.Ext.MessageKey}, {first(h, Correlation), &m.Ext.CorrelationID}, {first(h, Trace), &m.Ext.TraceID}} {
		if t.escaped != "" && err == nil {
			*t.to, err = url.PathUnescape(t.escaped)
		}
	}
	if err != nil {
		return err
	}
	return properties(m, h)
}

// properties takes the properties from their header or from the body.
func properties(m *om.Message, h map[string][]string) (err error) {
	var packed []byte
	if text := first(h, Properties); text != "" {
		packed, err = base64.StdEncoding.DecodeString(text)
	} else if size := first(h, Prefix); size != "" {
		n, bad := strconv.Atoi(size)
		if bad != nil || n < 0 || n > len(m.Body) {
			return fmt.Errorf("%q bytes of properties in %d bytes", size, len(m.Body))
		}
		packed, m.Body = m.Body[:n:n], m.Body[n:]
	}
	if packed == nil || err != nil {
		return err
	}
	m.Properties, err = chunk.DecodeProperties(packed)
	return err
}

func first(h map[string][]string, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}
