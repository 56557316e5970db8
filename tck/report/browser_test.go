package report_test

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx context.Context
	url string

	mu    sync.Mutex
	wrong []string // errors and requests
}

// open opens the page of a report in chromium. Everything the browser does is
// over after 30 seconds.
func open(t *testing.T, r *report.Report) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	switch {
	case err != nil && os.Getenv("TEST_PROGRAMS") == "required":
		t.Fatal("the page is tested in a browser: install it by `apt-get install -y chromium`")
	case err != nil:
		t.Skip("NOT TESTED: the page needs a browser; install it by `apt-get install -y chromium`")
	}
	var page bytes.Buffer
	if err := report.WriteHTML(&page, r); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	// The browser may tell more than this version of the protocol knows.
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	b := &tab{T: t, ctx: ctx, url: "file://" + file}
	chromedp.ListenTarget(ctx, b.listen)
	b.do(network.Enable(), runtime.Enable(), log.Enable(), chromedp.EmulateViewport(1280, 900), chromedp.Navigate(b.url))
	return b
}

// listen notes what a page of one file must not do.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.wrong = append(b.wrong, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.wrong = append(b.wrong, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
	case *network.EventRequestWillBeSent:
		if url, _, _ := strings.Cut(e.Request.URL, "#"); url != b.url && url != "about:blank" && !strings.HasPrefix(url, "data:") {
			b.wrong = append(b.wrong, "request of "+url)
		}
	}
}

// quiet checks that the page logged no error and requested nothing.
func (b *tab) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.Errorf("in the page: %s", w)
	}
}

func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

func (b *tab) click(selector string) {
	b.Helper()
	b.do(chromedp.Click(selector, chromedp.ByQuery))
}

// choose selects an area.
func (b *tab) choose(area string) {
	b.Helper()
	b.do(chromedp.Evaluate(fmt.Sprintf(`{ const s = document.querySelector("select"); s.value = %q; s.dispatchEvent(new Event("change")); }`, area), nil))
}

// is compares the value of an expression, as text.
func (b *tab) is(what, expression, want string) {
	b.Helper()
	if got := b.eval(expression); got != want {
		b.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (b *tab) eval(expression string) (got string) {
	b.Helper()
	b.do(chromedp.Evaluate("String("+expression+")", &got))
	return got
}

// rows compares the IDs of the rows that can be seen.
func (b *tab) rows(what string, want ...string) {
	b.Helper()
	b.is(what, `[...document.querySelectorAll("tbody tr")].filter(r => r.checkVisibility()).map(r => r.id).join(" ")`, strings.Join(want, " "))
}

var allRows = []string{"R001", "R002", "R032", "R041", "R051", "R052", "G01", "G02", "R900"}

func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: the page is not tested in a browser")
	}
	b := open(t, sample())
	b.rows("the page", allRows...)
	b.is("title", "document.title", `sample <b>: not-conformant`)
	b.is("conclusion", `document.getElementById("conclusion").textContent`, "not conformant")

	b.click(`button[data-verdict=fail]`)
	b.rows("fail", "R002", "R041")
	b.is("fail pressed", `document.querySelector("button[data-verdict=fail]").ariaPressed`, "true")
	b.is("all pressed", `document.querySelector("button[data-verdict='']").ariaPressed`, "false")
	b.is("count", "count.textContent", "2 of 9 shown")
	b.is("hash", "location.hash", "#verdict=fail")
	b.click(`button[data-verdict=error]`)
	b.rows("fail and error", "R002", "R041", "R052")
	b.choose("values")
	b.rows("fail and error in one area", "R002")
	b.do(chromedp.Reload())
	b.rows("after a reload", "R002")
	b.is("area after a reload", `document.querySelector("select").value`, "values")

	b.choose("")
	b.click(`button[data-verdict=""]`)
	b.rows("all", allRows...)
	b.do(chromedp.SendKeys("input", "QUEUE  unknown", chromedp.ByQuery))
	b.rows("search", "R052")
	b.do(chromedp.SendKeys("input", " no such text", chromedp.ByQuery))
	b.rows("search without a match")
	b.is("a way out", "none.checkVisibility()", "true")
	b.click("#reset")
	b.rows("reset", allRows...)
	b.is("hash after the reset", "location.hash", "")
	b.click(`.legend .untested a`)
	b.rows("legend", "R051", "R900")
	b.do(chromedp.Evaluate(`location.hash = "verdict=nonsense&area=nowhere"`, nil), chromedp.Poll(`count.textContent.startsWith("9 of")`, nil))
	b.rows("a hash with unknown words", allRows...)

	b.quiet()
}

func TestPageInBrowser_themes_and_widths(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: the page is not tested in a browser")
	}
	dir := os.Getenv("REPORT_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	b := open(t, sample())
	ground := "getComputedStyle(document.body).backgroundColor"
	b.do(prefer("light"))
	light := b.eval(ground)
	b.click("#theme")
	dark := b.eval(ground)
	b.is("hash", "location.hash", "#theme=dark")
	b.do(chromedp.Reload())
	b.is("theme after a reload", ground, dark)
	b.click("#theme")
	b.is("theme toggled back", ground, light)
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(b.url), prefer("dark"))
	b.is("theme of the system", ground, dark)
	b.do(chromedp.Poll(`theme.textContent === "Light theme"`, nil)) // the page is told of the change
	if light == dark {
		t.Errorf("both themes are %s", light)
	}
	b.do(chromedp.Evaluate(`for (const d of document.querySelectorAll("details")) d.open = true`, nil))
	for _, width := range []int64{1280, 400} {
		for _, theme := range []string{"light", "dark"} {
			b.do(emulation.SetDeviceMetricsOverride(width, 900, 1, false), prefer(theme))
			b.is("ground of "+theme, ground, map[string]string{"light": light, "dark": dark}[theme])
			b.is(fmt.Sprintf("overflow at %d", width), "document.documentElement.scrollWidth - innerWidth", "0")
			b.is(fmt.Sprintf("contrast of %s at %d", theme, width), contrast, "")
			b.is(fmt.Sprintf("names hidden at %d", width), `[...document.querySelectorAll("tbody tr")].filter(r => !r.querySelector(".verdict").checkVisibility()).length`, "0")
			var shot []byte
			b.do(chromedp.FullScreenshot(&shot, 100))
			if _, err := png.Decode(bytes.NewReader(shot)); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s.png", width, theme)), shot, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.quiet()
}

func TestPageInBrowser_without_scripts(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: the page is not tested in a browser")
	}
	b := open(t, sample())
	b.do(emulation.SetScriptExecutionDisabled(true), chromedp.Reload())
	b.rows("the page", allRows...)
	b.is("dead controls", `[...document.querySelectorAll("button, select, input")].filter(e => e.checkVisibility()).length`, "0")
	b.quiet()
}

// prefer sets the theme of the system.
func prefer(theme string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}})
}

// contrast lists texts whose contrast to the ground is below 4.5, as WCAG AA asks.
const contrast = `(() => {
	const light = c => {
		const [r, g, b] = c.match(/[\d.]+/g).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
	const bad = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
		const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
		if ((a + 0.05) / (b + 0.05) < 4.5) bad.add(e.tagName + "." + e.className + " " + ((a + 0.05) / (b + 0.05)).toFixed(2));
	}
	return [...bad].join("; ");
})()`
