package store

import (
	"errors"
	"slices"
)

// Floor finds index values. Of the keys that begin with prefix it takes the
// greatest that is at most key, first in the newest bucket, then in the ones
// before it, until accept says that it is the one that was looked for. Neither
// key nor value share memory with the store. found is false when none was
// accepted.
func (s *Store) Floor(prefix, key string, accept func(key string, value []byte) bool) (found bool, err error) {
	s.mu.RLock()
	buckets := slices.Clone(s.buckets)
	s.mu.RUnlock()
	for _, b := range slices.Backward(buckets) {
		err := b.with(s.openBucket, func(e engine) error {
			at, err := e.floor(indexKey(prefix), indexKey(key))
			if err != nil {
				return err
			}
			sealed, err := e.get(at)
			if err != nil {
				return err
			}
			value, err := unseal(at, sealed)
			if err == nil {
				found = accept(string(at[2:]), value)
			}
			return err
		})
		switch {
		case errors.Is(err, ErrDropped):
			return false, nil
		case err != nil && !errors.Is(err, errNotFound):
			return false, err
		case found:
			return true, nil
		}
	}
	return false, nil
}
