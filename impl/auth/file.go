package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// File is a [Storage] in a YAML file that people may edit. It must be a regular
// file that only its owner can read and write (mode 0600). Saving
// replaces it as a whole: a new file beside it is written, synced and renamed;
// comments are not kept. Programs that save take turns by a lock on PATH.lock.
// A change by hand is noticed within some seconds.
type File struct {
	path   string
	rename func(from, to string) error

	mu   sync.Mutex
	base [sha256.Size]byte // of what was loaded or saved last
	seen watched           // what was looked at last, good or bad
}

// NewFile returns the storage in the file at path. It does no I/O.
func NewFile(path string) *File {
	return &File{path: path, rename: os.Rename, seen: watched{path: path}}
}

// Load implements [Storage]. A missing file matches fs.ErrNotExist.
func (f *File) Load(ctx context.Context) (*Document, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.look()
	content, err := f.read()
	if err != nil {
		return nil, err
	}
	d, err := DecodeDocument(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	f.base = sha256.Sum256(content)
	return d, nil
}

func (f *File) read() ([]byte, error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, badParameter("%s is not a regular file", f.path)
	case checksModes && info.Mode().Perm()&0o077 != 0:
		return nil, badParameter("%s has mode %#o: others than its owner can get at it; run: chmod 600 %s", f.path, info.Mode().Perm(), f.path)
	}
	return readAll(file, MaxDocument)
}

// Save implements [Storage].
func (f *File) Save(ctx context.Context, d *Document) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	content, err := EncodeDocument(d)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	lock := flock.New(f.path+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("%s: %w", lock.Path(), err)
	}
	defer lock.Unlock()

	switch now, err := f.read(); {
	case err == nil && sha256.Sum256(now) == f.base:
	case errors.Is(err, fs.ErrNotExist) && f.base == [sha256.Size]byte{}:
	case err != nil:
		return err
	default:
		return om.NewError(om.CodeStorageBusy, "save", f.path, "somebody else has changed it; load it again")
	}
	if err := f.replace(content); err != nil {
		return om.NewError(om.CodeStorageError, "save", f.path, "%w", err)
	}
	f.base = sha256.Sum256(content)
	f.seen.look()
	return nil
}

// replace puts a new file in the place of the old one, or leaves that as it is.
func (f *File) replace(content []byte) (err error) {
	folder, name := filepath.Split(f.path)
	temp, err := os.CreateTemp(folder, name+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = f.rename(temp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncFolder(folder)
}

// Wait implements [Storage].
func (f *File) Wait(ctx context.Context) error {
	for {
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
		f.mu.Lock()
		changed := f.seen.look()
		f.mu.Unlock()
		if changed {
			return nil
		}
	}
}
