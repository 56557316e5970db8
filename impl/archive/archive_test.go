package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openmessaging/openmessaging-go/impl/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// sample returns the archive of a store with two buckets' worth of records.
func sample(t testing.TB) []byte {
	t.Helper()
	st, err := store.Open(store.Options{Memory: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i := range 3 {
		b := &store.Batch{StoredAt: 1000}
		if i == 0 {
			b.CreateLog(1)
			b.Put("k", []byte("v"))
		} else {
			b.Append(1, int64(i-1), 1, []byte("message"))
		}
		if _, err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	shot, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer shot.Close()
	var out bytes.Buffer
	w, err := NewWriter(&out, shot.Commit(), shot.StoreID(), time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := shot.Parts(context.Background(), w.Part)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(sum); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// file is a file of an archive.
type file struct {
	name string
	data []byte
}

func unpack(t testing.TB, data []byte) (files []file) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{h.Name, content})
	}
}

// pack makes an archive of files. With sums the checksums are made to fit, as
// somebody would who means harm.
func pack(t testing.TB, files []file, sums bool) []byte {
	t.Helper()
	var out bytes.Buffer
	w := &Writer{tar: tar.NewWriter(&out)}
	for _, f := range files {
		data := f.data
		if f.name == fileSums && sums {
			data = w.sums.Bytes()
		}
		if err := w.add(f.name, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.tar.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// refused restores what must not be, and checks that nothing is left of it.
func refused(t *testing.T, what string, data []byte, want error) {
	t.Helper()
	dir := t.TempDir()
	_, _, err := Restore(bytes.NewReader(data), filepath.Join(dir, "store"), quiet, nil)
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%s: %v", what, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%s: %v is left behind, %v", what, left, err)
	}
}

func TestRestoreIsTheStore(t *testing.T) {
	data := sample(t)
	dir := filepath.Join(t.TempDir(), "new", "store")
	read := int64(0)
	about, m, err := Restore(bytes.NewReader(data), dir, quiet, func(n int64) { read = n })
	if err != nil {
		t.Fatal(err)
	}
	if m.Messages != 2 || m.StateValues != 1 || m.Commit != 4 || !about.Created.Equal(time.Unix(1e9, 0)) || read == 0 || read > int64(len(data)) {
		t.Errorf("%+v, %+v, %d of %d bytes", about, m, read, len(data))
	}
	st, err := store.Open(store.Options{Path: dir, Logger: quiet, Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if r, err := st.Read(1, 1); err != nil || string(r.Data) != "message" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, _, err := Restore(bytes.NewReader(data), dir, quiet, nil); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into a store: %v", err)
	}
}

func TestRestoreRefusesWhatIsCut(t *testing.T) {
	data := sample(t)
	end := bytes.Index(data, []byte(fileSums)) + 512 // of the last header
	for n := 0; n < end; n += 97 {
		refused(t, "cut", data[:n], ErrDamaged)
	}
}

func TestRestoreRefusesWhatIsChanged(t *testing.T) {
	whole := sample(t)
	for _, f := range unpack(t, whole) {
		at := bytes.Index(whole, f.data)
		for i := 0; i < len(f.data); i += 13 {
			data := bytes.Clone(whole)
			data[at+i] ^= 1
			refused(t, f.name, data, nil) // a changed version is that of a newer program
		}
	}
}

// TestRestoreRefusesWhatDoesNotFit has the checksums right and the rest wrong.
func TestRestoreRefusesWhatDoesNotFit(t *testing.T) {
	files := unpack(t, sample(t)) // about, one part, manifest, sums
	if len(files) != 4 {
		t.Fatal(len(files))
	}
	with := func(i int, f file) []file {
		out := append([]file(nil), files...)
		out[i] = f
		return out
	}
	edit := func(i int, old, new string) []file {
		data := strings.Replace(string(files[i].data), old, new, 1)
		if data == string(files[i].data) {
			t.Fatalf("%s has no %s", files[i].name, old)
		}
		return with(i, file{files[i].name, []byte(data)})
	}
	for what, changed := range map[string][]file{
		"no part":              {files[0], files[2], files[3]},
		"a part twice":         {files[0], files[1], files[1], files[2], files[3]},
		"a name out of it":     with(1, file{"../../evil", files[1].data}),
		"no manifest":          {files[0], files[1], files[3]},
		"no sums":              files[:3],
		"one more part":        edit(2, `"parts":1`, `"parts":2`),
		"one more message":     edit(2, `"messages":2`, `"messages":3`),
		"another commit":       edit(0, `"commit":4`, `"commit":2`),
		"commit 0":             edit(0, `"commit":4`, `"commit":0`),
		"entries":              edit(1, `"entries":`, `"entries":1`),
		"another bucket":       edit(1, `"bucket":0`, `"bucket":1`),
		"a negative bucket":    edit(1, `"bucket":0`, `"bucket":-1`),
		"a long text":          with(0, file{fileAbout, append(bytes.Clone(files[0].data), bytes.Repeat([]byte(" "), maxJSON)...)}),
		"a part without lines": with(1, file{files[1].name, nil}),
	} {
		refused(t, what, pack(t, changed, true), ErrDamaged)
	}
	refused(t, "sums of other data", pack(t, edit(1, "message", "massage"), false), ErrDamaged)
	if data := pack(t, edit(0, `"format":1`, `"format":2`), true); true {
		dir := t.TempDir()
		_, _, err := Restore(bytes.NewReader(data), filepath.Join(dir, "store"), quiet, nil)
		if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "use a newer program") {
			t.Errorf("a newer format: %v", err)
		}
	}
	if whole := pack(t, files, true); true {
		if _, _, err := Restore(bytes.NewReader(whole), filepath.Join(t.TempDir(), "s"), quiet, nil); err != nil {
			t.Errorf("as it was: %v", err)
		}
	}
}

// nowhere takes everything.
type nowhere struct{}

func (nowhere) Write(store.Part) error     { return nil }
func (nowhere) Finish(store.Summary) error { return nil }
func (nowhere) Close() error               { return nil }

// FuzzReader reads an archive of a whole header, one file of a name and a size that
// is claimed, and what follows. No input has the reader take much more memory than
// it has bytes.
func FuzzReader(f *testing.F) {
	whole := sample(f)
	files := unpack(f, whole)
	f.Add("", int64(0), whole)
	f.Add(files[0].name, int64(len(files[0].data)), append(padded(files[0].data), whole[1024:]...))
	f.Add(partName(1), int64(maxFile), []byte("{}"))
	f.Add(fileAbout, int64(1)<<40, []byte("{}"))
	f.Fuzz(func(t *testing.T, name string, size int64, data []byte) {
		if name != "" {
			data = append(claims(name, size), data...)
		}
		r := &reader{tar: tar.NewReader(bytes.NewReader(data))}
		_, _, _ = r.fill(func(uint64) (destination, error) { return nowhere{}, nil })
		if taken := r.data.Cap() + r.sums.Cap(); taken > 4*len(data)+4096 {
			t.Errorf("%d bytes are held for %d", taken, len(data))
		}
	})
}

// claims is an archive that ends behind the header of a file.
func claims(name string, size int64) []byte {
	var out bytes.Buffer
	_ = tar.NewWriter(&out).WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600}) // what cannot be written is not
	return out.Bytes()
}

// padded is the content of a file as it lies in an archive.
func padded(data []byte) []byte { return append(bytes.Clone(data), make([]byte, -len(data)&511)...) }
