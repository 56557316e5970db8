package tck_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openmessaging/openmessaging-go/spi"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/memory"
	"github.com/openmessaging/openmessaging-go/tck/report"
)

func init() {
	spi.Register(memory.New().Driver("memory"))
	spi.Register(losing{memory.New().Driver("losing")})
}

// run runs omstck and returns its exit status and what it printed.
func run(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := tck.Command(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitStatuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good, bad = "oms:memory://localhost/tck", "oms:losing://localhost/tck"
	quick := []string{"--scale", "0.3"}
	var everything []string
	for _, r := range tck.Requirements() {
		everything = append(everything, r.ID)
	}
	garbage := file("garbage", "#!/bin/sh\necho garbage\ncat >/dev/null\n")
	if err := os.Chmod(garbage, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string // in what goes to the standard error, or out where that is empty
	}{
		"passes":                      {[]string{"run", "--url", good, "--case", "R001,R043"}, 0, "partial: 2 passed"},
		"fails":                       {[]string{"run", "--url", bad, "--case", "R061"}, 1, "R061_unacked_comes_back"},
		"known to fail":               {[]string{"run", "--url", bad, "--case", "R061,R001", "--known-failures", file("known", "# why\n\nR061 loses\n")}, 0, "known"},
		"known to fail, but does not": {[]string{"run", "--url", good, "--case", "R061", "--known-failures", file("fixed", "R061 was lost\n")}, 1, "take them off the list"},
		"nothing left":                {[]string{"run", "--url", good, "--skip", strings.Join(everything, ",")}, 3, "nothing ran"},
		"no URL":                      {[]string{"run"}, 2, "give either --url or --child"},
		"two targets":                 {[]string{"run", "--url", good, "--child", "x"}, 2, "give either --url or --child"},
		"bad URL":                     {[]string{"run", "--url", "nonsense"}, 2, "malformed access-point URL"},
		"unknown driver":              {[]string{"run", "--url", "oms:none://h/r"}, 2, "known: losing, memory"},
		"option of the URL":           {[]string{"run", "--url", good + "?x=y"}, 2, "the target does not open"},
		"unknown case":                {[]string{"run", "--url", good, "--case", "R999"}, 2, "omstck list shows them"},
		"case and skip":               {[]string{"run", "--url", good, "--case", "R001", "--skip", "R002"}, 2, "exclude each other"},
		"bad scale":                   {[]string{"run", "--url", good, "--scale", "0"}, 2, "--scale 0 is not above 0"},
		"bad parallel":                {[]string{"run", "--url", good, "--parallel", "0"}, 2, "--parallel 0 is not positive"},
		"unknown flag":                {[]string{"run", "--nonsense"}, 2, "see omstck --help"},
		"unknown command":             {[]string{"nonsense"}, 2, "unknown command"},
		"malformed known failures":    {[]string{"run", "--url", good, "--known-failures", file("malformed", "R061\nR9 no\n")}, 2, `line 2: "R9" is no requirement`},
		"missing known failures":      {[]string{"run", "--url", good, "--known-failures", dir + "/none"}, 2, "no such file"},
		"unwritable report":           {[]string{"run", "--url", good, "--json", dir + "/none/r.json"}, 2, "its folder does not exist"},
		"report that is a folder":     {[]string{"run", "--url", good, "--html", dir}, 2, "choose a path that can be written"},
		"a child that is not there":   {[]string{"run", "--child", dir + "/none"}, 2, "the target does not open"},
		"a child that prints garbage": {[]string{"run", "--child", garbage}, 2, "garbage"},
		"a child that ends":           {[]string{"run", "--child", "true"}, 2, "the target does not open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := c.args
			if args[0] == "run" && !strings.Contains(strings.Join(args, " "), "--scale") {
				args = append(args, quick...)
			}
			code, out, errs := run(t, args...)
			said := errs
			if said == "" {
				said = out
			}
			if code != c.code || !strings.Contains(said, c.says) {
				t.Errorf("exit status %d, want %d that says %q; it said\n%s%s", code, c.code, c.says, out, errs)
			}
			if code == 2 && strings.Count(strings.TrimSpace(errs), "\n") > 0 {
				t.Errorf("more than one line of explanation:\n%s", errs)
			}
		})
	}
}

func TestReportsOfARun(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := run(t, "run", "--url", "oms:losing://localhost/tck", "--case", "R001,R061", "--scale", "0.3", "--name", "my driver",
		"--json", dir+"/r.json", "--junit", dir+"/r.xml", "--html", dir+"/r.html")
	if code != 1 || errs != "" || !strings.HasSuffix(strings.TrimSpace(out), "1 failed") && !strings.Contains(out, "not-conformant") {
		t.Errorf("exit status %d\n%s%s", code, out, errs)
	}
	f, err := os.Open(dir + "/r.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := report.ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	if r.Conclusion != report.NotConformant || r.Target.Name != "my driver" || r.Counts[report.Pass] != 1 || r.Counts[report.Fail] != 1 {
		t.Errorf("%s %q %v", r.Conclusion, r.Target.Name, r.Counts)
	}
	data, err := os.ReadFile(dir + "/r.xml")
	if err == nil {
		err = xml.Unmarshal(data, new(struct{ XMLName xml.Name }))
	}
	if err != nil {
		t.Error(err)
	}
	page, err := os.ReadFile(dir + "/r.html")
	if err != nil || !bytes.Contains(page, []byte("my driver")) {
		t.Errorf("the page: %v", err)
	}
}

func TestListAndVersion(t *testing.T) {
	if code, out, _ := run(t, "list"); code != 0 || strings.Count(out, "\n") != len(tck.Requirements()) || !strings.Contains(out, "R032_order_per_key") {
		t.Errorf("list: %d\n%s", code, out)
	}
	if code, out, _ := run(t, "list", "--json"); code != 0 || !strings.Contains(out, `"ID": "G40"`) {
		t.Errorf("list --json: %d\n%s", code, out)
	}
	if code, out, _ := run(t, "version"); code != 0 || !strings.Contains(out, fmt.Sprintf("%d requirements", len(tck.Requirements()))) || !strings.Contains(out, "losing, memory") {
		t.Errorf("version: %d\n%s", code, out)
	}
}

func FuzzReadKnownFailures(f *testing.F) {
	f.Add("R001 why\n# x\n\nG40")
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := tck.ReadKnownFailures(strings.NewReader(text))
		if err == nil && len(ids) > len(tck.Requirements()) {
			t.Errorf("%d ids of %d requirements", len(ids), len(tck.Requirements()))
		}
	})
}
