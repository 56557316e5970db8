package store

import (
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"
)

// digest sums up what a bucket must hold: every state value, and where every
// log begins and ends in it. Each commit writes the sum as of that commit. A
// commit that is gone from the middle of Badger's files leaves no other trace:
// state values go back to older ones, and logs without later records end early.
type digest struct {
	values map[string]uint64 // state key → hash of the value
	state  uint64
	logs   uint64
}

// put notes that a state value is set, or deleted with a nil value.
func (d *digest) put(key string, value []byte) {
	d.state -= d.values[key]
	if value == nil {
		delete(d.values, key)
		return
	}
	h := xxhash.New()
	_, _ = h.WriteString(key)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(value)
	d.values[key] = h.Sum64()
	d.state += d.values[key]
}

func (d *digest) addLog(log uint64, start, next int64)    { d.logs += hashLog(log, start, next) }
func (d *digest) removeLog(log uint64, start, next int64) { d.logs -= hashLog(log, start, next) }

func hashLog(log uint64, start, next int64) uint64 {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], log)
	binary.BigEndian.PutUint64(b[8:], uint64(start))
	binary.BigEndian.PutUint64(b[16:], uint64(next))
	return xxhash.Sum64(b[:])
}

// setLogs replaces all logs.
func (d *digest) setLogs(starts, next map[uint64]int64) {
	d.logs = 0
	for log, start := range starts {
		d.addLog(log, start, next[log])
	}
}

func (d *digest) sum() int64 { return int64(d.state + d.logs) }

func (d *digest) entry() entry { return numberEntry(prefix(typeDigest), d.sum()) }

// commit notes what a batch changes; next are the ends of the logs after it.
func (d *digest) commit(b *Batch, starts, before, next map[uint64]int64) {
	for key, value := range b.state {
		d.put(key, value)
	}
	for log, to := range next {
		if from, ok := before[log]; ok {
			d.removeLog(log, starts[log], from)
		}
		d.addLog(log, starts[log], to)
	}
	for _, log := range b.removed {
		if from, ok := before[log]; ok {
			d.removeLog(log, starts[log], from)
		}
	}
}

// readDigest takes up all state values of a bucket.
func readDigest(e engine, starts, next map[uint64]int64) (*digest, error) {
	d := &digest{values: make(map[string]uint64)}
	d.setLogs(starts, next)
	return d, e.walk(prefix(typeState), func(key []byte, value func() ([]byte, error)) error {
		sealed, err := value()
		if err != nil {
			return err
		}
		v, err := unseal(key, sealed)
		if err == nil {
			d.put(string(key[2:]), v)
		}
		return err
	})
}

// check compares with what the last commit wrote.
func (d *digest) check(e engine) error {
	key := prefix(typeDigest)
	want, err := readNumber(key, func() ([]byte, error) { return e.get(key) })
	if errors.Is(err, errNotFound) {
		return corrupt("the bucket has no digest")
	}
	if err == nil && want != d.sum() {
		return corrupt("commits are missing: state values are old, or logs end early; restore the store from a backup")
	}
	return err
}
