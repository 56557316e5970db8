package chunk

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/bits"
	"strconv"
	"strings"
)

// AppendID appends the id of the message with that producer and sequence
// number: 16 hexadecimal digits, "-", the sequence number in hexadecimal.
func AppendID(b []byte, producer, sequence uint64) []byte {
	var p [8]byte
	for i := range p {
		p[i] = byte(producer >> (56 - 8*i))
	}
	b = append(hex.AppendEncode(b, p[:]), '-')
	return strconv.AppendUint(b, sequence, 16)
}

// ParseID returns what AppendID was given.
func ParseID(id string) (producer, sequence uint64, err error) {
	p, s, ok := strings.Cut(id, "-")
	if ok && len(p) == 16 && len(s) > 0 {
		producer, err = strconv.ParseUint(p, 16, 64)
		if err == nil {
			sequence, err = strconv.ParseUint(s, 16, 64)
		}
		if err == nil && string(AppendID(nil, producer, sequence)) == id {
			return producer, sequence, nil
		}
	}
	return 0, 0, fmt.Errorf("%.60q is no message id", id)
}

// IDs calls yield with the ids of count messages from a sequence number on. It
// allocates once for all of them.
func IDs(producer, sequence uint64, count int, yield func(i int, id string)) {
	digits := (bits.Len64(sequence+uint64(count)) + 3) / 4
	buf := make([]byte, 0, count*(16+1+max(1, digits)))
	prefix := strings.TrimSuffix(string(AppendID(nil, producer, 0)), "0")
	for i := range count {
		start := len(buf)
		buf = strconv.AppendUint(append(buf, prefix...), sequence+uint64(i), 16)
		yield(i, view(buf[start:]))
	}
}

// Partition returns the partition of a message key among so many: the FNV-1a
// hash of 64 bits of the key, modulo partitions.
func Partition(key string, partitions int) int32 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return int32(h.Sum64() % uint64(partitions))
}
