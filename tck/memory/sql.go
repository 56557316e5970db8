package memory

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// The grammar of SQL filters. Keywords may be written in any case; names of
// properties and header fields that are not plain words go in double quotes.
//
//	or      = and {"OR" and}
//	and     = not {"AND" not}
//	not     = {"NOT"} test
//	test    = operand [compare operand | "IS" ["NOT"] "NULL" | ["NOT"] (in | between | like)]
//	compare = "=" | "<>" | "<" | "<=" | ">" | ">="
//	in      = "IN" "(" operand {"," operand} ")"
//	between = "BETWEEN" operand "AND" operand
//	like    = "LIKE" string ["ESCAPE" string]
//	operand = name | number | string | "TRUE" | "FALSE" | "(" or ")"

// node is a part of an expression.
type node struct {
	eval    func(*om.Message) value
	logical bool // may be true or false
}

// parser reads tokens. Keywords are in upper case, strings begin with ' and
// names with ".
type parser struct {
	tokens []string
	depth  int
}

// malformed is what the parser panics with; parseSQL makes it an error.
type malformed struct{ error }

func fail(format string, args ...any) { panic(malformed{fmt.Errorf(format, args...)}) }

// parseSQL parses a filter; messages pass for which it is true, and not those
// for which it is unknown.
func parseSQL(expression string) (f filter, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, ok := r.(malformed)
			if !ok {
				panic(r)
			}
			err = m.error
		}
	}()
	p := &parser{tokens: scan(expression)}
	n := logical(p.or())
	p.expect("")
	return func(m *om.Message) bool { return n.eval(m) == true }, nil
}

var (
	token    = regexp.MustCompile(`^\s*('(?:[^']|'')*'|"(?:[^"]|"")+"|[A-Za-z_$][\w$.]*|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|<>|<=|>=|[=<>(),])`)
	keywords = regexp.MustCompile(`^(?i:OR|AND|NOT|IS|NULL|IN|BETWEEN|LIKE|ESCAPE|TRUE|FALSE)$`)
	word     = regexp.MustCompile(`^[A-Za-z_$]`)
)

func scan(s string) (tokens []string) {
	for s = strings.TrimSpace(s); s != ""; {
		found := token.FindStringSubmatch(s)
		if found == nil {
			fail("nothing begins with %.20s", s)
		}
		s = strings.TrimSpace(s[len(found[0]):])
		t := found[1]
		switch quote := t[:1]; {
		case quote == "'" || quote == `"`:
			t = quote + strings.ReplaceAll(t[1:len(t)-1], quote+quote, quote)
		case keywords.MatchString(t):
			t = strings.ToUpper(t)
		case word.MatchString(t):
			t = `"` + t
		}
		tokens = append(tokens, t)
	}
	return append(tokens, "") // the end
}

// accept takes the next token if it is t.
func (p *parser) accept(t string) bool {
	if p.tokens[0] != t {
		return false
	}
	p.next()
	return true
}

func (p *parser) next() (t string) {
	t = p.tokens[0]
	if t != "" {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) expect(t string) {
	if !p.accept(t) {
		fail("%q stands where %q is wanted", p.tokens[0], t)
	}
}

// logical refuses what is neither true nor false.
func logical(n node) node {
	if !n.logical {
		fail("a condition is wanted where a text or a number stands")
	}
	return n
}

func (p *parser) or() node {
	n := p.and()
	for p.accept("OR") {
		a, b := logical(n), logical(p.and())
		n = node{func(m *om.Message) value { return or(a.eval(m), b.eval(m)) }, true}
	}
	return n
}

func (p *parser) and() node {
	n := p.not()
	for p.accept("AND") {
		a, b := logical(n), logical(p.not())
		n = node{func(m *om.Message) value { return and(a.eval(m), b.eval(m)) }, true}
	}
	return n
}

func (p *parser) not() node {
	if !p.accept("NOT") {
		return p.test()
	}
	return negateIf(true, logical(p.nested((*parser).not)))
}

func negateIf(negated bool, n node) node {
	if !negated {
		return n
	}
	return node{func(m *om.Message) value { return not(n.eval(m)) }, true}
}

// nested bounds how deep an expression may go.
func (p *parser) nested(part func(*parser) node) node {
	if p.depth++; p.depth > 100 {
		fail("it is nested more than 100 deep")
	}
	defer func() { p.depth-- }()
	return part(p)
}

func (p *parser) test() node {
	a := p.operand()
	switch op := p.tokens[0]; op {
	case "=", "<>", "<", "<=", ">", ">=":
		p.next()
		b := p.operand()
		return node{func(m *om.Message) value { return compare(op, a.eval(m), b.eval(m)) }, true}
	case "IS":
		p.next()
		negated := p.accept("NOT")
		p.expect("NULL")
		return negateIf(negated, node{func(m *om.Message) value { return a.eval(m) == nil }, true})
	case "NOT", "IN", "BETWEEN", "LIKE":
		return negateIf(p.accept("NOT"), p.predicate(a))
	}
	return a
}

func (p *parser) predicate(a node) node {
	switch op := p.next(); op {
	case "IN":
		p.expect("(")
		list := []node{p.operand()}
		for p.accept(",") {
			list = append(list, p.operand())
		}
		p.expect(")")
		return node{func(m *om.Message) value {
			var found value = false
			for _, b := range list {
				found = or(found, compare("=", a.eval(m), b.eval(m)))
			}
			return found
		}, true}
	case "BETWEEN":
		low := p.operand()
		p.expect("AND")
		high := p.operand()
		return node{func(m *om.Message) value {
			return and(compare(">=", a.eval(m), low.eval(m)), compare("<=", a.eval(m), high.eval(m)))
		}, true}
	case "LIKE":
		pattern, ok := strings.CutPrefix(p.next(), "'")
		if !ok {
			fail("a string in single quotes must follow LIKE")
		}
		escape := ""
		if p.accept("ESCAPE") {
			if escape, ok = strings.CutPrefix(p.next(), "'"); !ok || utf8.RuneCountInString(escape) != 1 {
				fail("a string of one character in single quotes must follow ESCAPE")
			}
		}
		re := likePattern(pattern, escape)
		return node{func(m *om.Message) value {
			if s, ok := a.eval(m).(string); ok {
				return re.MatchString(s)
			}
			return nil
		}, true}
	default:
		fail("%q stands where IN, BETWEEN or LIKE is wanted", op)
		return node{}
	}
}

func (p *parser) operand() node {
	t := p.next()
	constant := func(v value) node { return node{eval: func(*om.Message) value { return v }} }
	switch {
	case t == "(":
		n := p.nested((*parser).or)
		p.expect(")")
		return n
	case t == "TRUE", t == "FALSE":
		return node{func(*om.Message) value { return t == "TRUE" }, true}
	case strings.HasPrefix(t, "'"):
		return constant(t[1:])
	case strings.HasPrefix(t, `"`):
		return node{func(m *om.Message) value { return lookup(m, t[1:]) }, true}
	}
	if n, err := strconv.ParseInt(t, 10, 64); err == nil {
		return constant(n)
	}
	f, err := strconv.ParseFloat(t, 64)
	if err != nil {
		fail("%q stands where a name or a value is wanted", t)
	}
	return constant(f)
}

// likePattern turns a pattern of LIKE into one of package regexp.
func likePattern(pattern, escape string) *regexp.Regexp {
	var b strings.Builder
	escaped := false
	for _, r := range pattern {
		c := string(r)
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(c))
			escaped = false
		case c == escape:
			escaped = true
		case c == "%":
			b.WriteString(".*")
		case c == "_":
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(c))
		}
	}
	return regexp.MustCompile(`(?s)\A` + b.String() + `\z`)
}
