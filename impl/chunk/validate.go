package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Extent tells the largest parts of the messages of a chunk, for limits.
type Extent struct {
	Body       int    // bytes of a body
	Properties int    // of a message's properties, measured as openmessaging.Properties.Size does
	Header     int    // bytes of a message's texts: compression, ids, key
	QoS        om.QoS // the greatest number
}

// Validate walks all messages of a chunk that [Parse] has accepted and checks
// that they are whole and nothing follows them, that all texts are valid UTF-8,
// no property key occurs twice, and that flags and born times in the header are
// what the messages have. What it accepts, Decode decodes. It does not allocate
// unless a message has many properties.
func Validate(b []byte, h Header) (e Extent, err error) {
	c := cursor{b: b[:h.Size], pos: HeaderSize}
	v := validator{cursor: &c}
	v.text()
	v.text()
	if c.err != nil {
		return e, damaged("born host or version: %w", c.err)
	}
	last := uint64(0)
	most := uint64(math.MaxInt64)
	if h.FirstBorn > 0 {
		most -= uint64(h.FirstBorn)
	}
	for i := range h.Count {
		if c.byte() != msgpcode.FixedArrayLow|4 {
			c.fail(errNoMessage)
		}
		delta := c.uint()
		if delta > most {
			c.fail(errBornRange)
		}
		last = max(last, delta)
		e.Header = max(e.Header, v.fields())
		e.Properties = max(e.Properties, v.own())
		e.Body = max(e.Body, len(c.bin()))
		if c.err != nil {
			return e, damaged("message %d: %w", i, c.err)
		}
	}
	switch {
	case c.pos != len(c.b):
		return e, damaged("%d bytes follow the last message", len(c.b)-c.pos)
	case h.FirstBorn+int64(last) != h.LastBorn:
		return e, damaged("its last born time is not the one of its messages")
	case v.flags != h.Flags:
		return e, damaged("its flags %#x should be %#x", uint16(h.Flags), uint16(v.flags))
	}
	e.QoS = v.qos
	return e, nil
}

var (
	errNoMessage = errors.New("an array of four is expected")
	errBornRange = errors.New("the born time is out of range")
	errUTF8      = errors.New("a text is not valid UTF-8")
	errTwice     = errors.New("a property key occurs twice")
	errDeep      = fmt.Errorf("properties are nested more than %d deep", om.MaxNesting)
)

// validator walks messages without making them.
type validator struct {
	*cursor
	flags Flags
	qos   om.QoS
}

// text passes over a string and returns its bytes.
func (v *validator) text() []byte {
	s := v.stringBytes()
	if !utf8.Valid(s) {
		v.fail(errUTF8)
	}
	return s
}

// fields passes over the header fields and returns the size of their texts.
func (v *validator) fields() (size int) {
	if v.peek() == msgpcode.Nil {
		v.pos++
		return 0
	}
	last := uint64(0)
	for range v.mapLen() {
		field := v.uint()
		if field <= last || field >= fieldCount {
			v.fail(fmt.Errorf("header field %d is unknown or out of order", field))
			return 0
		}
		last = field
		size += v.field(field)
	}
	return size
}

func (v *validator) field(field uint64) (size int) {
	number := func(limit uint64, flag Flags) {
		if v.limited(limit) != 0 {
			v.flags |= flag
		}
	}
	switch field {
	case fieldQoS:
		n := v.limited(maxQoS)
		if n != 0 {
			v.flags |= HasQoS
		}
		v.qos = max(v.qos, om.QoS(n))
	case fieldDelay:
		number(maxDelay, HasDelay)
	case fieldExpireAt:
		v.limited(maxExpireAt)
		v.flags |= HasExpiry
	case fieldPriority:
		number(math.MaxInt8, HasPriority)
	default:
		size = len(v.text())
		switch {
		case size == 0:
		case field == fieldMessageKey:
			v.flags |= HasKey
		case field == fieldCompression:
			v.flags |= HasCompression
		}
	}
	return size
}

// own passes over a message's own properties and returns their size.
func (v *validator) own() int {
	if v.peek() == msgpcode.Nil {
		v.pos++
		return 0
	}
	n, size := v.properties(1)
	if n > 0 {
		v.flags |= HasProperties
	}
	return size
}

// fewKeys is how many keys of one map are compared with each other.
const fewKeys = 16

// properties passes over a map and returns how many entries it has and their
// size.
func (v *validator) properties(depth int) (n, size int) {
	if depth > om.MaxNesting {
		v.fail(errDeep)
		return 0, 0
	}
	n = v.mapLen()
	var few [fewKeys][]byte
	var many map[string]struct{}
	for i := range n {
		key := v.text()
		switch {
		case i < fewKeys:
			for _, k := range few[:i] {
				if bytes.Equal(k, key) {
					v.fail(errTwice)
				}
			}
			few[i] = key
		case many == nil:
			many = make(map[string]struct{}, min(n, 1024))
			for _, k := range few {
				many[view(k)] = struct{}{}
			}
			fallthrough
		default:
			many[view(key)] = struct{}{}
			if len(many) != i+1 {
				v.fail(errTwice)
			}
		}
		size += len(key) + v.value(depth)
		if v.err != nil {
			return 0, 0
		}
	}
	return n, size
}

func (v *validator) value(depth int) int {
	switch code := v.peek(); {
	case msgpcode.IsString(code):
		return len(v.text())
	case msgpcode.IsBin(code):
		return len(v.bin())
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		_, size := v.properties(depth + 1)
		return size
	}
	switch code := v.byte(); code {
	case msgpcode.Int16:
		v.take(2)
	case msgpcode.Int32, msgpcode.Float:
		v.take(4)
	case msgpcode.Int64, msgpcode.Double:
		v.take(8)
	case msgpcode.True, msgpcode.False:
	default:
		v.fail(fmt.Errorf("%#x begins no property value", code))
	}
	return 8
}

// The largest numbers of header fields.
const (
	maxQoS      = 2
	maxDelay    = math.MaxInt64 / uint64(time.Millisecond)
	maxExpireAt = math.MaxInt64 / 1_000_000
)

// Cut returns a chunk of count messages of b from message skip on, with their
// ids and times as they were. It is b itself where that is all of them, else a
// new slice. The chunk must be one that [Validate] accepts; the flags and born
// times of the whole stay in the header of the part.
func Cut(b []byte, h Header, skip, count int) (part []byte, err error) {
	err = CutAll(b, h, []Run{{skip, count}}, func(p []byte) { part = p })
	return part, err
}

// Run is Count messages of a chunk from message Skip on.
type Run struct{ Skip, Count int }

// CutAll is Cut for runs in ascending order, with one pass over the chunk.
func CutAll(b []byte, h Header, runs []Run, yield func(part []byte)) error {
	if len(runs) == 1 && runs[0] == (Run{0, h.Count}) {
		yield(b[:h.Size])
		return nil
	}
	c := cursor{b: b[:h.Size], pos: HeaderSize}
	c.stringBytes()
	c.stringBytes()
	head := c.pos
	at := 0
	for _, r := range runs {
		if r.Skip < at || r.Count < 1 || r.Skip > h.Count-r.Count {
			return damaged("no messages %d to %d of %d", r.Skip, r.Skip+r.Count, h.Count)
		}
		for ; at < r.Skip; at++ {
			c.message(nil, h.FirstBorn)
		}
		from := c.pos
		for ; at < r.Skip+r.Count; at++ {
			c.message(nil, h.FirstBorn)
		}
		if c.err != nil {
			return damaged("%w", c.err)
		}
		out := make([]byte, 0, head+c.pos-from)
		out = append(append(out, b[:head]...), b[from:c.pos]...)
		binary.BigEndian.PutUint32(out[8:], uint32(r.Count))
		binary.BigEndian.PutUint32(out[12:], uint32(len(out)-HeaderSize))
		binary.BigEndian.PutUint64(out[40:], h.Sequence+uint64(r.Skip))
		binary.BigEndian.PutUint32(out[4:], crc32.Checksum(out[8:], castagnoli))
		yield(out)
	}
	return nil
}
