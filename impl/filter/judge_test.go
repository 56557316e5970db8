package filter

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var judged = flag.Int("judge", 200_000, "pairs of expression and row that the judge compares")

// The judge evaluates expressions by tables, written down apart from the
// package: trees of its own, printed as text for Parse.

// cell is a value of a row or of a tree: nil, bool, int64, float64 or string.
// truth is "T", "F" or "U".

type row map[string]any

var judgeNames = []string{"a", "b", "c", "d", "e"}

// notTable, andTable and orTable are SQL's.
var (
	notTable = map[string]string{"T": "F", "F": "T", "U": "U"}
	andTable = map[string]string{"TT": "T", "TF": "F", "TU": "U", "FT": "F", "FF": "F", "FU": "F", "UT": "U", "UF": "F", "UU": "U"}
	orTable  = map[string]string{"TT": "T", "TF": "T", "TU": "T", "FT": "T", "FF": "F", "FU": "U", "UT": "T", "UF": "U", "UU": "U"}
)

// tree is a condition or a value.
type tree struct {
	text  string
	truth func(row) string // of a condition
	value func(row) any    // of a value
}

func pick[T interface{}](t *rapid.T, of []T) T {
	return of[rapid.IntRange(0, len(of)-1).Draw(t, "pick")]
}

func drawCell(t *rapid.T) any {
	switch rapid.IntRange(0, 5).Draw(t, "cell") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return float64(rapid.IntRange(-6, 6).Draw(t, "half")) / 2
	case 3:
		return pick(t, []string{"", "x", "xy", "yx", "x%", "_", "ä", "1"})
	}
	return int64(rapid.IntRange(-3, 3).Draw(t, "int"))
}

func drawRow(t *rapid.T) row {
	r := row{}
	for _, n := range judgeNames {
		if c := drawCell(t); c != nil {
			r[n] = c
		}
	}
	return r
}

func printed(c any) string {
	switch c := c.(type) {
	case bool:
		return strings.ToUpper(fmt.Sprint(c))
	case float64:
		return fmt.Sprintf("%.1f", c)
	case string:
		return "'" + strings.ReplaceAll(c, "'", "''") + "'"
	}
	return fmt.Sprint(c)
}

func drawName(t *rapid.T) tree {
	n := pick(t, judgeNames)
	return tree{text: n, value: func(r row) any { return r[n] }}
}

// drawNumber draws what may be calculated with.
func drawNumber(t *rapid.T, depth int) tree {
	switch kind := rapid.IntRange(0, 4).Draw(t, "number"); {
	case kind == 0 || depth == 0 && kind > 2:
		c := drawCell(t)
		switch c.(type) {
		case int64, float64:
			return tree{text: printed(c), value: func(row) any { return c }}
		}
		fallthrough
	case kind < 3:
		return drawName(t)
	}
	a, b, op := drawNumber(t, depth-1), drawNumber(t, depth-1), pick(t, []string{"+", "-", "*"})
	return tree{text: "(" + a.text + " " + op + " " + b.text + ")", value: func(r row) any { return calculated(op, a.value(r), b.value(r)) }}
}

func calculated(op string, a, b any) any {
	x, ok1 := a.(int64)
	y, ok2 := b.(int64)
	if ok1 && ok2 {
		return map[string]int64{"+": x + y, "-": x - y, "*": x * y}[op]
	}
	f, ok1 := asFloat(a)
	g, ok2 := asFloat(b)
	if !ok1 || !ok2 {
		return nil
	}
	return map[string]float64{"+": f + g, "-": f - g, "*": f * g}[op]
}

func asFloat(a any) (float64, bool) {
	switch a := a.(type) {
	case int64:
		return float64(a), true
	case float64:
		return a, true
	}
	return 0, false
}

func drawValue(t *rapid.T, depth int) tree {
	if rapid.Bool().Draw(t, "constant") {
		if c := drawCell(t); c != nil {
			return tree{text: printed(c), value: func(row) any { return c }}
		}
	}
	return drawNumber(t, depth)
}

// same, less: "T", "F" or "U".
func same(a, b any) string {
	if a == nil || b == nil {
		return "U"
	}
	f, ok1 := asFloat(a)
	g, ok2 := asFloat(b)
	switch {
	case ok1 && ok2:
		return letter(f == g)
	case fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b):
		return "U"
	}
	return letter(a == b)
}

func less(a, b any) string {
	f, ok1 := asFloat(a)
	g, ok2 := asFloat(b)
	if !ok1 || !ok2 {
		return "U"
	}
	return letter(f < g)
}

func letter(b bool) string { return map[bool]string{true: "T", false: "F"}[b] }

func compared(op string, a, b any) string {
	switch op {
	case "=":
		return same(a, b)
	case "<>":
		return notTable[same(a, b)]
	case "<":
		return less(a, b)
	case ">":
		return less(b, a)
	case "<=":
		return notTable[less(b, a)]
	}
	return notTable[less(a, b)]
}

func drawCondition(t *rapid.T, depth int) tree {
	not := pick(t, []string{"", "NOT "})
	negated := func(s string) string {
		if not != "" {
			return notTable[s]
		}
		return s
	}
	kind := rapid.IntRange(0, 12).Draw(t, "condition")
	if depth == 0 {
		kind %= 8
	}
	switch kind {
	case 0, 1:
		a, b, op := drawValue(t, 1), drawValue(t, 1), pick(t, []string{"=", "<>", "<", "<=", ">", ">="})
		return tree{text: a.text + " " + op + " " + b.text, truth: func(r row) string { return compared(op, a.value(r), b.value(r)) }}
	case 2:
		a, low, high := drawNumber(t, 1), drawNumber(t, 1), drawNumber(t, 1)
		return tree{text: a.text + " " + not + "BETWEEN " + low.text + " AND " + high.text, truth: func(r row) string {
			v := a.value(r)
			return negated(andTable[compared(">=", v, low.value(r))+compared("<=", v, high.value(r))])
		}}
	case 3:
		a := drawName(t)
		var texts []string
		var cells []any
		for range rapid.IntRange(1, 15).Draw(t, "list") {
			if c := drawCell(t); c != nil {
				texts, cells = append(texts, printed(c)), append(cells, c)
			}
		}
		if len(cells) == 0 {
			texts, cells = []string{"'x'"}, []any{"x"}
		}
		return tree{text: a.text + " " + not + "IN (" + strings.Join(texts, ", ") + ")", truth: func(r row) string {
			out := "F"
			for _, c := range cells {
				out = orTable[out+same(a.value(r), c)]
			}
			return negated(out)
		}}
	case 4:
		a, p := drawName(t), pick(t, []string{"", "%", "_", "x%", "%x", "_y", "%x%", "x_", "x!%", "!_", "%_%", "__"})
		return tree{text: a.text + " " + not + "LIKE '" + p + "' ESCAPE '!'", truth: func(r row) string {
			s, ok := r[a.text].(string)
			if !ok {
				return "U"
			}
			return negated(letter(slowLike([]rune(p), []rune(s))))
		}}
	case 5:
		a := drawName(t)
		return tree{text: a.text + " IS " + not + "NULL", truth: func(r row) string { return negated(letter(a.value(r) == nil)) }}
	case 6:
		a := drawName(t)
		return tree{text: a.text, truth: func(r row) string {
			b, ok := a.value(r).(bool)
			if !ok {
				return "U"
			}
			return letter(b)
		}}
	case 7:
		a, op, s := drawName(t), pick(t, []string{"CONTAINS", "STARTSWITH", "ENDSWITH"}), pick(t, []string{"", "x", "y", "ä"})
		return tree{text: a.text + " " + not + op + " '" + s + "'", truth: func(r row) string {
			v, ok := r[a.text].(string)
			if !ok {
				return "U"
			}
			return negated(letter(map[string]func(string, string) bool{
				"CONTAINS": strings.Contains, "STARTSWITH": strings.HasPrefix, "ENDSWITH": strings.HasSuffix,
			}[op](v, s)))
		}}
	case 8:
		a := drawCondition(t, depth-1)
		return tree{text: "NOT (" + a.text + ")", truth: func(r row) string { return notTable[a.truth(r)] }}
	}
	a, b := drawCondition(t, depth-1), drawCondition(t, depth-1)
	if kind%2 == 0 {
		return tree{text: "(" + a.text + ") AND (" + b.text + ")", truth: func(r row) string { return andTable[a.truth(r)+b.truth(r)] }}
	}
	return tree{text: "(" + a.text + ") OR (" + b.text + ")", truth: func(r row) string { return orTable[a.truth(r)+b.truth(r)] }}
}

func slowLike(p, s []rune) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == '%':
		return slowLike(p[1:], s) || len(s) > 0 && slowLike(p, s[1:])
	case p[0] == '!':
		return len(s) > 0 && s[0] == p[1] && slowLike(p[2:], s[1:])
	}
	return len(s) > 0 && (p[0] == '_' || p[0] == s[0]) && slowLike(p[1:], s[1:])
}

func (r row) message() *om.Message {
	m := om.NewMessage("q", nil)
	m.BornAt = time.UnixMilli(1)
	for k, c := range r {
		switch c := c.(type) {
		case bool:
			m.Properties[k] = om.Bool(c)
		case int64:
			m.Properties[k] = om.Long(c)
		case float64:
			m.Properties[k] = om.Double(c)
		case string:
			m.Properties[k] = om.String(c)
		}
	}
	return m
}

// TestJudge compares what expressions give with the judge.
func TestJudge(t *testing.T) {
	const rows = 50
	pairs := 0
	for pairs < *judged {
		rapid.Check(t, func(t *rapid.T) {
			tr := drawCondition(t, 4)
			f, err := Parse(tr.text, Options{})
			if err != nil {
				t.Fatalf("%s: %v", tr.text, err)
			}
			for range rows {
				r := drawRow(t)
				m := r.message()
				want := map[string]tri{"T": yes, "F": no, "U": unknown}[tr.truth(r)]
				if got := f.cond.test(decoded{m}); got != want {
					t.Fatalf("%s is %v for %v, the judge says %v", tr.text, got, r, want)
				}
				if f.Match(viewOf(t, m)) != (want == yes) {
					t.Fatalf("%s for %v in a chunk", tr.text, r)
				}
				pairs++
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d pairs compared", pairs)
}
