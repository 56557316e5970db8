package filter

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError tells what is wrong with an expression.
type SyntaxError struct {
	Column  int    // in characters, from 1
	Message string // what was expected, and what to write instead
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Message) }

// kind is the kind of a token. Keywords and symbols are their own kind.
type kind string

const (
	end    kind = "the end of the expression"
	name   kind = "a name"
	text   kind = "a text"
	number kind = "a number"
)

type token struct {
	kind kind
	text string // a name as it is written, or the content of a text
	num  value  // of a number
	at   int    // byte offset
}

var keywords = map[string]bool{
	"AND": true, "OR": true, "NOT": true, "BETWEEN": true, "IN": true, "LIKE": true, "ESCAPE": true, "IS": true, "NULL": true,
	"TRUE": true, "FALSE": true, "CONTAINS": true, "STARTSWITH": true, "ENDSWITH": true,
}

// symbols, longer ones first.
var symbols = []kind{"<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "+", "-", "*", "/"}

// instead tells what to write for what other languages have.
var instead = []struct{ wrong, right string }{
	{"==", "="}, {"!=", "<>"}, {"!", "NOT"}, {"&&", "AND"}, {"||", "OR"}, {`"`, "single quotes, as in 'text'"}, {"`", "the name without quotes"},
	{";", "nothing: one expression is all"}, {"%", "LIKE, or arithmetic with + - * /"},
}

// lexer reads tokens. The first mistake is kept, and ends the tokens.
type lexer struct {
	src string
	pos int
	err *SyntaxError
}

// fail notes a mistake at a byte offset.
func (l *lexer) fail(at int, format string, args ...any) {
	if l.err == nil {
		l.err = &SyntaxError{1 + utf8.RuneCountInString(l.src[:at]), fmt.Sprintf(format, args...)}
	}
	l.pos = len(l.src)
}

func (l *lexer) next() token {
	l.space()
	t := token{kind: end, at: l.pos}
	if l.pos == len(l.src) {
		return t
	}
	rest := l.src[l.pos:]
	switch c := rest[0]; {
	case c == '\'':
		l.text(&t)
		return t
	case isDigit(c), c == '.' && len(rest) > 1 && isDigit(rest[1]):
		l.number(&t)
		return t
	}
	if r, _ := utf8.DecodeRuneInString(rest); isStart(r) {
		l.name(&t)
		return t
	}
	for _, i := range instead {
		if strings.HasPrefix(rest, i.wrong) {
			l.fail(l.pos, "%q is not part of the language; write %s", i.wrong, i.right)
			return t
		}
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, string(s)) {
			l.pos += len(s)
			t.kind = s
			return t
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	l.fail(l.pos, "%q is not part of the language", r)
	return t
}

// space passes over blanks and comments.
func (l *lexer) space() {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch {
		case strings.ContainsRune(" \t\n\r\f", rune(rest[0])):
			l.pos++
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				l.pos += i + 1
			} else {
				l.pos = len(l.src)
			}
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				l.fail(l.pos, "the comment has no end; write */ behind it")
				return
			}
			l.pos += i + 4
		default:
			return
		}
	}
}

// text reads 'text', in which ” stands for one quote.
func (l *lexer) text(t *token) {
	var b strings.Builder
	rest := l.src[l.pos+1:]
	for {
		i := strings.IndexByte(rest, '\'')
		if i < 0 {
			l.fail(t.at, "the text has no end; write a single quote behind it, and two for one inside of it")
			return
		}
		b.WriteString(rest[:i])
		rest = rest[i+1:]
		if !strings.HasPrefix(rest, "'") {
			break
		}
		b.WriteByte('\'')
		rest = rest[1:]
	}
	l.pos = len(l.src) - len(rest)
	t.kind, t.text = text, b.String()
}

func (l *lexer) name(t *token) {
	for l.pos < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[l.pos:])
		if !isStart(r) && !unicode.IsDigit(r) && !unicode.In(r, unicode.Mn, unicode.Mc) {
			break
		}
		l.pos += n
	}
	t.kind, t.text = name, l.src[t.at:l.pos]
	if len(t.text) <= len("STARTSWITH") {
		if word := strings.ToUpper(t.text); keywords[word] {
			t.kind = kind(word)
		}
	}
}

// isStart reports whether a name may begin with r, by Java's rules.
func isStart(r rune) bool {
	return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.In(r, unicode.Nl, unicode.Sc, unicode.Pc)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a literal as Java writes them: 42, 42L, 1_000, 0x2A, 052, 0b101010, 4.2, 42.,
// .42, 42e3, 42f, 42d.
func (l *lexer) number(t *token) {
	rest := l.src[l.pos:]
	n := 0
	for n < len(rest) && (isDigit(rest[n]) || rest[n] == '.' || rest[n] == '_' || 'a' <= rest[n]|0x20 && rest[n]|0x20 <= 'z' ||
		(rest[n] == '+' || rest[n] == '-') && rest[n-1]|0x20 == 'e' && !isHex(rest)) {
		n++
	}
	t.kind = number
	l.pos += n
	v, err := parseNumber(rest[:n])
	if err != "" {
		l.fail(t.at, "%.40s %s", rest[:n], err)
	}
	t.num = v
}

func isHex(s string) bool { return len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x' }

const tooLarge = "is over 9223372036854775807, the largest one"

// parseNumber returns what is wrong with the literal, "" if nothing is.
func parseNumber(s string) (v value, wrong string) {
	const malformed = "is not a number as Java writes them, for example 42, 0x2A, 4.2 or 42e3; a name does not begin with a digit"
	base, digits := 10, strings.TrimRight(s, "lL")
	if len(s)-len(digits) > 1 {
		return v, malformed
	}
	switch low := strings.ToLower(digits); {
	case isHex(low):
		base, digits = 16, digits[2:]
	case strings.HasPrefix(low, "0b"):
		base, digits = 2, digits[2:]
	case len(low) > 1 && low[0] == '0' && strings.Trim(low, "0123456789_") == "":
		base, digits = 8, digits[1:]
	case strings.Trim(low, "0123456789_") != "":
		if digits != s {
			return v, malformed
		}
		return parseFloat(s)
	}
	if digits == "" || digits[len(digits)-1] == '_' || digits[0] == '_' && base != 8 {
		return v, malformed
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(digits, "_", ""), base, 64)
	switch {
	case err != nil && strings.Contains(err.Error(), "range"):
		return v, tooLarge
	case err != nil:
		return v, malformed
	case base != 10:
		return value{kind: exact, num: int64(n)}, ""
	case n > 1<<63:
		return v, tooLarge
	}
	// 1 << 63 is right behind a minus only; the parser looks after that.
	return value{kind: exact, num: int64(n), min: n == 1<<63}, ""
}

func parseFloat(s string) (v value, wrong string) {
	const malformed = "is not a number as Java writes them, for example 4.2, .42, 42e3 or 42f"
	digits := strings.TrimRight(s, "fFdD")
	if len(s)-len(digits) > 1 || strings.Trim(strings.ToLower(digits), "0123456789_.e+-") != "" || !separates(digits) {
		return v, malformed
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(digits, "_", ""), 64)
	if err != nil {
		if strings.Contains(err.Error(), "range") {
			return v, "is over the largest number of 64 bit"
		}
		return v, malformed
	}
	if strings.HasSuffix(strings.ToLower(s), "f") {
		f = float64(float32(f))
	}
	return value{kind: approximate, float: f}, ""
}

// separates reports whether every underscore stands between digits.
func separates(s string) bool {
	for i := range len(s) {
		if s[i] != '_' {
			continue
		}
		before, after := strings.TrimRight(s[:i], "_"), strings.TrimLeft(s[i:], "_")
		if before == "" || after == "" || !isDigit(before[len(before)-1]) || !isDigit(after[0]) {
			return false
		}
	}
	return true
}
