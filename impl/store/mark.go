package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// mark is the high-water mark: the last commit that may have been acknowledged
// and the bucket it lies in, in a file that Badger does not touch. Two slots
// are written in turn, so that a torn write leaves the other one.
type mark struct {
	file *os.File
	slot int // written next
}

// position is what the mark tells.
type position struct {
	commit uint64
	bucket uint64
}

const (
	markSlot = 4096 // one slot to a page
	markBody = 8 + 8
)

// createMark creates the file with a position in both slots.
func createMark(path string, p position) (*mark, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	m := &mark{file: f}
	_, err = f.Write(make([]byte, 2*markSlot))
	if err == nil {
		err = errors.Join(m.set(p), m.set(p), f.Sync())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// openMark opens the file and returns the newer of its slots. warn tells of a
// slot that is damaged; both damaged is an error.
func openMark(path string) (m *mark, p position, warn, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, p, nil, corrupt("the high-water mark %s is missing", path)
	}
	if err != nil {
		return nil, p, nil, err
	}
	m = &mark{file: f}
	good := 0
	for slot := range 2 {
		q, err := m.read(slot)
		if err != nil {
			warn = err
			continue
		}
		if good++; good == 1 || q.commit > p.commit {
			p, m.slot = q, 1-slot
		}
	}
	if good == 0 {
		return nil, p, nil, errors.Join(corrupt("both slots of the high-water mark %s are damaged", path), f.Close())
	}
	return m, p, warn, nil
}

func (m *mark) read(slot int) (position, error) {
	var b [markBody + 4]byte
	if _, err := m.file.ReadAt(b[:], int64(slot*markSlot)); err != nil {
		return position{}, corrupt("slot %d of the high-water mark: %v", slot, err)
	}
	if crc32.Checksum(b[:markBody], castagnoli) != binary.BigEndian.Uint32(b[markBody:]) {
		return position{}, corrupt("slot %d of the high-water mark has a wrong checksum", slot)
	}
	return position{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}, nil
}

// set writes the position durably.
func (m *mark) set(p position) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, markBody+4), p.commit)
	b = binary.BigEndian.AppendUint64(b, p.bucket)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := m.file.WriteAt(b, int64(m.slot*markSlot)); err != nil {
		return fmt.Errorf("write the high-water mark: %w", err)
	}
	if err := syncData(m.file); err != nil {
		return fmt.Errorf("sync the high-water mark: %w", err)
	}
	m.slot = 1 - m.slot
	return nil
}

func (m *mark) close() error { return m.file.Close() }
