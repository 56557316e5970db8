package filter

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Filter is a compiled expression. It never changes and may be used by any
// number of goroutines at once.
type Filter struct{ cond cond }

// Options change how an expression is understood.
type Options struct {
	// Convert has texts compared and calculated with as the numbers and truth
	// values that they stand for, as it must be for clients whose properties
	// are texts only. A text that stands for none is unknown. Without it a text
	// and a number never compare.
	Convert bool
}

// Parse compiles a SQL selector. The error is a *[SyntaxError].
func Parse(expression string, o Options) (*Filter, error) {
	c, err := parse(expression, o.Convert)
	if err != nil {
		return nil, err
	}
	return &Filter{c}, nil
}

// maxTags bounds a tag filter.
const maxTags = 256

// ParseTags compiles a tag filter: tags with || between them, or * for all
// messages. The error is a *[SyntaxError].
func ParseTags(expression string) (*Filter, error) {
	wrong := func(at int, format string, args ...any) (*Filter, error) {
		return nil, &SyntaxError{1 + utf8.RuneCountInString(expression[:at]), fmt.Sprintf(format, args...)}
	}
	if len(expression) > MaxLength || !utf8.ValidString(expression) {
		return wrong(0, "tags are valid UTF-8 of at most %d bytes", MaxLength)
	}
	m := &member{a: &identifier{name: om.PropertyTags}, texts: map[string]bool{}}
	at := 0
	for tag := range strings.SplitSeq(expression, "||") {
		switch t := strings.TrimSpace(tag); {
		case t == "":
			return wrong(at, "a tag is expected; tags are words with || between them, or * for all")
		case strings.ContainsAny(t, "| \t\r\n"):
			return wrong(at, "%q is not a tag; tags are words with || between them", clip(t))
		case t == "*":
			return &Filter{constant(yes)}, nil
		case len(m.values) == maxTags:
			return wrong(at, "more than %d tags", maxTags)
		default:
			m.texts[t] = true
			m.values = append(m.values, value{kind: characters, text: t})
		}
		at += len(tag) + len("||")
	}
	return &Filter{m}, nil
}

// cached are compiled filters by what they were compiled of.
var cached, _ = lru.New[om.Filter, *Filter](1024)

// Compile compiles a filter of the contract for an operation on a resource. A
// malformed one gives [openmessaging.CodeBadParameter] around a *[SyntaxError]
// (G35).
func Compile(op, resource string, f om.Filter) (*Filter, error) {
	if c, ok := cached.Get(f); ok {
		return c, nil
	}
	var c *Filter
	var err error
	switch f.Type {
	case "sql":
		c, err = Parse(f.Expression, Options{})
	case "tag":
		c, err = ParseTags(f.Expression)
	default:
		return nil, om.NewError(om.CodeBadParameter, op, resource, "there is no filter type %q; make it with openmessaging.SQL or openmessaging.Tag", clip(f.Type))
	}
	if err != nil {
		return nil, om.NewError(om.CodeBadParameter, op, resource, "the filter is malformed: %w", err)
	}
	cached.Add(f, c)
	return c, nil
}

// Match reports whether a message in a chunk matches: not when that is unknown.
func (f *Filter) Match(v *chunk.View) bool { return f.cond.test(encoded{v}) == yes }

// MatchMessage reports whether a message matches.
func (f *Filter) MatchMessage(m *om.Message) bool { return f.cond.test(decoded{m}) == yes }

// String returns the compiled expression with all parentheses.
func (f *Filter) String() string { return f.cond.String() }

// Explain writes the parts of the expression, each with its value for a message.
func (f *Filter) Explain(w io.Writer, m *om.Message) error {
	var failed error
	var walk func(n node, depth int)
	walk = func(n node, depth int) {
		var result string
		switch n := n.(type) {
		case literal:
			return
		case cond:
			result = n.test(decoded{m}).String()
		case term:
			result = n.eval(decoded{m}).String()
		}
		if _, err := fmt.Fprintf(w, "%s%s → %s\n", strings.Repeat("  ", depth), printable(n.String()), printable(result)); err != nil {
			failed = err
		}
		for _, part := range n.parts() {
			walk(part, depth+1)
		}
	}
	walk(f.cond, 0)
	return failed
}

// printable replaces control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// Names returns the names in the expression, sorted.
func (f *Filter) Names() (names []string) {
	var walk func(n node)
	walk = func(n node) {
		if i, ok := n.(*identifier); ok && !slices.Contains(names, i.name) {
			names = append(names, i.name)
		}
		for _, part := range n.parts() {
			walk(part)
		}
	}
	walk(f.cond)
	slices.Sort(names)
	return names
}

// Text returns the value of a name in a message as a text that differs for
// different values; ok is false when the message has none, or one that compares
// with nothing.
func Text(v *chunk.View, name string) (text string, ok bool) {
	x := (&identifier{name, fields[name]}).eval(encoded{v})
	if x.kind == null || x.kind == other {
		return "", false
	}
	return x.String(), true
}
