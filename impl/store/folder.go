package store

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// formatVersion is the version of the layout on disk. Older programs refuse a
// store of a newer version; see docs/disk-format.md for what changed.
const formatVersion = 1

const (
	fileFormat = "STORE"
	fileBegun  = "STORE.new" // there while a store is being made
	fileLock   = "LOCK"
	fileMark   = "MARK"
	bucketName = "b-"
	trashName  = "trash-" // + name of a bucket that is being removed
)

// identity is the content of the STORE file.
type identity struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Sum     string    `json:"sum"` // checksum of the other fields
}

func (i identity) sum() string {
	return fmt.Sprintf("%08x", checksum([]byte(i.ID), []byte(fmt.Sprint(i.Format, i.Created.Unix()))))
}

// openFolder checks that dir is a store of this version, or one that is to be
// made: it is empty, missing, or was left while a store was being made.
func openFolder(dir string) (id identity, created bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, fileFormat))
	if err == nil {
		if err := json.Unmarshal(data, &id); err != nil || id.Sum != id.sum() {
			if err == nil && id.Format > formatVersion {
				return id, false, newerFormat(dir, id)
			}
			return id, false, corrupt("%s is damaged", filepath.Join(dir, fileFormat))
		}
		if id.Format > formatVersion {
			return id, false, newerFormat(dir, id)
		}
		return id, false, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return id, false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, false, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return id, false, err
	}
	begun := slices.ContainsFunc(files, func(f os.DirEntry) bool { return f.Name() == fileBegun })
	for _, f := range files {
		if f.Name() == fileLock || f.Name() == fileFormat || begun {
			continue
		}
		if f.Name() == fileMark || strings.HasPrefix(f.Name(), bucketName) {
			return id, false, corrupt("%s is missing", filepath.Join(dir, fileFormat))
		}
		return id, false, fmt.Errorf("%w: the folder %s holds other files (%s); choose an empty or a new folder", ErrFormat, dir, f.Name())
	}
	var random [16]byte
	_, _ = rand.Read(random[:])
	id = identity{Format: formatVersion, ID: hex.EncodeToString(random[:]), Created: time.Now().UTC().Truncate(time.Second)}
	return id, true, nil
}

func newerFormat(dir string, id identity) error {
	return fmt.Errorf("%w: %s has format %d, this program knows up to %d; use a newer program", ErrFormat, dir, id.Format, formatVersion)
}

// beginFolder writes the STORE file under another name, which tells that a
// store is being made.
func beginFolder(dir string, id identity) error {
	id.Sum = id.sum()
	data, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return errors.Join(writeSynced(filepath.Join(dir, fileBegun), append(data, '\n')), syncFolder(dir))
}

// finishFolder gives the STORE file its name: the store is made.
func finishFolder(dir string) error {
	if err := os.Rename(filepath.Join(dir, fileBegun), filepath.Join(dir, fileFormat)); err != nil {
		return err
	}
	return syncFolder(dir)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockFolder locks the store for this process and writes its name into the
// lock file.
func lockFolder(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, fileLock)
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !ok {
		holder, _ := os.ReadFile(path)
		who := strings.TrimSpace(string(holder))
		if who == "" {
			who = "another process"
		}
		return nil, fmt.Errorf("%w: %s is held by %s; stop that process or choose another folder", ErrLocked, dir, who)
	}
	who := fmt.Sprintf("process %d (%s) since %s\n", os.Getpid(), filepath.Base(os.Args[0]), time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(who), 0o600); err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return l, nil
}

func bucketDir(dir string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%010d", bucketName, n))
}

// removeTrash removes the buckets whose removal was interrupted.
func removeTrash(dir string) error {
	trash, err := filepath.Glob(filepath.Join(dir, trashName+"*"))
	for _, path := range trash {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// bucketNumbers lists the buckets of a store, ascending.
func bucketNumbers(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, f := range files {
		if digits, ok := strings.CutPrefix(f.Name(), bucketName); ok {
			n, err := strconv.ParseUint(digits, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w: %s holds %s, which is no bucket", ErrFormat, dir, f.Name())
			}
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}
