package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// pollEvery is how often files are looked at. Asking beats being told here: it
// works with renames, mounted secrets and network file systems alike.
const pollEvery = 2 * time.Second

// settled is the age from which a file whose size and time are the same is
// taken for the same: a younger one may change within one tick of its clock.
const settled = 10 * time.Second

// watched is what a file held when it was last looked at.
type watched struct {
	path string
	info fs.FileInfo
	sum  [sha256.Size]byte
}

// look reports whether the file holds something else than last time,
// or has another mode. A file
// that cannot be read is one that holds its error.
func (w *watched) look() bool {
	info, err := os.Stat(w.path)
	if err == nil && w.info != nil && os.SameFile(info, w.info) && info.Size() == w.info.Size() &&
		info.ModTime().Equal(w.info.ModTime()) && time.Since(info.ModTime()) > settled {
		return false
	}
	content, err := readFile(w.path, MaxDocument)
	if err != nil {
		content = []byte(err.Error())
	}
	if info != nil {
		content = fmt.Append(content, info.Mode())
	}
	before := w.sum
	w.info, w.sum = info, sha256.Sum256(content)
	return w.sum != before
}

// live holds a value that is made of files, and makes it anew when they change.
type live[T any] struct {
	value atomic.Pointer[T]
	stop  context.CancelFunc
	done  chan struct{}
}

// newLive makes the value with load and starts watching. When load fails later,
// the value stays and one line is logged for each change of the files.
func newLive[T any](log *slog.Logger, what string, load func() (*T, error), paths ...string) (*live[T], error) {
	var files []watched
	for _, path := range paths {
		if path != "" {
			files = append(files, watched{path: path})
		}
	}
	look := func() (changed bool) {
		for i := range files {
			changed = files[i].look() || changed
		}
		return changed
	}
	look()
	value, err := load()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &live[T]{stop: stop, done: make(chan struct{})}
	l.value.Store(value)
	go func() {
		defer close(l.done)
		for pause(ctx, pollEvery) == nil {
			if !look() {
				continue
			}
			value, err := load()
			if err != nil {
				log.Error("the new "+what+" cannot be used; the old one stays", "error", err)
				continue
			}
			l.value.Store(value)
			log.Info("new "+what, "files", paths)
		}
	}()
	return l, nil
}

// close ends the watching and waits for its end. The value stays.
func (l *live[T]) close() {
	l.stop()
	<-l.done
}

// pause waits for d or until ctx ends, whose error it returns then.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
