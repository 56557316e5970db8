package chunk

import (
	"encoding/hex"
	"fmt"
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
	last := 0
	for i := range count {
		start := len(buf)
		if buf = append(buf, buf[last:]...); i == 0 || !increment(buf[start+17:]) {
			buf = AppendID(buf[:start], producer, sequence+uint64(i))
		}
		yield(i, view(buf[start:]))
		last = start
	}
}

// increment adds one to a number in hexadecimal digits; it reports false when
// that takes another digit.
func increment(digits []byte) bool {
	for k := len(digits) - 1; k >= 0; k-- {
		switch c := digits[k]; c {
		case 'f':
			digits[k] = '0'
			continue
		case '9':
			digits[k] = 'a'
		default:
			digits[k] = c + 1
		}
		return true
	}
	return false
}

// HashKey returns the FNV-1a hash of 64 bits of a message key.
func HashKey(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h
}

// Partition returns the partition of a message key among so many: its hash,
// modulo partitions.
func Partition(key string, partitions int) int32 { return PartitionOfHash(HashKey(key), partitions) }

// PartitionOfHash is Partition for the hash of a key.
func PartitionOfHash(hash uint64, partitions int) int32 { return int32(hash % uint64(partitions)) }
