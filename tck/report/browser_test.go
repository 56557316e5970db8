package report_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/openmessaging/openmessaging-go/tck/report"
)

// shown returns the IDs of the rows that can be seen.
const shown = `[...document.querySelectorAll("tbody tr")].filter(r => r.checkVisibility()).map(r => r.id)`

// browser opens the sample's page and returns its context, and what goes wrong
// in the page.
func browser(t *testing.T) (context.Context, func() []string) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("the page is tested in a browser: install it by `apt-get install -y chromium`, or run with -short to leave this test out")
	}
	page := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(page)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.WriteHTML(f, sample()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var wrong []string
	chromedp.ListenTarget(ctx, func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			wrong = append(wrong, ev.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			if ev.Request.URL != "file://"+page {
				wrong = append(wrong, "request of "+ev.Request.URL)
			}
		}
	})
	if err := chromedp.Run(ctx, network.Enable(), runtime.Enable(), chromedp.EmulateViewport(1280, 900),
		chromedp.Navigate("file://"+page), chromedp.WaitVisible("form")); err != nil {
		t.Fatal(err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(wrong)
	}
}

func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: the page is not tested in a browser")
	}
	ctx, wrong := browser(t)
	rows := func(what string, want ...string) {
		t.Helper()
		var got []string
		if err := chromedp.Run(ctx, chromedp.Evaluate(shown, &got)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s shows %v, want %v", what, got, want)
		}
	}
	do := func(actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{"R001", "R002", "R032", "R041", "R051", "R052", "G01", "G02"}
	rows("the page", all...)
	do(chromedp.Click(`button[data-verdict="fail"]`))
	rows("the filter by verdict", "R002", "R041")
	var hash, pressed, title, count string
	do(chromedp.Evaluate("location.hash", &hash), chromedp.AttributeValue(`button[data-verdict="fail"]`, "aria-pressed", &pressed, nil),
		chromedp.Title(&title), chromedp.Text("#count", &count))
	if hash != "#verdict=fail" || pressed != "true" || count != "2 of 8 shown" {
		t.Errorf("after a filter: hash %q, pressed %q, count %q", hash, pressed, count)
	}
	if !strings.HasPrefix(title, "sample") {
		t.Errorf("the title is %q: text of the report has run as a script", title)
	}
	do(chromedp.SetValue("select", "values"), chromedp.Evaluate(`document.querySelector("select").dispatchEvent(new Event("change"))`, nil))
	rows("the filter by verdict and area", "R002")
	do(chromedp.Reload(), chromedp.WaitVisible("form"))
	rows("the page after a reload", "R002")
	do(chromedp.Click(`button[data-verdict=""]`), chromedp.SetValue("select", ""), chromedp.Evaluate(`document.querySelector("select").dispatchEvent(new Event("change"))`, nil),
		chromedp.SendKeys("input", "unknown queue"))
	rows("the search", "R052")
	do(chromedp.Evaluate(`history.replaceState(null, "", location.pathname)`, nil), chromedp.Reload(), chromedp.WaitVisible("form"))
	rows("the page without filters", all...)
	var before, after string
	ground := `getComputedStyle(document.body).backgroundColor`
	do(chromedp.Evaluate(ground, &before), chromedp.Click("#theme"), chromedp.Evaluate(ground, &after))
	if before == after {
		t.Errorf("the theme does not change: %s", before)
	}
	for _, width := range []int64{1280, 400} {
		var over bool
		do(emulation.SetDeviceMetricsOverride(width, 900, 1, false), chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &over))
		if over {
			t.Errorf("the page is wider than a window of %d pixels", width)
		}
		for _, theme := range []string{"light", "dark"} {
			var picture []byte
			do(chromedp.Evaluate(fmt.Sprintf("document.documentElement.dataset.theme = %q", theme), nil), chromedp.FullScreenshot(&picture, 90))
			if dir := os.Getenv("REPORT_SCREENSHOTS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.jpg", theme, width)), picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if w := wrong(); len(w) > 0 {
		t.Errorf("in the page: %v", w)
	}
}
