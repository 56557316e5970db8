package auth

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxDocument bounds an encoded [Document], bytes.
const MaxDocument = 16 << 20

// EncodeDocument returns the document as YAML, in which it is stored. It holds
// verifiers: keep it from other eyes.
func EncodeDocument(d *Document) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(d), e.Close()); err != nil {
		return nil, err
	}
	if b.Len() > MaxDocument {
		return nil, badParameter("the document has %d bytes, %d are the most", b.Len(), MaxDocument)
	}
	return b.Bytes(), nil
}

// DecodeDocument reads and checks what EncodeDocument returns, or what somebody
// wrote by hand. Fields it does not know, double keys, a second document and
// all that breaks the rules of names and bounds are CodeBadParameter; the error
// names the line where it can, and holds no secret.
func DecodeDocument(b []byte) (*Document, error) {
	if len(b) > MaxDocument {
		return nil, badParameter("the document has %d bytes, %d are the most", len(b), MaxDocument)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	d := new(Document)
	if err := dec.Decode(d); errors.Is(err, io.EOF) {
		return nil, badParameter("the document is empty")
	} else if err != nil {
		return nil, badParameter("%w", withoutValues(err))
	}
	if err := dec.Decode(new(Document)); !errors.Is(err, io.EOF) {
		return nil, badParameter("there is more than one YAML document")
	}
	return d, d.check()
}

// value is what the library quotes of a value that is of the wrong type: it may
// be a password in the wrong place.
var value = regexp.MustCompile("`[^`]*`")

func withoutValues(err error) error {
	var rules *yaml.TypeError
	if !errors.As(err, &rules) {
		return err
	}
	return errors.New(value.ReplaceAllString(strings.Join(rules.Errors, "; "), "the value"))
}
