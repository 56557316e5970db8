package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/openmessaging/openmessaging-go"

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// rule says what the packages below one path may import.
type rule struct {
	who    string   // path in the module; "/..." for everything below as well
	except []string // paths to which the rule does not apply
	only   []string // the module's packages that may be imported; nil: all
	never  []string // paths, of other modules too, that must not be imported
	std    bool     // nothing outside the standard library and the module
	tests  bool     // tests must keep the rule too
	why    string
}

var rules = []rule{
	{who: "openmessaging", only: []string{}, std: true, why: "the contract needs the standard library only"},
	{who: "spi", only: []string{"openmessaging"}, std: true, why: "a vendor gets the contract and nothing else"},
	{who: "openmessaging/oms", only: []string{"openmessaging", "spi"}, std: true, why: "the portable client knows no driver"},
	{who: "tck/...", except: []string{"tck/cmd/..."}, only: []string{"openmessaging", "openmessaging/oms", "spi", "tck/..."}, why: "the conformance kit judges implementations and knows none"},
	{who: "impl/chunk", only: []string{"openmessaging"}, why: "the codec knows neither store nor broker"},
	{who: "impl/store", only: []string{}, why: "the store knows nothing of what it stores"},
	{who: "impl/broker", only: []string{"openmessaging", "impl/chunk", "impl/store"}, never: []string{"net", "net/http", "google.golang.org/grpc"}, why: "the broker knows no protocol and no network"},
	{who: "impl/server/...", never: []string{module + "/impl/store"}, why: "protocol servers see the broker, never the store"},
	{who: "...", never: []string{module + "/impl/cmd/oms", module + "/tck/cmd/omstck"}, tests: true, why: "nothing imports a command"},
	{who: "...", except: []string{"openmessaging/omsmock"}, never: []string{module + "/openmessaging/omsmock", "testing", "github.com/golang/mock/gomock", "go.uber.org/goleak", "pgregory.net/rapid"}, why: "what is for tests stays in tests"},
}

func below(path, pattern string) bool {
	switch base, all := strings.CutSuffix(pattern, "/..."); {
	case pattern == "...":
		return true
	case all:
		return path == base || strings.HasPrefix(path, base+"/")
	default:
		return path == pattern
	}
}

func anyBelow(path string, patterns []string) bool {
	for _, p := range patterns {
		if below(path, p) {
			return true
		}
	}
	return false
}

// check returns what the packages do against the rules.
func check(rules []rule, pkgs []pkg) (faults []string) {
	for _, p := range pkgs {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, r := range rules {
			if !below(path, r.who) || anyBelow(path, r.except) {
				continue
			}
			imports := p.Imports
			if r.tests {
				imports = append(append(append([]string(nil), imports...), p.TestImports...), p.XTestImports...)
			}
			for _, i := range imports {
				inner, ours := strings.CutPrefix(i, module+"/")
				standard := !strings.Contains(strings.Split(i, "/")[0], ".")
				if anyBelow(i, r.never) || ours && r.only != nil && !anyBelow(inner, r.only) || !ours && !standard && r.std {
					faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.ImportPath, i, r.why))
				}
			}
		}
	}
	return faults
}

func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(out); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 8 {
		t.Fatalf("go list found only %d packages", len(pkgs))
	}
	for _, f := range check(rules, pkgs) {
		t.Error(f)
	}
}

// TestImportRulesCanFail feeds each rule a package that breaks it.
func TestImportRulesCanFail(t *testing.T) {
	for _, c := range []struct{ who, imports string }{
		{"openmessaging", module + "/spi"},
		{"openmessaging", "github.com/some/library"},
		{"spi", module + "/openmessaging/oms"},
		{"openmessaging/oms", module + "/impl/badger"},
		{"openmessaging/oms", "github.com/dgraph-io/badger/v4"},
		{"tck/mutant", module + "/impl/badger"},
		{"impl/chunk", module + "/impl/store"},
		{"impl/store", module + "/openmessaging"},
		{"impl/broker", "net"},
		{"impl/broker", module + "/impl/server"},
		{"impl/server/mqtt", module + "/impl/store"},
		{"impl/badger", module + "/impl/cmd/oms"},
		{"impl/badger", module + "/openmessaging/omsmock"},
		{"impl/badger", "testing"},
	} {
		p := pkg{ImportPath: module + "/" + c.who, Imports: []string{c.imports}}
		if check(rules, []pkg{p}) == nil {
			t.Errorf("no rule minds that %s imports %s", c.who, c.imports)
		}
	}
	fine := pkg{ImportPath: module + "/tck/cmd/omstck", Imports: []string{module + "/impl/badger", "fmt"}}
	if f := check(rules, []pkg{fine}); f != nil {
		t.Error(f)
	}
}
