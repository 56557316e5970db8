package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Keys begin with the version of the layout and the type of what they name.
const (
	layoutVersion = 1

	typeLog    = 'l' // log, base offset → record
	typeState  = 's' // state key → value
	typeStart  = 'n' // log → its next offset when the bucket began
	typeMarker = 'm' // → the bucket is complete
	typeDigest = 'd' // → sum of the state and of the logs, see digest
	typeIndex  = 'x' // index key → value
)

func prefix(kind byte) []byte { return []byte{layoutVersion, kind} }

func logKey(log uint64, base int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(prefix(typeLog), log), uint64(base))
}

func logPrefix(log uint64) []byte { return binary.BigEndian.AppendUint64(prefix(typeLog), log) }

func parseLogKey(key []byte) (log uint64, base int64, err error) {
	if len(key) != 18 {
		return 0, 0, fmt.Errorf("a log key of %d bytes", len(key))
	}
	return binary.BigEndian.Uint64(key[2:]), int64(binary.BigEndian.Uint64(key[10:])), nil
}

func stateKey(key string) []byte { return append(prefix(typeState), key...) }

func indexKey(key string) []byte { return append(prefix(typeIndex), key...) }

func startKey(log uint64) []byte { return binary.BigEndian.AppendUint64(prefix(typeStart), log) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the key as well, so that a value found under a wrong key is
// noticed.
func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal returns checksum and value.
func seal(key, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(value)), checksum(key, value)), value...)
}

// unseal returns the value that was sealed.
func unseal(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 {
		return nil, corrupt("key %x: a value of %d bytes has no checksum", key, len(sealed))
	}
	if checksum(key, sealed[4:]) != binary.BigEndian.Uint32(sealed) {
		return nil, corrupt("key %x: wrong checksum", key)
	}
	return sealed[4:], nil
}

// Record is a run of entries of one log, stored as one value. What the entries
// are is up to the store's user.
type Record struct {
	Base     int64  // offset of the first entry
	Count    int    // entries
	Commit   uint64 // number of the commit that wrote it
	StoredAt int64  // milliseconds since 1970 UTC
	Data     []byte
}

// End returns the offset behind the record.
func (r Record) End() int64 { return r.Base + int64(r.Count) }

// A record's value: checksum, count, commit, time, data.
const recordHeader = 4 + 4 + 8 + 8

// appendRecord appends the encoded record to b; the pieces together are Data.
func appendRecord(b, key []byte, r Record, pieces [][]byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Count))
	b = binary.BigEndian.AppendUint64(b, r.Commit)
	b = binary.BigEndian.AppendUint64(b, uint64(r.StoredAt))
	for _, p := range pieces {
		b = append(b, p...)
	}
	binary.BigEndian.PutUint32(b[start:], checksum(key, b[start+4:]))
	return b
}

// parseRecord decodes the value under a log key; Data shares its memory.
func parseRecord(key, value []byte) (Record, error) {
	_, base, err := parseLogKey(key)
	if err != nil {
		return Record{}, corrupt("%v", err)
	}
	body, err := unseal(key, value)
	if err != nil {
		return Record{}, err
	}
	if len(value) < recordHeader {
		return Record{}, corrupt("key %x: a record of %d bytes", key, len(value))
	}
	r := Record{
		Base:     base,
		Count:    int(binary.BigEndian.Uint32(body)),
		Commit:   binary.BigEndian.Uint64(body[4:]),
		StoredAt: int64(binary.BigEndian.Uint64(body[12:])),
		Data:     body[20:],
	}
	if r.Count == 0 {
		return Record{}, corrupt("key %x: an empty record", key)
	}
	return r, nil
}
