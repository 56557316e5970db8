package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	knownText = "known failure"
	fixedText = "listed as a known failure, but it passes; take it off the list"
)

// tally says counts in the order of Verdicts: "98 passed, 42 not supported".
func tally(counts Counts) string {
	words := map[Verdict]string{
		Pass: "passed", NotSupported: "not supported", Skipped: "skipped", Untested: "untested", Fail: "failed", Error: "errors",
	}
	var parts []string
	for _, v := range Verdicts {
		switch n := counts[v]; {
		case n == 1 && v == Error:
			parts = append(parts, "1 error")
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", n, words[v]))
		}
	}
	if len(parts) == 0 {
		return "no cases"
	}
	return strings.Join(parts, ", ")
}

// visible shows characters that do not print, or that move the text around them,
// and bytes that are not UTF-8 as Go escapes (\x1b), except newlines and tabs.
func visible(s string) string {
	plain := func(r rune) bool { return r == '\n' || r == '\t' || strconv.IsPrint(r) }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(r)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case plain(r):
			b.WriteRune(r)
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// duration says seconds with three digits at most: "840 ms", "1.2 s", "2 m 5 s".
func duration(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d m %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
}
