package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// ErrDamaged tells that an archive is not whole.
var ErrDamaged = errors.New("the backup is damaged")

// ErrNotEmpty tells that there is something in the folder already.
var ErrNotEmpty = errors.New("the folder is not empty")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// Restore makes a store of an archive in a folder that is empty or missing. The
// folder gets its name when everything was checked: there is a whole store or
// nothing. progress is told of the bytes that were read; it may be nil. It blocks
// until all is written and synced. An archive that is not whole gives
// [ErrDamaged], something in the folder [ErrNotEmpty]; what a newer program wrote
// is refused.
func Restore(r io.Reader, dir string, log *slog.Logger, progress func(bytes int64)) (about About, m Manifest, err error) {
	dir = filepath.Clean(dir)
	if err := checkEmpty(dir); err != nil {
		return about, m, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return about, m, err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".restoring-")
	if err != nil {
		return about, m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	a := &reader{tar: tar.NewReader(r), progress: progress}
	about, m, err = a.fill(func(commit uint64) (destination, error) { return store.Restore(work, commit, log) })
	if err != nil {
		return about, m, err
	}
	// An empty folder may be in the way; one that is not empty any more stays.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return about, m, err
	}
	if err := os.Rename(work, dir); err != nil {
		return about, m, err
	}
	return about, m, syncFolder(filepath.Dir(dir))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// destination takes what an archive holds; store.Restorer is one.
type destination interface {
	Write(store.Part) error
	Finish(store.Summary) error
	Close() error
}

func checkEmpty(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(files) > 0 {
		err = fmt.Errorf("%w: %s holds %s; choose an empty or a new folder", ErrNotEmpty, dir, files[0].Name())
	}
	return err
}

// reader reads an archive.
type reader struct {
	tar      *tar.Reader
	progress func(bytes int64)
	read     int64
	sums     bytes.Buffer
	data     bytes.Buffer
}

const (
	// maxFile bounds a part's file.
	maxFile = store.MaxPart + 4096
	// maxJSON bounds the other files but the list of checksums.
	maxJSON = 64 << 10
)

// next reads the next file. Its data is valid until the next call.
func (r *reader) next() (name string, data []byte, err error) {
	h, err := r.tar.Next()
	if err != nil {
		return "", nil, damaged("it ends too early or is no backup: %w", err)
	}
	limit := int64(maxJSON)
	switch {
	case h.Name == fileSums:
		limit = int64(r.sums.Len())
	case strings.HasPrefix(h.Name, folderParts):
		limit = maxFile
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") { // its size need not have bytes behind it
			return "", nil, damaged("%q is a sparse file", h.Name)
		}
	}
	if h.Typeflag != tar.TypeReg || h.Size > limit {
		return "", nil, damaged("%q has %d bytes, %d are the most", h.Name, h.Size, limit)
	}
	r.data.Reset()
	if _, err := io.Copy(&r.data, r.tar); err != nil {
		return "", nil, damaged("%s: %w", h.Name, err)
	}
	if r.read += h.Size; r.progress != nil {
		r.progress(r.read)
	}
	if h.Name != fileSums {
		sum := sha256.Sum256(r.data.Bytes())
		fmt.Fprintf(&r.sums, "%s  %s\n", hex.EncodeToString(sum[:]), h.Name)
	}
	return h.Name, r.data.Bytes(), nil
}

// expect reads a file of JSON that must come next.
func (r *reader) expect(want string, v any) error {
	name, data, err := r.next()
	if err == nil && name != want {
		err = damaged("%q stands where %s should be", name, want)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return damaged("%s: %w", want, err)
	}
	return nil
}

// fill has what the archive holds written to a destination.
func (r *reader) fill(begin func(commit uint64) (destination, error)) (about About, m Manifest, err error) {
	if err := r.expect(fileAbout, &about); err != nil {
		return about, m, err
	}
	if about.Format > format {
		return about, m, fmt.Errorf("the backup has format %d, this program knows up to %d; use a newer program", about.Format, format)
	}
	st, err := begin(about.Commit)
	if errors.Is(err, store.ErrCorrupt) {
		err = damaged("%w", err)
	}
	if err != nil {
		return about, m, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	for n := 1; ; n++ {
		name, data, err := r.next()
		if err != nil {
			return about, m, err
		}
		if name == fileManifest {
			if err := json.Unmarshal(data, &m); err != nil || m.Parts != n-1 || m.Commit != about.Commit {
				return about, m, damaged("%s does not tell of %d parts of commit %d", fileManifest, n-1, about.Commit)
			}
			break
		}
		if name != partName(n) {
			return about, m, damaged("%q stands where %s should be", name, partName(n))
		}
		if err := restorePart(st, data); err != nil {
			return about, m, damaged("%s: %w", name, err)
		}
	}
	want := bytes.Clone(r.sums.Bytes())
	name, data, err := r.next()
	if err == nil && (name != fileSums || !bytes.Equal(data, want)) {
		err = damaged("%s does not have the checksums of what is there; sha256sum -c finds the file", fileSums)
	}
	if err != nil {
		return about, m, err
	}
	if err := st.Finish(m.Summary); err != nil {
		return about, m, damaged("%w", err)
	}
	return about, m, nil
}

func restorePart(st destination, data []byte) error {
	line, entries, ok := bytes.Cut(data, []byte("\n"))
	var h partHeader
	if err := json.Unmarshal(line, &h); err != nil || !ok {
		return fmt.Errorf("its first line is no header")
	}
	return st.Write(store.Part{Bucket: h.Bucket, Entries: h.Entries, Data: entries})
}
