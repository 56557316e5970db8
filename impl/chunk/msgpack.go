package chunk

import (
	"encoding/binary"
	"errors"
	"math"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// The append functions write the same bytes as a MessagePack encoder would,
// without reflection and without allocation.

func appendUint(b []byte, n uint64) []byte {
	switch {
	case n <= math.MaxInt8:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, msgpcode.Uint8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, msgpcode.Uint16), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, msgpcode.Uint32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, msgpcode.Uint64), n)
}

func appendStringHeader(b []byte, n int) []byte {
	switch {
	case n < 32:
		return append(b, msgpcode.FixedStrLow|byte(n))
	case n <= math.MaxUint8:
		return append(b, msgpcode.Str8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, msgpcode.Str16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, msgpcode.Str32), uint32(n))
}

func appendString(b []byte, s string) []byte { return append(appendStringHeader(b, len(s)), s...) }

func appendBinHeader(b []byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, msgpcode.Bin8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, msgpcode.Bin16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, msgpcode.Bin32), uint32(n))
}

func appendMapHeader(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, msgpcode.FixedMapLow|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, msgpcode.Map16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, msgpcode.Map32), uint32(n))
}

var errShort = errors.New("it ends in the middle of a value")

// cursor reads MessagePack from a byte slice without copying: the strings it
// returns share the slice's memory. The first mistake in the bytes sets err and
// makes all further reads return zero values.
type cursor struct {
	b   []byte
	pos int
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.pos = len(c.b)
}

// take returns the next n bytes.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)-c.pos) {
		c.fail(errShort)
		return nil
	}
	start := c.pos
	c.pos += int(n)
	return c.b[start:c.pos:c.pos]
}

func (c *cursor) byte() byte {
	if c.pos >= len(c.b) {
		c.fail(errShort)
		return msgpcode.Nil
	}
	c.pos++
	return c.b[c.pos-1]
}

func (c *cursor) peek() byte {
	if c.pos >= len(c.b) {
		c.fail(errShort)
		return msgpcode.Nil
	}
	return c.b[c.pos]
}

// number reads a big-endian number of size bytes.
func (c *cursor) number(size int) (n uint64) {
	for _, x := range c.take(uint64(size)) {
		n = n<<8 | uint64(x)
	}
	return n
}

func (c *cursor) uint() uint64 {
	switch code := c.byte(); {
	case code <= msgpcode.PosFixedNumHigh:
		return uint64(code)
	case code == msgpcode.Uint8:
		return c.number(1)
	case code == msgpcode.Uint16:
		return c.number(2)
	case code == msgpcode.Uint32:
		return c.number(4)
	case code == msgpcode.Uint64:
		return c.number(8)
	}
	c.fail(errors.New("a number is expected"))
	return 0
}

func (c *cursor) stringBytes() []byte {
	switch code := c.byte(); {
	case msgpcode.IsFixedString(code):
		return c.take(uint64(code & msgpcode.FixedStrMask))
	case code == msgpcode.Str8:
		return c.take(c.number(1))
	case code == msgpcode.Str16:
		return c.take(c.number(2))
	case code == msgpcode.Str32:
		return c.take(c.number(4))
	}
	c.fail(errors.New("a string is expected"))
	return nil
}

func (c *cursor) string() string { return view(c.stringBytes()) }

func (c *cursor) bin() []byte {
	switch c.byte() {
	case msgpcode.Bin8:
		return c.take(c.number(1))
	case msgpcode.Bin16:
		return c.take(c.number(2))
	case msgpcode.Bin32:
		return c.take(c.number(4))
	}
	c.fail(errors.New("binary data is expected"))
	return nil
}

// mapLen reads the head of a map; the number of entries it returns fits into
// the bytes that are left.
func (c *cursor) mapLen() int {
	n := uint64(0)
	switch code := c.byte(); {
	case msgpcode.IsFixedMap(code):
		n = uint64(code & msgpcode.FixedMapMask)
	case code == msgpcode.Map16:
		n = c.number(2)
	case code == msgpcode.Map32:
		n = c.number(4)
	default:
		c.fail(errors.New("a map is expected"))
	}
	if n > uint64(len(c.b)-c.pos)/2 {
		c.fail(errShort)
		return 0
	}
	return int(n)
}

// view returns a string that shares b's memory; b must not change afterwards.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
