// Package archive keeps a snapshot of a store in one file, a tar archive:
//
//	BACKUP.json     what it is: format, commit, when it was made
//	parts/00000001  the parts, in order; see docs/disk-format.md
//	MANIFEST.json   what the parts hold in all
//	SHA256SUMS      checksums of all the files before it, as sha256sum writes them
//
// Writers and readers are used by one goroutine.
package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

// format is the version of the archive. Older programs refuse newer ones.
const format = 1

const (
	fileAbout    = "BACKUP.json"
	fileManifest = "MANIFEST.json"
	fileSums     = "SHA256SUMS"
	folderParts  = "parts/"
)

func partName(n int) string { return fmt.Sprintf(folderParts+"%08d", n) }

// About is the content of BACKUP.json.
type About struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Commit  uint64    `json:"commit"`
	StoreID string    `json:"store_id"`
}

// Manifest is the content of MANIFEST.json.
type Manifest struct {
	Parts int `json:"parts"`
	store.Summary
}

// partHeader precedes the entries in a part's file.
type partHeader struct {
	Bucket  int `json:"bucket"`
	Entries int `json:"entries"`
}

// Writer writes an archive.
type Writer struct {
	tar   *tar.Writer
	at    time.Time
	parts int
	sums  bytes.Buffer
}

// NewWriter begins an archive of a snapshot as of a commit of the store with an
// identity. Errors are those of w.
func NewWriter(w io.Writer, commit uint64, storeID string, now time.Time) (*Writer, error) {
	a := &Writer{tar: tar.NewWriter(w), at: now.UTC().Truncate(time.Second)}
	return a, a.addJSON(fileAbout, About{format, a.at, commit, storeID})
}

// Part adds the next part. It keeps nothing of it.
func (w *Writer) Part(p store.Part) error {
	w.parts++
	header, err := json.Marshal(partHeader{p.Bucket, p.Entries})
	if err != nil {
		return err
	}
	return w.add(partName(w.parts), append(header, '\n'), p.Data)
}

// Close ends the archive: without it there is none. It does not close what was
// written to.
func (w *Writer) Close(sum store.Summary) error {
	if err := w.addJSON(fileManifest, Manifest{w.parts, sum}); err != nil {
		return err
	}
	if err := w.add(fileSums, w.sums.Bytes()); err != nil {
		return err
	}
	return w.tar.Close()
}

func (w *Writer) addJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.add(name, append(data, '\n'))
}

// add adds a file of some pieces.
func (w *Writer) add(name string, pieces ...[]byte) error {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if err := w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(size), ModTime: w.at, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	sum := sha256.New()
	for _, p := range pieces {
		_, _ = sum.Write(p) // a hash takes everything
		if _, err := w.tar.Write(p); err != nil {
			return err
		}
	}
	if name != fileSums {
		fmt.Fprintf(&w.sums, "%s  %s\n", hex.EncodeToString(sum.Sum(nil)), name)
	}
	return nil
}
