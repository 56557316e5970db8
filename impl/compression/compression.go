// Package compression compresses the bodies of messages on their way through the
// reference broker, by the name in the message's header.
package compression

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The names of the algorithms.
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

// Known reports whether name is that of an algorithm.
func Known(name string) bool { return name == Gzip || name == Zstd }

// ErrTooLarge is matched by the error for a body that grows beyond the limit.
var ErrTooLarge = errors.New("the decompressed body is too large")

var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	zstdWriter  = sync.OnceValue(func() *zstd.Encoder {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic("bug: " + err.Error())
		}
		return w
	})
	zstdReaders = sync.Pool{New: func() any {
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			panic("bug: " + err.Error())
		}
		return r
	}}
)

// Compress returns the compressed body, which shares no memory with body. The
// name must be a known one.
func Compress(name string, body []byte) []byte {
	if name == Zstd {
		return zstdWriter().EncodeAll(body, nil)
	}
	var out bytes.Buffer
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&out)
	_, _ = w.Write(body) // a bytes.Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// Decompress returns the body as it was. More than limit bytes are not made; the
// error is then ErrTooLarge.
func Decompress(name string, data []byte, limit int) ([]byte, error) {
	var out bytes.Buffer
	if err := decompress(&out, name, data, limit); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Check tells whether Decompress would succeed, with little memory.
func Check(name string, data []byte, limit int) error {
	return decompress(io.Discard, name, data, limit)
}

func decompress(out io.Writer, name string, data []byte, limit int) (err error) {
	var in io.Reader
	switch name {
	case Gzip:
		r := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(r)
		if err := r.Reset(bytes.NewReader(data)); err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		in = r
	case Zstd:
		r := zstdReaders.Get().(*zstd.Decoder)
		defer func() {
			_ = r.Reset(nil) // lets go of data
			zstdReaders.Put(r)
		}()
		if err := r.Reset(bytes.NewReader(data)); err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		in = r
	default:
		return fmt.Errorf("there is no compression %q; use %q or %q", name, Gzip, Zstd)
	}
	n, err := io.Copy(out, io.LimitReader(in, int64(limit)+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case n > int64(limit):
		return fmt.Errorf("%w: %d bytes are the most", ErrTooLarge, limit)
	}
	return nil
}
