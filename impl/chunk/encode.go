package chunk

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The numbers of header fields in a message's field map.
const (
	fieldQoS = iota + 1
	fieldCompression
	fieldCorrelationID
	fieldTransactionID
	fieldMessageKey
	fieldTraceID
	fieldDelay    // milliseconds, rounded up
	fieldExpireAt // milliseconds since 1970 UTC
	fieldPriority
	fieldCount
)

// Builder encodes messages into a chunk. It may be reused; it must not be used
// by two goroutines at once.
type Builder struct {
	buf         []byte
	flags       Flags
	count       int
	first, last int64
}

// Reset begins a new chunk of messages from one producer. first is the born
// time that no message of the chunk precedes. The bytes of the chunk before
// are overwritten.
func (b *Builder) Reset(producer, sequence uint64, host, specVersion string, first time.Time) {
	b.buf = append(b.buf[:0], make([]byte, HeaderSize)...)
	binary.BigEndian.PutUint64(b.buf[32:], producer)
	binary.BigEndian.PutUint64(b.buf[40:], sequence)
	b.buf = appendString(b.buf, host)
	b.buf = appendString(b.buf, specVersion)
	b.flags, b.count = 0, 0
	b.first, b.last = first.UnixMilli(), first.UnixMilli()
}

// Add encodes one message; its sequence number is one more than that of the
// message before. Times are kept to the millisecond.
func (b *Builder) Add(m *om.Message) {
	born := max(m.BornAt.UnixMilli(), b.first)
	b.last = max(b.last, born)
	b.count++
	buf := append(b.buf, msgpcode.FixedArrayLow|4)
	buf = appendUint(buf, uint64(born-b.first))
	buf, flags := appendFields(buf, m)
	if len(m.Properties) == 0 {
		buf = append(buf, msgpcode.Nil)
	} else {
		flags |= HasProperties
		buf = appendProperties(buf, m.Properties)
	}
	b.flags |= flags
	b.buf = append(appendBinHeader(buf, len(m.Body)), m.Body...)
}

// Redriven gives the chunk the flag of that name.
func (b *Builder) Redriven() { b.flags |= Redriven }

// Count returns how many messages were added since Reset.
func (b *Builder) Count() int { return b.count }

// Finish completes the chunk and returns it. The bytes are valid until the
// next Reset.
func (b *Builder) Finish() []byte {
	h := b.buf
	h[0], h[1] = magic, version
	binary.BigEndian.PutUint16(h[2:], uint16(b.flags))
	binary.BigEndian.PutUint32(h[8:], uint32(b.count))
	binary.BigEndian.PutUint32(h[12:], uint32(len(h)-HeaderSize))
	binary.BigEndian.PutUint64(h[16:], uint64(b.first))
	binary.BigEndian.PutUint64(h[24:], uint64(b.last))
	binary.BigEndian.PutUint32(h[4:], crc32.Checksum(h[8:], castagnoli))
	return h
}

func appendFields(b []byte, m *om.Message) ([]byte, Flags) {
	start := len(b)
	b = append(b, msgpcode.FixedMapLow)
	n, flags := byte(0), Flags(0)
	text := func(field byte, s string) {
		if s != "" {
			b = appendString(append(b, field), s)
			n++
		}
	}
	number := func(field byte, v uint64, flag Flags) {
		if v != 0 {
			b = appendUint(append(b, field), v)
			n++
			flags |= flag
		}
	}
	number(fieldQoS, uint64(m.QoS), HasQoS)
	text(fieldCompression, m.Compression)
	text(fieldCorrelationID, m.Ext.CorrelationID)
	text(fieldTransactionID, m.Ext.TransactionID)
	text(fieldMessageKey, m.Ext.MessageKey)
	text(fieldTraceID, m.Ext.TraceID)
	number(fieldDelay, uint64(ceilMilli(m.Ext.Delay)), HasDelay)
	if !m.Ext.ExpireAt.IsZero() {
		number(fieldExpireAt, uint64(max(1, m.Ext.ExpireAt.UnixMilli())), HasExpiry)
	}
	number(fieldPriority, uint64(max(0, m.Ext.Priority)), HasPriority)
	if n == 0 {
		b[start] = msgpcode.Nil
		return b, 0
	}
	b[start] |= n
	if m.Ext.MessageKey != "" {
		flags |= HasKey
	}
	if m.Compression != "" {
		flags |= HasCompression
	}
	return b, flags
}

func ceilMilli(d time.Duration) int64 {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return int64(ms)
}

func appendProperties(b []byte, p om.Properties) []byte {
	b = appendMapHeader(b, len(p))
	for k, v := range p {
		b = appendValue(appendString(b, k), v)
	}
	return b
}

// appendValue writes a value so that its MessagePack type tells its kind:
// integers are always as wide as their kind.
func appendValue(b []byte, v om.Value) []byte {
	switch v.Kind() {
	case om.KindString:
		s, _ := v.Text()
		return appendString(b, s)
	case om.KindBinary:
		s, _ := v.RawBytes()
		return append(appendBinHeader(b, len(s)), s...)
	case om.KindShort:
		n, _ := v.Int64()
		return binary.BigEndian.AppendUint16(append(b, msgpcode.Int16), uint16(n))
	case om.KindInteger:
		n, _ := v.Int64()
		return binary.BigEndian.AppendUint32(append(b, msgpcode.Int32), uint32(n))
	case om.KindLong:
		n, _ := v.Int64()
		return binary.BigEndian.AppendUint64(append(b, msgpcode.Int64), uint64(n))
	case om.KindFloat:
		bits, _ := v.FloatBits()
		return binary.BigEndian.AppendUint32(append(b, msgpcode.Float), uint32(bits))
	case om.KindDouble:
		bits, _ := v.FloatBits()
		return binary.BigEndian.AppendUint64(append(b, msgpcode.Double), bits)
	case om.KindBool:
		if t, _ := v.Bool(); t {
			return append(b, msgpcode.True)
		}
		return append(b, msgpcode.False)
	case om.KindObject:
		p, _ := v.Object()
		return appendProperties(b, p)
	}
	return append(b, msgpcode.Nil)
}

// AppendProperties appends properties, as chunks hold them, to b.
func AppendProperties(b []byte, p om.Properties) []byte { return appendProperties(b, p) }
