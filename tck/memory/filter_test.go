package memory_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck/memory"
)

func TestR090_filters(t *testing.T) {
	bubble(t, func(f *fixture) {
		fl := as[spi.Filterer](f, f.conn)
		red, blue := property("colour", om.String("red")), property("colour", om.String("blue"))
		r := f.receiver("q", "g")
		f.send(msg("1", red), msg("2", blue))
		f.ok(fl.SetFilter(f.Context(), "q", om.SQL("colour = 'red'")))
		f.send(msg("3", red), msg("4"))
		f.gets(r, "1", "3")
		f.empty(r)
		for _, bad := range []om.Filter{om.SQL("colour ="), om.SQL(""), om.Tag("a ||"), {Type: "xpath", Expression: "/a"}, {Expression: "a"}, om.SQL(long(memory.MaxExpression + 1))} {
			f.is(fl.SetFilter(f.Context(), "q", bad), om.CodeBadParameter)
		}
		f.send(msg("5", blue), msg("6", red))
		f.gets(r, "6") // the filter is still there
		got, err := as[spi.Streamer](f, f.conn).ReadAt(f.Context(), "q", 0, 0, 9)
		f.ok(err)
		if fmt.Sprint(bodies(got)) != "[1 3 6]" {
			t.Errorf("the stream has %q", bodies(got))
		}
		f.ok(fl.SetFilter(f.Context(), "q", om.Filter{}))
		f.gets(r, "2", "4", "5")
		f.is(fl.SetFilter(f.Context(), "x", om.Filter{}), om.CodeDestinationNotFound)

		f.ok(fl.SetFilter(f.Context(), "q", om.Tag("a || b")))
		tag := func(s string) func(*om.Message) { return property(om.PropertyTags, om.String(s)) }
		f.send(msg("7", tag("a")), msg("8", tag("c")), msg("9", tag("b")), msg("10"))
		f.gets(r, "7", "9")
	})
}

func TestSQL(t *testing.T) {
	bubble(t, func(f *fixture) {
		r, fl := f.receiver("q", "g"), as[spi.Filterer](f, f.conn)
		f.send(msg("m", key("k"), priority(7), property("n", om.Integer(5)), property("big", om.Long(math.MaxInt64)),
			property("f", om.Double(2.5)), property("nan", om.Float(float32(math.NaN()))), property("s", om.String("it's a (test)")),
			property("yes", om.Bool(true)), property("no", om.Bool(false)), property("bin", om.Binary([]byte("x"))),
			property("odd key", om.Short(1)), property("qos", om.String("mine"))))
		for expression, want := range map[string]bool{
			"n = 5": true, "n <> 5": false, "n < 6": true, "n <= 5": true, "n > 5": false, "n >= 5.0": true, "5 = n": true,
			"n = -5": false, "n > -5": true, "f = 2.5": true, "f > 2": true, "f < 25e-1": false, "big = 9223372036854775807": true,
			"big = 9223372036854775806": false, "nan = nan": false, "nan <> nan": false, "nan IS NOT NULL": true,
			"s = 'it''s a (test)'": true, "s < 'j'": true, "s = 5": false, "s <> 5": false, "n = '5'": false,
			"yes": true, "no": false, "NOT no": true, "not not yes": true, "yes = TRUE": true, "yes <> false": true, "yes > no": false,
			"bin IS NULL": false, "bin = 'x'": false, "n": false, "gone": false, "NOT gone": false, "NOT n": false,
			"gone IS NULL": true, "gone IS NOT NULL": false, "gone = 1": false, "NOT gone = 1": false, "gone <> 1": false,
			"gone = 1 OR n = 5": true, "n = 5 OR gone = 1": true, "gone = 1 AND n = 5": false, "NOT (gone = 1 AND n = 6)": true,
			"NOT (gone = 1 OR n = 6)": false, "n = 6 OR n = 5 AND yes": true, "(n = 6 OR n = 5) AND no": false, "n=5 and(yes)": true,
			"n IN (1, 5)": true, "n NOT IN (1, 5)": false, "n IN (1, gone)": false, "n NOT IN (1, gone)": false, "s IN ('a')": false,
			"n BETWEEN 5 AND 6": true, "n NOT BETWEEN 5 AND 6": false, "n BETWEEN 6 AND 5": false, "gone NOT BETWEEN 1 AND 2": false,
			"n BETWEEN 1 AND 9 AND yes": true, "s LIKE 'it%test)'": true, "s LIKE 'it_s%'": true, "s LIKE 'it'": false,
			"s NOT LIKE '%x%'": true, "n LIKE '5'": false, "gone NOT LIKE '%'": false, "s LIKE '%.%'": false,
			`"odd key" = 1`: true, "messageKey = 'k'": true, "priority = 7": true, "qos = 'mine'": true, "traceId IS NULL": true,
			"expireTime IS NULL": true, "bornTimestamp > 0": true, "destination = 'q'": true, "delayTime = 0": true, "TRUE": true, "FALSE": false,
		} {
			f.ok(fl.SetFilter(f.Context(), "q", om.SQL(expression)))
			got, err := as[spi.Streamer](f, f.conn).ReadAt(f.Context(), "q", 0, 0, 1)
			f.ok(err)
			if (len(got) == 1) != want {
				t.Errorf("%s: matches %t", expression, !want)
			}
		}
		for _, malformed := range []string{
			"", " ", "n =", "= 5", "n == 5", "n = 5 AND", "OR", "(n = 5", "n = 5)", "n = 'a", `"n = 5`, "n IN ()", "n IN (1", "n IN 1",
			"n BETWEEN 1", "n BETWEEN 1 OR 2", "s LIKE 5", "n IS 5", "n NOT 5", "n IS NOT", "5", "'a'", "n = 5 AND 'a'", "NOT 5", "1e999 = n",
			"n ! 5", "n = 5; DROP", "n = 5 n = 5", "s LIKE", "\xff = 1", "s LIKE '\xff'", strings.Repeat("(", 200), "NULL", "n = NULL",
			strings.Repeat("NOT ", 200) + "yes", "a = 1 = 2",
		} {
			f.is(fl.SetFilter(f.Context(), "q", om.SQL(malformed)), om.CodeBadParameter)
		}
		f.ok(fl.SetFilter(f.Context(), "q", om.SQL("n = 5")))
		f.gets(r, "m")
		got, err := r.Receive(f.Context(), 1) // filters let redeliveries pass too
		f.ok(err)
		f.ack(r, got...)
	})
}
