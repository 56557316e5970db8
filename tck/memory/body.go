package memory

import (
	"bytes"
	"compress/gzip"
	"io"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// gzipped is the only algorithm of the header field Compression.
const gzipped = "gzip"

// copyIn returns a copy of a message as it is stored, with its body compressed.
func copyIn(m *om.Message) *om.Message {
	c := m.Clone()
	if c.Compression == gzipped {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(c.Body) // a bytes.Buffer takes everything
		_ = w.Close()
		c.Body = b.Bytes()
	}
	return c
}

// copyOut returns a copy of a stored message with its body as it was sent.
func copyOut(m *om.Message) *om.Message {
	c := m.Clone()
	if c.Properties == nil {
		c.Properties = om.Properties{}
	}
	if c.Compression == gzipped {
		r, err := gzip.NewReader(bytes.NewReader(c.Body))
		if err == nil {
			c.Body, err = io.ReadAll(r)
		}
		if err != nil {
			panic("bug: a stored body cannot be decompressed: " + err.Error())
		}
	}
	return c
}
