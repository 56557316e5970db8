package store

import (
	"bytes"
	"slices"
	"sync"

	"github.com/tidwall/btree"
)

// memoryEngine keeps everything in memory and forgets it at close.
type memoryEngine struct {
	mu      sync.RWMutex
	tree    *btree.BTreeG[entry]
	highest uint64
}

func newMemoryEngine() *memoryEngine {
	less := func(a, b entry) bool { return bytes.Compare(a.key, b.key) < 0 }
	return &memoryEngine{tree: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})}
}

func (m *memoryEngine) commit(version uint64, entries []entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if e.value == nil {
			m.tree.Delete(e)
		} else {
			m.tree.Set(entry{slices.Clone(e.key), slices.Clone(e.value)})
		}
	}
	m.highest = version
	return nil
}

func (m *memoryEngine) get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.tree.Get(entry{key: key})
	if !ok {
		return nil, errNotFound
	}
	return slices.Clone(e.value), nil
}

func (m *memoryEngine) floor(prefix, key []byte) (found []byte, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	err = errNotFound
	m.tree.Descend(entry{key: key}, func(e entry) bool {
		if bytes.HasPrefix(e.key, prefix) {
			found, err = slices.Clone(e.key), nil
		}
		return false
	})
	return found, err
}

func (m *memoryEngine) walk(prefix []byte, f visit) error { return m.walkAt(0, prefix, prefix, f) }

func (m *memoryEngine) walkAt(_ uint64, prefix, from []byte, f visit) (err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.tree.Ascend(entry{key: from}, func(e entry) bool {
		if !bytes.HasPrefix(e.key, prefix) {
			return false
		}
		err = f(e.key, func() ([]byte, error) { return e.value, nil })
		return err == nil
	})
	return err
}

// copy returns an engine that keeps what there is now.
func (m *memoryEngine) copy() *memoryEngine {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryEngine{tree: m.tree.Copy(), highest: m.highest}
}

func (m *memoryEngine) version() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.highest
}

func (m *memoryEngine) close() error { return nil }
