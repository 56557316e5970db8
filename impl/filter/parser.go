package filter

import (
	"strings"
	"unicode/utf8"
)

// Limits of an expression.
const (
	MaxLength = 64 << 10 // bytes
	MaxDepth  = 200      // of parentheses, NOT and signs inside of each other
	MaxList   = 4096     // values of an IN
)

// parser reads an expression by recursive descent. After a mistake all tokens
// are the end, so that it comes back quickly.
type parser struct {
	lexer
	tok     token
	depth   int
	convert bool
}

// part is a parsed part: a condition, a term, or a term that may stand for a
// condition.
type part struct {
	cond cond
	term term
	at   int
}

func (p *parser) advance() token {
	t := p.tok
	p.tok = p.next()
	if p.err != nil {
		p.tok = token{kind: end, at: len(p.src)}
	}
	return t
}

func (p *parser) wrong(t token, expected string) {
	found := string(t.kind)
	switch {
	case t.kind == name:
		found = "the name " + clip(t.text)
	case t.kind == text:
		found = "the text '" + clip(t.text) + "'"
	case t.kind == number:
		found = "the number " + t.num.String()
	case keywords[found]:
		found = "the word " + found
	case t.kind != end:
		found = "“" + found + "”"
	}
	p.fail(t.at, "%s is expected, not %s", expected, found)
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (p *parser) expect(k kind) token {
	if p.tok.kind != k {
		expected := string(k)
		if k != text && k != name {
			expected = "“" + expected + "”"
		}
		p.wrong(p.tok, expected)
	}
	return p.advance()
}

// accept takes a token of that kind if it is the next.
func (p *parser) accept(k kind) bool {
	if p.tok.kind != k || p.err != nil {
		return false
	}
	p.advance()
	return true
}

// down counts the depth and reports whether it may go on.
func (p *parser) down() bool {
	if p.depth++; p.depth > MaxDepth {
		p.fail(p.tok.at, "parts are more than %d deep inside of each other", MaxDepth)
		return false
	}
	return true
}

// nothing stands for what could not be parsed.
var nothing = part{cond: constant(unknown)}

// parse reads a whole expression.
func parse(src string, convert bool) (cond, *SyntaxError) {
	p := &parser{lexer: lexer{src: src}, convert: convert}
	if len(src) > MaxLength {
		p.fail(0, "the expression has %d bytes, %d are the most", len(src), MaxLength)
		return nil, p.err
	}
	if !utf8.ValidString(src) {
		at := strings.IndexRune(src, utf8.RuneError)
		p.fail(max(at, 0), "the expression is not valid UTF-8")
		return nil, p.err
	}
	p.advance()
	if p.err == nil && p.tok.kind == end {
		p.fail(0, "the expression is empty; a message without a filter needs none")
	}
	x := p.or()
	if p.err == nil && p.tok.kind != end {
		p.wrong(p.tok, "AND, OR or the end")
	}
	c := p.condition(x)
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// condition makes a condition of a part.
func (p *parser) condition(x part) cond {
	if x.cond != nil {
		return x.cond
	}
	if l, ok := x.term.(literal); ok {
		if l.kind != boolean {
			p.fail(x.at, "%s is no condition; compare it with something", clip(l.String()))
		}
		return constant(l.tri())
	}
	if _, ok := x.term.(*identifier); !ok {
		p.fail(x.at, "%s is a number and no condition; compare it with something", clip(x.term.String()))
	}
	return valueIs{x.term, p.convert}
}

// value makes a term of a part.
func (p *parser) value(x part) term {
	if x.term != nil {
		return x.term
	}
	if c, ok := x.cond.(constant); ok {
		return literal{boolOf(tri(c))}
	}
	return truthOf{x.cond}
}

func (p *parser) or() part {
	first := p.and()
	if p.tok.kind != "OR" {
		return first
	}
	cs := []cond{p.condition(first)}
	for p.accept("OR") {
		cs = append(cs, p.condition(p.and()))
	}
	return part{cond: junction(no, cs), at: first.at}
}

func (p *parser) and() part {
	first := p.not()
	if p.tok.kind != "AND" {
		return first
	}
	cs := []cond{p.condition(first)}
	for p.accept("AND") {
		cs = append(cs, p.condition(p.not()))
	}
	return part{cond: junction(yes, cs), at: first.at}
}

func (p *parser) not() part {
	at := p.tok.at
	if !p.accept("NOT") {
		return p.comparison()
	}
	if !p.down() {
		return nothing
	}
	c := p.negate(true, p.condition(p.not()))
	p.depth--
	return part{cond: c, at: at}
}

func (p *parser) negate(not bool, c cond) cond {
	if !not {
		return c
	}
	switch c := c.(type) {
	case constant:
		return -c
	case negation:
		return c.cond
	}
	return negation{c}
}

func (p *parser) comparison() part {
	a := p.sum()
	switch k := p.tok.kind; k {
	case "=", "<>", "<", "<=", ">", ">=":
		p.advance()
		b := p.sum()
		c := &comparison{k, p.value(a), p.value(b), p.convert}
		switch p.tok.kind {
		case "=", "<>", "<", "<=", ">", ">=":
			p.fail(p.tok.at, "AND, OR or the end is expected: comparisons do not follow each other; write a < b AND b < c")
		}
		return part{cond: p.fold(c), at: a.at}
	case "IS":
		p.advance()
		not := p.accept("NOT")
		p.expect("NULL")
		return part{cond: p.negate(not, p.fold(isNull{p.named(a, "IS NULL")})), at: a.at}
	case "NOT", "BETWEEN", "IN", "LIKE", "CONTAINS", "STARTSWITH", "ENDSWITH":
		not := p.accept("NOT")
		return part{cond: p.negate(not, p.fold(p.predicate(a))), at: a.at}
	}
	return a
}

func (p *parser) predicate(a part) cond {
	switch t := p.advance(); t.kind {
	case "BETWEEN":
		v := p.value(a)
		low := p.value(p.sum())
		p.expect("AND")
		high := p.value(p.sum())
		return &between{v, comparison{">=", v, low, p.convert}, comparison{"<=", v, high, p.convert}}
	case "IN":
		return p.list(p.named(a, "IN"))
	case "LIKE":
		v := p.named(a, "LIKE")
		at := p.tok.at
		l := &like{a: v}
		source, escape, wrong := p.expect(text).text, "", ""
		if p.accept("ESCAPE") {
			at = p.tok.at
			escape = p.expect(text).text
			if utf8.RuneCountInString(escape) != 1 {
				p.fail(at, "the escape is one character, for example '\\'")
			}
		}
		if l.pattern, wrong = newPattern(source, escape); wrong != "" {
			p.fail(at, "%s", wrong)
		}
		return l
	case "CONTAINS", "STARTSWITH", "ENDSWITH":
		return &search{p.named(a, string(t.kind)), t.kind, p.expect(text).text}
	default:
		p.wrong(t, "BETWEEN, IN, LIKE, CONTAINS, STARTSWITH or ENDSWITH")
		return constant(unknown)
	}
}

// named demands a name, as JMS does in front of some operators.
func (p *parser) named(x part, op string) term {
	if _, ok := x.term.(*identifier); !ok {
		p.fail(x.at, "in front of %s the name of a property is expected", op)
	}
	return p.value(x)
}

func (p *parser) list(a term) cond {
	m := &member{a: a, convert: p.convert}
	p.expect("(")
	texts := make(map[string]bool)
	for p.err == nil {
		if len(m.values) == MaxList {
			p.fail(p.tok.at, "the list has more than %d values", MaxList)
		}
		at := p.tok.at
		l, ok := p.sign().term.(literal)
		if !ok {
			p.fail(at, "in a list a text, a number, TRUE or FALSE is expected")
			break
		}
		m.values = append(m.values, l.value)
		if l.kind == characters {
			texts[l.text] = true
		}
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	if len(m.values) >= manyTexts && !p.convert && len(texts) > 0 && !m.mixed() {
		m.texts = texts
	}
	return m
}

// mixed reports whether not all values are texts.
func (i *member) mixed() bool {
	for _, v := range i.values {
		if v.kind != characters {
			return true
		}
	}
	return false
}

func (p *parser) sum() part {
	a := p.product()
	for p.tok.kind == "+" || p.tok.kind == "-" {
		op := p.advance().kind
		a = p.calculate(op, a, p.product())
	}
	return a
}

func (p *parser) product() part {
	a := p.sign()
	for p.tok.kind == "*" || p.tok.kind == "/" {
		op := p.advance().kind
		a = p.calculate(op, a, p.sign())
	}
	return a
}

func (p *parser) calculate(op kind, a, b part) part {
	c := &calculation{op, p.number(a), p.number(b), p.convert}
	x, ok1 := c.a.(literal)
	y, ok2 := c.b.(literal)
	if !ok1 || !ok2 {
		return part{term: c, at: a.at}
	}
	v := arithmetic(op, x.value, y.value)
	if v.kind == null && p.err == nil {
		p.fail(a.at, "%s %s %s has no result", x, op, y)
	}
	return part{term: literal{v}, at: a.at}
}

// number refuses what cannot be calculated with.
func (p *parser) number(x part) term {
	t := p.value(x)
	if l, ok := t.(literal); x.cond != nil || ok && !l.isNumber() {
		p.fail(x.at, "a number or the name of a property is expected, not %s", clip(t.String()))
	}
	return t
}

func (p *parser) sign() part {
	at := p.tok.at
	switch {
	case p.accept("+"):
		if !p.down() {
			return nothing
		}
		x := p.sign()
		p.depth--
		return part{term: p.number(x), at: at}
	case p.accept("-"):
		if p.tok.num.min {
			return part{term: literal{value{kind: exact, num: p.advance().num.num}}, at: at}
		}
		if !p.down() {
			return nothing
		}
		x := p.sign()
		p.depth--
		t := p.number(x)
		if l, ok := t.(literal); ok {
			if l.kind == exact {
				l.num = -l.num
			} else {
				l.float = -l.float
			}
			return part{term: l, at: at}
		}
		return part{term: &calculation{"-", literal{value{kind: exact}}, t, p.convert}, at: at}
	}
	return p.primary()
}

func (p *parser) primary() part {
	t := p.advance()
	switch t.kind {
	case "(":
		if !p.down() {
			return nothing
		}
		x := p.or()
		p.expect(")")
		p.depth--
		return part{x.cond, x.term, t.at}
	case name:
		return part{term: &identifier{t.text, fields[t.text]}, at: t.at}
	case text:
		return part{term: literal{value{kind: characters, text: t.text}}, at: t.at}
	case number:
		if t.num.min {
			p.fail(t.at, "the number "+tooLarge)
		}
		return part{term: literal{t.num}, at: t.at}
	case "TRUE":
		return part{term: literal{boolOf(yes)}, at: t.at}
	case "FALSE":
		return part{term: literal{boolOf(no)}, at: t.at}
	}
	p.wrong(t, "a name, a text, a number, TRUE, FALSE or “(”")
	return nothing
}

// fold replaces a condition of constants by its result.
func (p *parser) fold(c cond) cond {
	if p.err != nil {
		return constant(unknown)
	}
	for _, n := range c.parts() {
		if _, ok := n.(literal); !ok {
			return c
		}
	}
	return constant(c.test(nil))
}
