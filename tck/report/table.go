package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

const (
	tableWidth = 80   // columns of the table
	tableMost  = 1000 // characters of a message in the table
)

// WriteTable writes what a terminal shows at the end of a run: the profiles with
// conclusion and counts; the cases that did not pass though they ran,
// with their messages, grouped by verdict and message, the worst last; the
// reason; and one last line such as
//
//	conformant: 98 passed, 42 not supported
//
// The counts are in the order of [Verdicts], without those that are zero. Names
// and messages are wrapped at 80 characters; messages are cut after 1000. Control
// characters, escape sequences of terminals for example, are written as Go escapes.
// It fails only when the writer does. It does not change the report, so that it may
// be called at the same time as other readers of r.
func WriteTable(w io.Writer, r *Report) error {
	var b bytes.Buffer
	tab := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, p := range r.Profiles {
		fmt.Fprintf(tab, "%s\t%s\t%s\n", line(p.Name), line(string(p.Conclusion)), tally(p.Counts))
	}
	tab.Flush() // to memory: it does not fail
	for _, v := range Verdicts {
		if groups := notable(r.Cases, v); len(groups) > 0 {
			fmt.Fprintf(&b, "\n%s\n", v)
			for _, g := range groups {
				wrap(&b, "  ", strings.Join(g.names, ", "))
				wrap(&b, "      ", shorten(g.message))
			}
		}
	}
	b.WriteByte('\n')
	wrap(&b, "", r.Reason)
	fmt.Fprintf(&b, "%s: %s\n", line(string(r.Conclusion)), tally(r.Counts))
	_, err := w.Write(b.Bytes())
	return err
}

// group is cases of one verdict with the same message.
type group struct {
	names   []string
	message string
}

// notable returns the cases of a verdict that are worth a line.
func notable(cases []Case, v Verdict) (groups []group) {
	for _, c := range cases {
		message := c.Message
		switch {
		case c.Verdict != v:
			continue
		case fixed(c):
			message = fixedText
		case v == Fail && c.Known:
			message = said(knownText, c.Message)
		case v == Pass || v == NotSupported || v == Skipped:
			continue
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.message == message })
		if i < 0 {
			i, groups = len(groups), append(groups, group{message: message})
		}
		groups[i].names = append(groups[i].names, c.Name())
	}
	return groups
}

// shorten cuts a message after tableMost characters and says so.
func shorten(message string) string {
	if n := utf8.RuneCountInString(message); n > tableMost {
		return fmt.Sprintf("%s ... (%d more characters)", cut(message, tableMost), n-tableMost)
	}
	return message
}

// line makes a text one line.
func line(s string) string { return strings.Join(strings.Fields(visible(s)), " ") }

// wrap writes text in lines of tableWidth characters at most, each after indent.
// Lines of the text stay lines; words that are too long are cut. An empty text
// writes nothing.
func wrap(b *bytes.Buffer, indent, text string) {
	room := tableWidth - len(indent)
	for paragraph := range strings.Lines(visible(text)) {
		free := 0
		for _, word := range strings.Fields(paragraph) {
			for word != "" {
				part := cut(word, room)
				switch n := utf8.RuneCountInString(part); {
				case free > n:
					b.WriteString(" " + part)
					free -= n + 1
				case free == 0 && b.Len() > 0 && b.Bytes()[b.Len()-1] == '\n' || b.Len() == 0:
					b.WriteString(indent + part)
					free = room - n
				default:
					b.WriteString("\n" + indent + part)
					free = room - n
				}
				word = word[len(part):]
			}
		}
		if strings.TrimSpace(paragraph) != "" {
			b.WriteByte('\n')
		}
	}
}

// cut returns the first n characters of s.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
