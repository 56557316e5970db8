// Package chunk is the codec of chunks, in which messages travel and lie: a
// batch for one partition, encoded once by the sender, stored as it is, decoded
// once by the receiver. docs/disk-format.md describes the bytes.
//
// A chunk is a header of 48 bytes and MessagePack:
//
//	0  byte    0xC1, a byte that begins no MessagePack value
//	1  byte    version, 1
//	2  uint16  flags
//	4  uint32  CRC32C of everything from byte 8 on
//	8  uint32  number of messages, at least 1
//	12 uint32  bytes after the header
//	16 int64   first born time, milliseconds since 1970 UTC
//	24 int64   last born time
//	32 uint64  producer
//	40 uint64  sequence number of the first message
//	48         born host (string), specification version (string), messages
//
// All numbers are big-endian. Producer and sequence number make the message
// ids, so that ids need no bytes of their own. A message is an array of four:
// born time as milliseconds after the first, header fields (a map by field
// number, or nil), properties (a map, or nil), body (binary).
package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// HeaderSize is the size of a chunk's header in bytes.
const HeaderSize = 48

const (
	magic   = 0xC1
	version = 1
)

// MaxSize is the largest size of a chunk in bytes, header included.
const MaxSize = 64 << 20

// Flags tell what at least one message of a chunk has, so that features need
// not look into chunks without it.
type Flags uint16

// The flags.
const (
	HasKey Flags = 1 << iota
	HasDelay
	HasExpiry
	HasPriority
	HasProperties
	HasQoS
	HasCompression
	// Redriven says that messages are for one group, which a property names. No
	// message shows it: see Builder.Redriven. Validate refuses it.
	Redriven
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the decoded header of a chunk.
type Header struct {
	Flags     Flags
	Count     int   // messages
	Size      int   // bytes of the whole chunk
	FirstBorn int64 // milliseconds since 1970 UTC
	LastBorn  int64
	Producer  uint64
	Sequence  uint64 // of the first message; message i has Sequence+i
}

// ErrDamaged is matched by the errors of chunks whose checksum or structure is
// wrong.
var ErrDamaged = errors.New("damaged chunk")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// ParseHeader decodes the header of the chunk that b begins with. It checks
// the header's own rules and that b holds the whole chunk, but no checksum;
// more may follow the chunk in b.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, damaged("%d bytes are less than a header", len(b))
	}
	if b[0] != magic {
		return Header{}, damaged("it begins with %#x", b[0])
	}
	if b[1] != version {
		return Header{}, damaged("its version %d is not %d", b[1], version)
	}
	size := uint64(HeaderSize) + uint64(binary.BigEndian.Uint32(b[12:]))
	h := Header{
		Flags:     Flags(binary.BigEndian.Uint16(b[2:])),
		Count:     int(binary.BigEndian.Uint32(b[8:])),
		Size:      int(size),
		FirstBorn: int64(binary.BigEndian.Uint64(b[16:])),
		LastBorn:  int64(binary.BigEndian.Uint64(b[24:])),
		Producer:  binary.BigEndian.Uint64(b[32:]),
		Sequence:  binary.BigEndian.Uint64(b[40:]),
	}
	switch {
	case size > MaxSize:
		return Header{}, damaged("its size %d is over the limit %d", size, MaxSize)
	case size > uint64(len(b)):
		return Header{}, damaged("%d of %d bytes are there", len(b), size)
	case h.Count == 0 || h.Count > h.Size:
		return Header{}, damaged("%d messages in %d bytes", h.Count, h.Size)
	case h.LastBorn < h.FirstBorn || h.Sequence+uint64(h.Count) < h.Sequence:
		return Header{}, damaged("its born times or sequence numbers run backwards")
	}
	return h, nil
}

// Parse decodes the header of the chunk that b begins with and checks its
// checksum. It does not look at the messages; see [Validate].
func Parse(b []byte) (Header, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, err
	}
	if want, got := binary.BigEndian.Uint32(b[4:]), crc32.Checksum(b[8:h.Size], castagnoli); want != got {
		return Header{}, damaged("checksum %08x, the header says %08x", got, want)
	}
	return h, nil
}
