package filter

import (
	"slices"
	"strings"
)

// cond is a part of an expression that is true, false or unknown.
type cond interface {
	node
	test(m subject) tri
}

// term is a part of an expression that has a value.
type term interface {
	node
	eval(m subject) value
}

// node is what conditions and terms have in common.
type node interface {
	String() string
	// cost tells about how long it takes, for doing what is cheap first.
	cost() int
	// parts are the conditions and terms inside.
	parts() []node
}

// Terms.

// literal is a constant.
type literal struct{ value }

func (l literal) eval(subject) value { return l.value }
func (l literal) cost() int          { return 0 }
func (l literal) parts() []node      { return nil }

// identifier is a property or an attribute of the message.
type identifier struct {
	name  string
	field field
}

func (i *identifier) eval(m subject) value {
	if i.field != property {
		return m.field(i.field)
	}
	return m.property(i.name)
}
func (i *identifier) String() string { return i.name }
func (i *identifier) cost() int      { return 4 }
func (i *identifier) parts() []node  { return nil }

// calculation is an arithmetic operation.
type calculation struct {
	op      kind
	a, b    term
	convert bool
}

func (c *calculation) eval(m subject) value {
	a, b := c.a.eval(m), c.b.eval(m)
	if c.convert {
		a, b = a.toNumber(), b.toNumber()
	}
	return arithmetic(c.op, a, b)
}
func (c *calculation) String() string {
	return "(" + c.a.String() + " " + string(c.op) + " " + c.b.String() + ")"
}
func (c *calculation) cost() int     { return 1 + c.a.cost() + c.b.cost() }
func (c *calculation) parts() []node { return []node{c.a, c.b} }

// truthOf is the value of a condition.
type truthOf struct{ cond }

func (t truthOf) eval(m subject) value { return boolOf(t.test(m)) }
func (t truthOf) String() string       { return "(" + t.cond.String() + ")" }

// Conditions.

// constant is a condition that does not depend on the message.
type constant tri

func (c constant) test(subject) tri { return tri(c) }
func (c constant) String() string   { return strings.ToUpper(tri(c).String()) }
func (c constant) cost() int        { return 0 }
func (c constant) parts() []node    { return nil }

// valueIs is a term that stands where a condition is asked for.
type valueIs struct {
	term
	convert bool
}

func (v valueIs) test(m subject) tri {
	x := v.eval(m)
	if v.convert {
		x = x.toBool()
	}
	return x.tri()
}

// every is AND, some is OR.
type every []cond
type some []cond

func (e every) test(m subject) tri {
	t := yes
	for _, c := range e {
		if t = min(t, c.test(m)); t == no {
			break
		}
	}
	return t
}

func (s some) test(m subject) tri {
	t := no
	for _, c := range s {
		if t = max(t, c.test(m)); t == yes {
			break
		}
	}
	return t
}

func (e every) String() string { return "(" + joined(e, " AND ") + ")" }
func (s some) String() string  { return "(" + joined(s, " OR ") + ")" }
func (e every) cost() int      { return total(e) }
func (s some) cost() int       { return total(s) }
func (e every) parts() []node  { return nodes(e) }
func (s some) parts() []node   { return nodes(s) }

func joined(cs []cond, by string) string {
	var b strings.Builder
	for i, c := range cs {
		if i > 0 {
			b.WriteString(by)
		}
		b.WriteString(c.String())
	}
	return b.String()
}

func total(cs []cond) (n int) {
	for _, c := range cs {
		n += c.cost()
	}
	return n
}

func nodes[N node](ns []N) []node {
	out := make([]node, len(ns))
	for i, n := range ns {
		out[i] = n
	}
	return out
}

// junction makes AND, where neutral is yes, or OR, where it is no. The order of
// conditions has no meaning, so cheap ones come first.
func junction(neutral tri, cs []cond) cond {
	var left []cond
	for _, c := range cs {
		if k, ok := c.(constant); ok {
			if tri(k) == neutral {
				continue
			}
			if tri(k) == -neutral {
				return k
			}
		}
		left = append(left, c)
	}
	slices.SortStableFunc(left, func(a, b cond) int { return a.cost() - b.cost() })
	switch {
	case len(left) == 0:
		return constant(neutral)
	case len(left) == 1:
		return left[0]
	case neutral == yes:
		return every(left)
	}
	return some(left)
}

// negation is NOT.
type negation struct{ cond }

func (n negation) test(m subject) tri { return -n.cond.test(m) }
func (n negation) String() string     { return "(NOT " + n.cond.String() + ")" }
func (n negation) parts() []node      { return []node{n.cond} }

// comparison is = <> < <= > >=.
type comparison struct {
	op      kind
	a, b    term
	convert bool
}

func (c *comparison) test(m subject) tri {
	a := c.a.eval(m)
	if a.kind == null {
		return unknown
	}
	return c.compare(a, c.b.eval(m))
}

func (c *comparison) compare(a, b value) tri {
	if c.convert {
		a, b = convert(a, b)
	}
	order, known := compare(a, b)
	if !known || !a.isNumber() && c.op != "=" && c.op != "<>" {
		return unknown
	}
	switch c.op {
	case "=":
		return truth(order == 0)
	case "<>":
		return truth(order != 0)
	case "<":
		return truth(order == -1)
	case "<=":
		return truth(order == -1 || order == 0)
	case ">":
		return truth(order == 1)
	}
	return truth(order == 0 || order == 1)
}

func (c *comparison) String() string { return c.a.String() + " " + string(c.op) + " " + c.b.String() }
func (c *comparison) cost() int      { return 1 + c.a.cost() + c.b.cost() }
func (c *comparison) parts() []node  { return []node{c.a, c.b} }

// between is a >= low AND a <= high, with a looked at once.
type between struct {
	a         term
	low, high comparison
}

func (b *between) test(m subject) tri {
	a := b.a.eval(m)
	if a.kind == null {
		return unknown
	}
	t := b.low.compare(a, b.low.b.eval(m))
	if t == no {
		return no
	}
	return min(t, b.high.compare(a, b.high.b.eval(m)))
}
func (b *between) String() string {
	return b.a.String() + " BETWEEN " + b.low.b.String() + " AND " + b.high.b.String()
}
func (b *between) cost() int     { return 2 + b.a.cost() + b.low.b.cost() + b.high.b.cost() }
func (b *between) parts() []node { return []node{b.a, b.low.b, b.high.b} }

// member is IN.
type member struct {
	a       term
	texts   map[string]bool // nil for few values
	values  []value
	convert bool
}

// manyTexts is from how many texts on a map is faster.
const manyTexts = 12

func (i *member) test(m subject) tri {
	a := i.a.eval(m)
	switch {
	case a.kind == null:
		return unknown
	case i.texts != nil && a.kind == characters:
		return truth(i.texts[a.text])
	}
	t := no
	for k := range i.values {
		x, y := a, i.values[k]
		if i.convert {
			x, y = convert(x, y)
		}
		order, known := compare(x, y)
		switch {
		case !known:
			t = unknown
		case order == 0:
			return yes
		}
	}
	return t
}

func (i *member) String() string {
	var b strings.Builder
	b.WriteString(i.a.String() + " IN (")
	for k, v := range i.values {
		if k > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v.String())
	}
	return b.String() + ")"
}
func (i *member) cost() int     { return 2 + i.a.cost() + min(len(i.values), manyTexts) }
func (i *member) parts() []node { return []node{i.a} }

// like is LIKE.
type like struct {
	a       term
	pattern pattern
}

func (l *like) test(m subject) tri {
	a := l.a.eval(m)
	if a.kind != characters {
		return unknown
	}
	return truth(l.pattern.matches(a.text))
}
func (l *like) String() string { return l.a.String() + " LIKE " + l.pattern.String() }
func (l *like) cost() int      { return 8 + l.a.cost() }
func (l *like) parts() []node  { return []node{l.a} }

// isNull is IS NULL.
type isNull struct{ a term }

func (i isNull) test(m subject) tri { return truth(i.a.eval(m).kind == null) }
func (i isNull) String() string     { return i.a.String() + " IS NULL" }
func (i isNull) cost() int          { return i.a.cost() }
func (i isNull) parts() []node      { return []node{i.a} }

// search is CONTAINS, STARTSWITH or ENDSWITH.
type search struct {
	a    term
	op   kind
	text string
}

func (s *search) test(m subject) tri {
	a := s.a.eval(m)
	if a.kind != characters {
		return unknown
	}
	switch s.op {
	case "CONTAINS":
		return truth(strings.Contains(a.text, s.text))
	case "STARTSWITH":
		return truth(strings.HasPrefix(a.text, s.text))
	}
	return truth(strings.HasSuffix(a.text, s.text))
}
func (s *search) String() string {
	return s.a.String() + " " + string(s.op) + " " + value{kind: characters, text: s.text}.String()
}
func (s *search) cost() int     { return 4 + s.a.cost() }
func (s *search) parts() []node { return []node{s.a} }
