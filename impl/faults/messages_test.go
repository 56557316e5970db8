package faults_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// tag names a message: its producer, where it was sent to, and a number that
// counts a producer's messages to a partition from 1.
type tag struct {
	producer  uint32
	queue     uint16
	partition uint16
	number    uint64
}

const tagSize = 16

// body returns the body of a message: the tag and bytes that follow from it.
func (t tag) body() []byte {
	var key [32]byte
	binary.BigEndian.PutUint32(key[0:], t.producer)
	binary.BigEndian.PutUint16(key[4:], t.queue)
	binary.BigEndian.PutUint16(key[6:], t.partition)
	binary.BigEndian.PutUint64(key[8:], t.number)
	stream := rand.NewChaCha8(key)
	b := make([]byte, tagSize+t.size(stream.Uint64()))
	_, _ = stream.Read(b)
	copy(b, key[:tagSize])
	return b
}

// Producers whose messages have sizes of their own.
const (
	heavy  = 1 << 31 // a bit: four times the usual size
	inTree = 1 << 30 // just below the size from which records lie in the value log
)

// size draws the size of a body: mostly small ones, some that lie in the value
// log alone.
func (t tag) size(n uint64) int {
	switch {
	case t.producer == inTree:
		return 7000
	case t.producer&heavy != 0:
		return 4 * tag{}.size(n)
	}
	kind, n := n%100, n>>8
	switch {
	case kind < 70:
		return int(n % 1000)
	case kind < 95:
		return int(n % (8 << 10))
	case kind < 99:
		return int(n % (64 << 10))
	}
	return int(n % (300 << 10))
}

// parseBody returns the tag of a body and checks every byte of it.
func parseBody(b []byte) (tag, error) {
	if len(b) < tagSize {
		return tag{}, fmt.Errorf("a body of %d bytes has no tag", len(b))
	}
	t := tag{
		binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:]),
		binary.BigEndian.Uint16(b[6:]), binary.BigEndian.Uint64(b[8:]),
	}
	if !bytes.Equal(b, t.body()) {
		return t, fmt.Errorf("the body tagged %+v has wrong bytes", t)
	}
	return t, nil
}
