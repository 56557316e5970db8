package nats

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// The headers of a message in NATS. The body is the message's own, unless
// headerPrefix says that properties that are too long for a header precede it.
const (
	headerID          = nats.MsgIdHdr // the message id, by which the server recognises what is sent again
	headerOMS         = "Oms"         // version, born time in milliseconds since 1970, born host
	headerKey         = "Oms-Key"     // percent-encoded, as the next two
	headerCorrelation = "Oms-Correlation"
	headerTrace       = "Oms-Trace"
	headerProperties  = "Oms-Properties" // base64 of MessagePack
	headerPrefix      = "Oms-Prefix"     // how many bytes of properties precede the body
)

// maxInHeader is the size from which properties go in front of the body:
// JetStream takes headers of 64 KiB.
const maxInHeader = 16 << 10

// envelope makes NATS messages, one after the other in the same memory.
type envelope struct {
	nats.Msg
	id, oms []string
	text    []byte
}

func newEnvelope() *envelope {
	e := &envelope{id: make([]string, 1), oms: make([]string, 1)}
	e.Header = nats.Header{headerID: e.id, headerOMS: e.oms}
	return e
}

// put makes the envelope that of m, until the next put.
func (e *envelope) put(m *om.Message, id string) {
	if len(e.Header) > 2 {
		clear(e.Header)
		e.Header[headerID], e.Header[headerOMS] = e.id, e.oms
	}
	e.text = append(append(e.text[:0], m.Version...), ' ')
	e.text = append(strconv.AppendInt(e.text, m.BornAt.UnixMilli(), 10), ' ')
	e.id[0], e.oms[0] = id, string(e.text)+url.PathEscape(m.BornHost)
	e.Data = m.Body
	e.putText(headerKey, m.Ext.MessageKey)
	e.putText(headerCorrelation, m.Ext.CorrelationID)
	e.putText(headerTrace, m.Ext.TraceID)
	if len(m.Properties) == 0 {
		return
	}
	if p := chunk.AppendProperties(nil, m.Properties); len(p) <= maxInHeader {
		e.Header[headerProperties] = []string{base64.StdEncoding.EncodeToString(p)}
	} else {
		e.Header[headerPrefix] = []string{strconv.Itoa(len(p))}
		e.Data = append(p, m.Body...)
	}
}

func (e *envelope) putText(header, text string) {
	if text != "" {
		e.Header[header] = []string{url.PathEscape(text)}
	}
}

// place is where a message lies and when it was stored there.
type place struct {
	queue     *queue
	name      string // of the queue, as the receiver names it
	partition int32
	sequence  uint64
	stored    time.Time
}

// place reads where a message lies, and how often it was delivered.
func (q *queue) place(n *nats.Msg, name string, partition int32) (p place, delivered uint64, err error) {
	meta, err := n.Metadata()
	if err != nil {
		return p, 0, om.NewError(om.CodeServerError, "receive", name, "%w", err)
	}
	return place{q, name, partition, meta.Sequence.Stream, meta.Timestamp}, meta.NumDelivered, nil
}

func (p *place) offset() int64 { return int64(p.sequence) - 1 }

// open returns the message in n. One that another client has sent gets the
// version of this driver, its headers as texts, and what the server knows.
func (p *place) open(n *nats.Msg) (spi.Received, error) {
	stored, host := p.stored.UTC().Truncate(time.Millisecond), p.queue.host
	m := &om.Message{Body: n.Data}
	m.Destination, m.MessageID = p.name, first(n.Header, headerID)
	m.Ext.Partition, m.Ext.StoredAt, m.Ext.StoreHost = om.Some(p.partition), stored, host
	out := spi.Received{Message: m, Partition: p.partition, Offset: p.offset()}
	version, rest, ok := strings.Cut(first(n.Header, headerOMS), " ")
	if !ok {
		m.Version, m.BornAt, m.BornHost, m.Properties = om.SpecVersion, stored, host, foreign(n.Header)
		if m.MessageID == "" {
			m.MessageID = p.queue.streams[p.partition] + ":" + strconv.FormatUint(p.sequence, 10)
		}
		return out, nil
	}
	born, from, _ := strings.Cut(rest, " ")
	milli, err := strconv.ParseInt(born, 10, 64)
	text := func(escaped string) (s string) {
		if escaped != "" && err == nil {
			s, err = url.PathUnescape(escaped)
		}
		return s
	}
	m.Version, m.BornAt, m.BornHost = version, time.UnixMilli(milli).UTC(), text(from)
	if len(n.Header) > 2 {
		m.Ext.MessageKey, m.Ext.CorrelationID, m.Ext.TraceID = text(first(n.Header, headerKey)), text(first(n.Header, headerCorrelation)), text(first(n.Header, headerTrace))
	}
	if err == nil {
		m.Properties, m.Body, err = unpack(n)
	}
	if err != nil {
		return out, om.NewError(om.CodeStorageCorrupt, "receive", p.name, "partition %d, offset %d: %w", p.partition, p.offset(), err)
	}
	return out, nil
}

// unpack returns the properties and the body.
func unpack(n *nats.Msg) (om.Properties, []byte, error) {
	if packed := first(n.Header, headerProperties); packed != "" {
		b, err := base64.StdEncoding.DecodeString(packed)
		if err != nil {
			return nil, nil, err
		}
		p, err := chunk.DecodeProperties(b)
		return p, n.Data, err
	}
	if size := first(n.Header, headerPrefix); size != "" {
		k, err := strconv.Atoi(size)
		if err != nil || k < 0 || k > len(n.Data) {
			return nil, nil, fmt.Errorf("%q bytes of properties in %d bytes", size, len(n.Data))
		}
		p, err := chunk.DecodeProperties(n.Data[:k:k])
		return p, n.Data[k:], err
	}
	return om.Properties{}, n.Data, nil
}

func first(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// foreign returns the headers of another client's message as properties.
func foreign(h nats.Header) om.Properties {
	p := make(om.Properties, len(h))
	for k, v := range h {
		if len(v) > 0 && utf8.ValidString(k) && utf8.ValidString(v[0]) && !strings.HasPrefix(k, "Nats-") {
			p[k] = om.String(v[0])
		}
	}
	return p
}
