package remote

import (
	"encoding/binary"
	"strings"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/impl/wire/wirepb"
)

// text makes a name fit for protobuf, which refuses what is not valid UTF-8. The
// server refuses the character that stands for the rest.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// count returns how many messages a span holds.
func count(s *wirepb.Span) int64 {
	if len(s.GetChunk()) < chunk.HeaderSize {
		return 0
	}
	return int64(binary.BigEndian.Uint32(s.GetChunk()[8:]))
}
