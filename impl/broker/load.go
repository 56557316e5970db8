package broker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// load takes up the state of the store.
func (b *Broker) load() error {
	queues := make(map[uint64]*Queue)
	var progress []func() error // after all queues and groups are known
	err := b.store.State(func(key string, value []byte) error {
		switch kind, rest, _ := strings.Cut(key, "/"); {
		case key == keyIDs:
			return decode(key, value, &b.ids)
		case kind+"/" == keyNamespace:
			b.namespaces[rest] = true
		case kind+"/" == keyQueue:
			var r queueRecord
			if err := decode(key, value, &r); err != nil {
				return err
			}
			if r.Partitions < 1 || r.Partitions > MaxPartitions || !r.grew() {
				return damaged(key, errors.New("partitions that cannot be"))
			}
			q := b.addQueue(r)
			queues[r.ID] = q
			var err error
			if q.selector, err = r.Filter.selector(q.name); err != nil {
				return damaged(key, err)
			}
		case kind+"/" == keyGroup:
			progress = append(progress, func() error { return loadGroup(queues, key, value) })
		case kind+"/" == keyProgress:
			progress = append(progress, func() error { return loadProgress(queues, key, value) })
		case kind+"/" == keyRoute:
			progress = append(progress, func() error { return loadRoute(b, queues, key, value) })
		case kind+"/" == keyCursors:
			progress = append(progress, func() error { return loadCursors(b, key, value) })
		case kind+"/" == keySetting:
			return loadSetting(b, key, rest, value)
		case kind+"/" == keySlot:
			progress = append(progress, func() error { return loadSlot(b, key, value) })
		case key == keyHalfLog:
			return loadHalfLog(b, key, value)
		case kind+"/" == keyHalf:
			return loadHalf(b, key, value) // "h" sorts before "x/"
		case kind+"/" == keyEpoch:
			var r epochRecord
			if err := decode(key, value, &r); err != nil {
				return err
			}
			b.epochs[rest] = r
		case kind+"/" == keyDelayed:
			progress = append(progress, func() error { return loadDelayed(queues, key, value) })
		default:
			return damaged(key, errors.New("this program does not know such a key"))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, q := range queues {
		for _, p := range q.list() {
			begin, next, ok, err := b.store.Bounds(p.log)
			if err != nil {
				return err
			}
			if !ok {
				return damaged(q.name, fmt.Errorf("log %d of the queue is missing", p.log))
			}
			p.begin, p.end, p.next, p.stored = begin, next, next, next
		}
	}
	// "g/" sorts before "p/" and "r/" before "rc/", so groups and routes are
	// made before their progress.
	for _, f := range progress {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// loadDelayed takes up how many delayed messages a queue has.
func loadDelayed(queues map[uint64]*Queue, key string, value []byte) error {
	var id uint64
	if _, err := fmt.Sscanf(strings.TrimPrefix(key, keyDelayed), "%016x", &id); err != nil || queues[id] == nil {
		return damaged(key, errors.New("delayed messages of a queue that is not there"))
	}
	return decode(key, value, &queues[id].delayed)
}

func decode(key string, value []byte, v any) error {
	if err := msgpack.Unmarshal(value, v); err != nil {
		return damaged(key, err)
	}
	return nil
}

func damaged(key string, err error) error {
	return fmt.Errorf("%w: state %q: %w", store.ErrCorrupt, key, err)
}

// CheckState tells whether a state value can be decoded, for checking a store.
func CheckState(key string, value []byte) error {
	switch kind, _, _ := strings.Cut(key, "/"); kind + "/" {
	case keyNamespace:
		return nil
	case keyIDs + "/":
		return decode(key, value, new(idsRecord))
	case keyQueue:
		return decode(key, value, new(queueRecord))
	case keyGroup:
		return decode(key, value, new(groupRecord))
	case keyProgress:
		return decode(key, value, new(progressRecord))
	case keyRoute:
		return decode(key, value, new(routeRecord))
	case keyCursors:
		return decode(key, value, new(cursorsRecord))
	case keySetting:
		return decode(key, value, new(settingRecord))
	case keySlot:
		return decode(key, value, new(slotRecord))
	case keyHalfLog + "/":
		return decode(key, value, new(uint64))
	case keyHalf:
		return decode(key, value, new(halfRecord))
	case keyEpoch:
		return decode(key, value, new(epochRecord))
	case keyDelayed:
		return decode(key, value, new(int64))
	}
	return damaged(key, errors.New("this program does not know such a key"))
}
