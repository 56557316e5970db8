package compression

import (
	"bytes"
	"errors"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBodiesComeBack(t *testing.T) {
	for _, name := range []string{Gzip, Zstd} {
		rapid.Check(t, func(t *rapid.T) {
			body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
			data := Compress(name, body)
			got, err := Decompress(name, data, len(body))
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%s: %q became %q, %v", name, body, got, err)
			}
			if err := Check(name, data, len(body)); err != nil {
				t.Fatal(err)
			}
			if len(body) > 0 {
				if _, err := Decompress(name, data, len(body)-1); !errors.Is(err, ErrTooLarge) {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestBombsEndAtTheLimit(t *testing.T) {
	bomb := make([]byte, 64<<20)
	for _, name := range []string{Gzip, Zstd} {
		data := Compress(name, bomb)
		if err := Check(name, data, 1<<20); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %d bytes: %v", name, len(data), err)
		}
		if n := testing.AllocsPerRun(1, func() { _ = Check(name, data, 1<<20) }); n > 1000 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for _, name := range []string{"", "lz4", "GZIP"} {
		if _, err := Decompress(name, nil, 1); err == nil || Known(name) {
			t.Errorf("%q is known", name)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for _, name := range []string{Gzip, Zstd} {
		f.Add(name, Compress(name, []byte("body")))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		body, err := Decompress(name, data, 1<<16)
		if len(body) > 1<<16 || (err == nil) != (Check(name, data, 1<<16) == nil) {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	})
}
