package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"seconds":  seconds,
	"counted":  tally,
	"words":    func(v Verdict) string { return strings.ReplaceAll(string(v), "-", " ") },
	"share":    func(n, all int) string { return fmt.Sprintf("%.3f%%", 100*float64(n)/float64(max(1, all))) },
	"join":     strings.Join,
	"verdicts": func() []Verdict { return Verdicts },
}).Parse(page))

func seconds(s float64) string {
	switch {
	case s >= 100:
		return fmt.Sprintf("%.0f s", s)
	case s >= 0.0995:
		return fmt.Sprintf("%.1f s", s)
	default:
		return fmt.Sprintf("%.0f ms", 1000*s)
	}
}

// pageData is what the page shows.
type pageData struct {
	*Report
	Areas      []string
	Declared   []Profile
	Undeclared []string // names
}

// WriteHTML writes r as one page that needs nothing else: no network, no other
// file. It works without scripts; with them rows can be filtered. Everything
// from the report is escaped.
func WriteHTML(w io.Writer, r *Report) error {
	data := pageData{Report: r}
	for _, p := range r.Profiles {
		if p.Conclusion == Undeclared {
			data.Undeclared = append(data.Undeclared, strings.TrimPrefix(p.Name, "extended/"))
		} else {
			data.Declared = append(data.Declared, p)
		}
	}
	seen := make(map[string]bool)
	for _, c := range r.Cases {
		if !seen[c.Area] {
			seen[c.Area] = true
			data.Areas = append(data.Areas, c.Area)
		}
	}
	return pageTemplate.Execute(w, data)
}
