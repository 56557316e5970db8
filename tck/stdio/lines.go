package stdio

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// The limits of a line.
const (
	maxLine  = 32 << 20 // bytes, without the newline
	maxDepth = 64       // arrays and objects in each other
)

// lineReader reads lines of at most max bytes.
type lineReader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

func newLineReader(r io.Reader, max int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

var (
	errTooLong    = errors.New("a line that is too long")
	errUnfinished = errors.New("a last line without a newline")
)

// next returns a line without its newline, valid until the next call. With
// errTooLong and errUnfinished it returns the beginning of the line.
func (l *lineReader) next() ([]byte, error) {
	const keep = 1 << 20 // a larger buffer is not kept
	if cap(l.buf) > keep {
		l.buf = nil
	}
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil {
			part = part[:len(part)-1]
		}
		if len(l.buf)+len(part) > l.max {
			if len(l.buf) == 0 {
				return part, errTooLong
			}
			return l.buf, errTooLong
		}
		if err == nil && len(l.buf) == 0 {
			return part, nil
		}
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			return l.buf, nil
		case errors.Is(err, io.EOF) && len(l.buf) > 0:
			return l.buf, errUnfinished
		case !errors.Is(err, bufio.ErrBufferFull):
			return l.buf, err
		}
	}
}

// decode reads a line of the child. What it returns shares nothing with line.
func decode(line []byte) (*answer, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("a line that is not UTF-8")
	}
	if depth(line) > maxDepth {
		return nil, fmt.Errorf("a line nested more than %d deep", maxDepth)
	}
	if !json.Valid(line) {
		return nil, errors.New("a line that is not JSON")
	}
	a := new(answer)
	if err := json.Unmarshal(line, a); err != nil {
		return nil, fmt.Errorf("a line that is no answer (%w)", err)
	}
	if (a.ID == 0) == (a.Ask == 0) {
		return nil, errors.New(`a line that is no answer (it has neither "id" nor "ask", or both)`)
	}
	return a, nil
}

// depth returns how deep the arrays and objects of a JSON text are nested. It
// says something of texts that are no JSON too.
func depth(text []byte) (deepest int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}
