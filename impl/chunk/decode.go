package chunk

import (
	"fmt"
	"math"
	"time"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Decode fills dst with the messages from number skip on of a chunk that
// [Parse] has accepted, and returns how many of dst it filled. The messages
// share b's memory: b must not be changed afterwards. Fields that the chunk
// does not hold (destination, partition, store information, delivery count)
// are left as they are in dst.
func Decode(b []byte, h Header, skip int, dst []om.Message) (int, error) {
	return NewDecoder(b, h).Decode(skip, dst)
}

// Decoder decodes runs of messages of a chunk, going through it once.
type Decoder struct {
	cursor
	header        Header
	host, version string
	next          int // the message at pos
}

// NewDecoder returns a Decoder for a chunk that [Parse] has accepted.
func NewDecoder(b []byte, h Header) *Decoder {
	d := &Decoder{cursor: cursor{b: b[:h.Size], pos: HeaderSize}, header: h}
	d.host, d.version = d.string(), d.string()
	return d
}

// Decode is like the function. A run must not begin before the end of the one
// before it.
func (d *Decoder) Decode(skip int, dst []om.Message) (int, error) {
	for ; d.next < min(skip, d.header.Count); d.next++ {
		d.message(nil, d.header.FirstBorn)
	}
	n := max(0, min(len(dst), d.header.Count-skip))
	for i := range n {
		m := &dst[i]
		d.message(m, d.header.FirstBorn)
		m.Version, m.BornHost = d.version, d.host
	}
	if d.err != nil {
		return 0, damaged("%w", d.err)
	}
	d.next += n
	IDs(d.header.Producer, d.header.Sequence+uint64(skip), n, func(i int, id string) { dst[i].MessageID = id })
	return n, nil
}

// message reads one message; with a nil m it is passed over.
func (c *cursor) message(m *om.Message, first int64) {
	if c.byte() != msgpcode.FixedArrayLow|4 {
		c.fail(errNoMessage)
		return
	}
	delta := c.uint()
	if delta > math.MaxInt64-uint64(max(0, first)) {
		c.fail(errBornRange)
		return
	}
	if m == nil {
		for range 3 {
			c.pass(0)
		}
		return
	}
	m.BornAt = time.UnixMilli(first + int64(delta)).UTC()
	c.fields(m)
	if c.peek() == msgpcode.Nil {
		c.pos++
		m.Properties = om.Properties{}
	} else {
		m.Properties = c.properties(1)
	}
	m.Body = c.bin()
}

func (c *cursor) fields(m *om.Message) {
	m.QoS, m.Compression = 0, ""
	m.Ext = om.ExtensionHeader{
		Partition: m.Ext.Partition, StoredAt: m.Ext.StoredAt,
		StoreHost: m.Ext.StoreHost, DeliveryCount: m.Ext.DeliveryCount,
	}
	if c.peek() == msgpcode.Nil {
		c.pos++
		return
	}
	last := uint64(0)
	for range c.mapLen() {
		field := c.uint()
		if field <= last || field >= fieldCount {
			c.fail(fmt.Errorf("header field %d is unknown or out of order", field))
			return
		}
		last = field
		switch field {
		case fieldQoS:
			m.QoS = om.QoS(c.limited(maxQoS))
		case fieldCompression:
			m.Compression = c.string()
		case fieldCorrelationID:
			m.Ext.CorrelationID = c.string()
		case fieldTransactionID:
			m.Ext.TransactionID = c.string()
		case fieldMessageKey:
			m.Ext.MessageKey = c.string()
		case fieldTraceID:
			m.Ext.TraceID = c.string()
		case fieldDelay:
			m.Ext.Delay = time.Duration(c.limited(maxDelay)) * time.Millisecond
		case fieldExpireAt:
			m.Ext.ExpireAt = time.UnixMilli(int64(c.limited(maxExpireAt))).UTC()
		case fieldPriority:
			m.Ext.Priority = int8(c.limited(math.MaxInt8))
		}
	}
}

// limited reads a number that is at most limit.
func (c *cursor) limited(limit uint64) uint64 {
	n := c.uint()
	if n > limit {
		c.fail(fmt.Errorf("the number %d is over %d", n, limit))
		return 0
	}
	return n
}

func (c *cursor) properties(depth int) om.Properties {
	if depth > om.MaxNesting {
		c.fail(errDeep)
		return nil
	}
	n := c.mapLen()
	p := make(om.Properties, min(n, 64))
	for range n {
		k := c.string()
		p[k] = c.value(depth)
	}
	if c.err == nil && len(p) != n {
		c.fail(errTwice)
	}
	return p
}

func (c *cursor) value(depth int) om.Value {
	switch code := c.peek(); {
	case msgpcode.IsString(code):
		return om.String(c.string())
	case msgpcode.IsBin(code):
		return om.BinaryString(view(c.bin()))
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		return om.Object(c.properties(depth + 1))
	}
	switch code := c.byte(); code {
	case msgpcode.Int16:
		return om.Short(int16(c.number(2)))
	case msgpcode.Int32:
		return om.Integer(int32(c.number(4)))
	case msgpcode.Int64:
		return om.Long(int64(c.number(8)))
	case msgpcode.Float:
		return om.FloatFromBits(uint32(c.number(4)))
	case msgpcode.Double:
		return om.Double(math.Float64frombits(c.number(8)))
	case msgpcode.True:
		return om.Bool(true)
	case msgpcode.False:
		return om.Bool(false)
	default:
		c.fail(fmt.Errorf("%#x begins no property value", code))
		return om.Value{}
	}
}

// pass passes over one value.
func (c *cursor) pass(depth int) {
	code := c.peek()
	switch {
	case msgpcode.IsString(code):
		c.stringBytes()
		return
	case msgpcode.IsBin(code):
		c.bin()
		return
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		if depth > om.MaxNesting+1 {
			c.fail(fmt.Errorf("maps are nested more than %d deep", om.MaxNesting))
			return
		}
		for range 2 * c.mapLen() {
			c.pass(depth + 1)
		}
		return
	case code <= msgpcode.PosFixedNumHigh:
		c.pos++
		return
	}
	c.pos++
	switch code {
	case msgpcode.Nil, msgpcode.True, msgpcode.False:
	case msgpcode.Uint8:
		c.take(1)
	case msgpcode.Uint16, msgpcode.Int16:
		c.take(2)
	case msgpcode.Uint32, msgpcode.Int32, msgpcode.Float:
		c.take(4)
	case msgpcode.Uint64, msgpcode.Int64, msgpcode.Double:
		c.take(8)
	default:
		c.fail(fmt.Errorf("%#x begins no value of a chunk", code))
	}
}

// DecodeProperties decodes what [AppendProperties] appended. The values share
// b's memory: b must not be changed afterwards.
func DecodeProperties(b []byte) (om.Properties, error) {
	c := cursor{b: b}
	p := c.properties(1)
	if c.err == nil && c.pos != len(b) {
		c.err = fmt.Errorf("%d bytes follow the properties", len(b)-c.pos)
	}
	if c.err != nil {
		return nil, damaged("properties: %w", c.err)
	}
	return p, nil
}
