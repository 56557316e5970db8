package filter

import (
	"strings"
	"unicode/utf8"
)

// pattern is a LIKE pattern: pieces with a % between them. A piece is a text in
// which _ stands for one character. Matching takes each piece at its first
// place, so that it never tries more than length times length.
type pattern struct {
	source string
	escape string
	pieces []piece
}

type piece struct {
	text string // _ as anyChar
	wild bool   // there is an anyChar in text
}

// anyChar stands for _ in a piece; it is no character of valid UTF-8.
const anyChar = '\xff'

// newPattern compiles a pattern; wrong tells what is wrong with it.
func newPattern(source, escape string) (p pattern, wrong string) {
	p = pattern{source: source, escape: escape}
	var b []byte
	wild := false
	for rest := source; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		c := rest[:n]
		rest = rest[n:]
		switch {
		case escape != "" && c == escape:
			if rest == "" || rest[0] != '%' && rest[0] != '_' && !strings.HasPrefix(rest, escape) {
				return p, "the escape character must stand before %, _ or itself"
			}
			_, n := utf8.DecodeRuneInString(rest)
			b = append(b, rest[:n]...)
			rest = rest[n:]
		case r == '%':
			p.pieces = append(p.pieces, piece{string(b), wild})
			b, wild = nil, false
		case r == '_':
			b, wild = append(b, anyChar), true
		default:
			b = append(b, c...)
		}
	}
	p.pieces = append(p.pieces, piece{string(b), wild})
	return p, ""
}

func (p *pattern) String() string {
	s := value{kind: characters, text: p.source}.String()
	if p.escape != "" {
		s += " ESCAPE " + value{kind: characters, text: p.escape}.String()
	}
	return s
}

func (p *pattern) matches(s string) bool {
	last := len(p.pieces) - 1
	n := p.pieces[0].prefix(s)
	if n < 0 {
		return false
	}
	if s = s[n:]; last == 0 {
		return s == ""
	}
	for i := 1; i < last; i++ {
		if n = p.pieces[i].index(s); n < 0 {
			return false
		}
		s = s[n:]
	}
	return p.pieces[last].isSuffix(s)
}

// prefix returns how many bytes of s the piece takes at its beginning, -1 when
// it does not begin so.
func (p *piece) prefix(s string) int {
	if !p.wild {
		if strings.HasPrefix(s, p.text) {
			return len(p.text)
		}
		return -1
	}
	at := 0
	for i := range len(p.text) {
		switch {
		case at == len(s):
			return -1
		case p.text[i] == anyChar:
			_, n := utf8.DecodeRuneInString(s[at:])
			at += n
		case p.text[i] != s[at]:
			return -1
		default:
			at++
		}
	}
	return at
}

// index returns where the first place of the piece in s ends.
func (p *piece) index(s string) int {
	if !p.wild {
		if i := strings.Index(s, p.text); i >= 0 {
			return i + len(p.text)
		}
		return -1
	}
	for at := 0; ; {
		if n := p.prefix(s[at:]); n >= 0 {
			return at + n
		}
		if at == len(s) {
			return -1
		}
		_, n := utf8.DecodeRuneInString(s[at:])
		at += n
	}
}

// isSuffix reports whether s ends with the piece.
func (p *piece) isSuffix(s string) bool {
	if !p.wild {
		return strings.HasSuffix(s, p.text)
	}
	at := len(s)
	for range utf8.RuneCountInString(p.text) { // an anyChar counts as one
		if at == 0 {
			return false
		}
		_, n := utf8.DecodeLastRuneInString(s[:at])
		at -= n
	}
	return p.prefix(s[at:]) == len(s)-at
}
