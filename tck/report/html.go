package report

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

var (
	//go:embed page.html
	page string
	//go:embed page.css
	style string
	//go:embed page.js
	script string
)

// policy lets the page run its own style and script, known by their digests, and
// nothing else: no network, and no script that comes with a text.
var policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; img-src data:; base-uri 'none'; form-action 'none'",
	digest(style), digest(script))

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"duration": duration,
	"fixed":    fixed,
	"group":    func(profile string) string { return visible(strings.TrimSuffix(profile, plain(profile))) },
	"meaning":  meaning,
	"note":     note,
	"plain":    func(profile string) string { return visible(plain(profile)) },
	"tally":    tally,
	"tone":     tone,
	"visible":  visible,
	"words":    func(word any) string { return strings.ReplaceAll(visible(fmt.Sprint(word)), "-", " ") },
}).Parse(page))

// pageData is what the page shows.
type pageData struct {
	*Report
	Name       string
	Date       time.Time // UTC
	Policy     string
	Style      template.CSS
	Script     template.JS
	Bar        []segment
	Areas      []string // sorted
	Declared   []Profile
	Undeclared []string // names
}

// segment is a verdict's part of the bar, which is 100 wide.
type segment struct {
	Verdict     Verdict
	Count       int
	From, Width float64
}

// WriteHTML writes the report as one page that needs nothing else: no network,
// which its content security policy forbids, and no other file. Without scripts
// it shows all rows; with them rows can be filtered by verdict, area and text, and
// the address (after #) keeps the filters and the theme.
//
// Everything from the report is escaped; characters that do not print, or that
// move the text around them, are written as Go escapes. It fails only when the
// writer does. It does not change the report, so that it may be called at the same
// time as other readers of r.
func WriteHTML(w io.Writer, r *Report) error {
	data := pageData{
		Report: r, Name: visible(r.Target.Name), Date: r.Started.UTC(),
		Policy: policy, Style: template.CSS(style), Script: template.JS(script),
	}
	for _, p := range r.Profiles {
		if p.Conclusion == Undeclared {
			data.Undeclared = append(data.Undeclared, plain(p.Name))
		} else {
			data.Declared = append(data.Declared, p)
		}
	}
	counts := Count(r.Cases)
	from := 0.0
	for _, v := range Verdicts {
		if n := counts[v]; n > 0 {
			width := 100 * float64(n) / float64(len(r.Cases))
			data.Bar = append(data.Bar, segment{v, n, from, width})
			from += width
		}
	}
	for _, c := range r.Cases {
		data.Areas = append(data.Areas, visible(c.Area))
	}
	slices.Sort(data.Areas)
	data.Areas = slices.Compact(data.Areas)
	b := bufio.NewWriter(w)
	if err := pageTemplate.Execute(b, data); err != nil {
		return err
	}
	return b.Flush()
}

// tone returns the verdict whose colour a conclusion has.
func tone(c Conclusion) Verdict {
	switch c {
	case Conformant:
		return Pass
	case Partial:
		return Untested
	case NotConformant:
		return Fail
	case Broken:
		return Error
	default:
		return NotSupported
	}
}

// meaning says what a conclusion means, where the report gives no reason.
func meaning(c Conclusion) string {
	switch c {
	case Conformant:
		return "Every requirement that applies holds."
	case Partial:
		return "What ran passed, but something was left out."
	case NotConformant:
		return "At least one requirement does not hold."
	case Broken:
		return "The harness or the environment failed."
	default:
		return "It is not declared."
	}
}

// plain returns the name of a profile without "extended/".
func plain(profile string) string { return strings.TrimPrefix(profile, "extended/") }

// fixed tells that a case passes though it is listed as a known failure.
func fixed(c Case) bool { return c.Known && c.Verdict == Pass }

// note returns what a row says below the requirement.
func note(c Case) string {
	if fixed(c) {
		return said(fixedText, c.Message)
	}
	return c.Message
}
