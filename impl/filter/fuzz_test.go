package filter

import (
	"errors"
	"testing"
	"unicode/utf8"
)

// FuzzParse: no text crashes the parser, mistakes have a column inside of it,
// and what is understood means the same when it is printed and read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"mag >= 4.5 AND net IN ('us','ak') AND place LIKE '%Alaska%'", "a BETWEEN -1 AND 0x1F OR NOT b IS NULL", "c LIKE 'x!%' ESCAPE '!'",
		"s CONTAINS 'it''s' -- end", "/* */ ((a + 1) * -b / 2.5e3 <> .5f) = TRUE", "größe = 1_000L", "'", "(((", "n IN (1", "a\x00", "\xff", "9223372036854775808",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, convert bool) {
		o := Options{Convert: convert}
		c, err := Parse(s, o)
		if err != nil {
			var e *SyntaxError
			if !errors.As(err, &e) || e.Column < 1 || utf8.ValidString(s) && e.Column > utf8.RuneCountInString(s)+1 || e.Message == "" {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		m := sample()
		want := c.cond.test(decoded{m})
		if got := c.cond.test(encoded{viewOf(t, m)}); got != want {
			t.Fatalf("%q is %v, in a chunk %v", s, want, got)
		}
		if _, ok := c.cond.(constant); ok {
			return // UNKNOWN is no part of the language
		}
		again, err := Parse(c.String(), o)
		if err != nil {
			var e *SyntaxError
			if errors.As(err, &e) && len(c.String()) > MaxLength || hasUnknown(c.cond) {
				return
			}
			t.Fatalf("%q is printed as %q: %v", s, c, err)
		}
		if got := again.cond.test(decoded{m}); got != want {
			t.Fatalf("%q is %v, printed as %q %v", s, want, c, got)
		}
	})
}

// hasUnknown reports whether a part is printed as what the language does not
// have.
func hasUnknown(n node) bool {
	switch n := n.(type) {
	case constant:
		return tri(n) == unknown
	case literal:
		return n.kind == null || n.kind == approximate && (n.float != n.float || n.float-n.float != 0)
	}
	for _, p := range n.parts() {
		if hasUnknown(p) {
			return true
		}
	}
	return false
}
