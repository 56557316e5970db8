package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
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
	who    string   // path in the module; "/..." for it and everything below
	except []string // paths to which the rule does not apply
	only   []string // the module's packages that may be imported; nil: all
	never  []string // import paths that must not be imported
	std    bool     // nothing outside the standard library and the module
	cmd    bool     // no package of a command, except by the same command
	tests  bool     // tests must keep the rule too
	why    string
}

var rules = []rule{
	{who: "openmessaging", only: []string{}, std: true, why: "the contract needs the standard library only"},
	{who: "spi", only: []string{"openmessaging"}, std: true, why: "a vendor gets the contract and nothing else"},
	{who: "spi/...", only: []string{"openmessaging", "spi"}, std: true, why: "what the SPI brings for drivers needs the contract and the SPI"},
	{who: "openmessaging/oms", only: []string{"openmessaging", "spi"}, std: true, why: "the portable client knows no driver"},
	{who: "openmessaging/oms/omsotel", only: []string{"openmessaging", "internal/semconv"}, why: "traces know the contract and no driver"},
	{who: "openmessaging/...", except: []string{"openmessaging/oms/omsotel"}, never: []string{"go.opentelemetry.io/..."}, why: "who does not trace gets no OpenTelemetry"},
	{who: "impl/metrics", only: []string{"openmessaging", "impl/auth", "impl/broker"}, why: "metrics know no protocol"},
	{who: "openmessaging/oms/internal/dialect", only: []string{"openmessaging"}, std: true, why: "SQL needs database/sql only"},
	{who: "openmessaging/oms/inbox", only: []string{"openmessaging", "openmessaging/oms/internal/dialect"}, std: true, why: "the inbox knows no driver, of messages or of SQL"},
	{who: "openmessaging/oms/outbox", only: []string{"openmessaging", "openmessaging/oms/internal/dialect"}, std: true, why: "the outbox knows no driver, of messages or of SQL"},
	{who: "tck/...", except: []string{"tck/cmd/..."}, only: []string{"openmessaging", "openmessaging/allocation", "openmessaging/oms", "spi", "tck/..."}, why: "the conformance kit judges implementations and knows none"},
	{who: "impl/chunk", only: []string{"openmessaging"}, why: "the codec knows neither store nor broker"},
	{who: "impl/store", only: []string{}, why: "the store knows nothing of what it stores"},
	{who: "impl/broker", only: []string{"openmessaging", "impl/chunk", "impl/compression", "impl/store", "impl/filter"}, never: []string{"net", "net/http/...", "google.golang.org/grpc/..."}, why: "the broker knows no protocol, no network and no cluster"},
	{who: "impl/archive", only: []string{"impl/store"}, why: "a backup is of a store, whatever it stores"},
	{who: "impl/auth", only: []string{"openmessaging"}, never: []string{"net", "net/http/...", "google.golang.org/grpc/..."}, why: "the rules of access know no protocol, no network and no broker"},
	{who: "impl/envelope", only: []string{"openmessaging", "impl/chunk"}, why: "how a message is written knows no driver"},
	{who: "impl/batch", only: []string{"openmessaging", "spi", "impl/chunk", "impl/compression"}, why: "what drivers share brings no store"},
	{who: "impl/wire/...", only: []string{"openmessaging", "impl/chunk", "impl/wire/..."}, why: "the wire knows neither of its ends"},
	{who: "impl/remote", only: []string{"openmessaging", "spi", "impl/batch", "impl/chunk", "impl/wire/..."}, never: []string{"github.com/dgraph-io/badger/..."}, why: "a client over the network gets no broker"},
	{who: "impl/server/...", never: []string{module + "/impl/store/..."}, why: "protocol servers see the broker, never the store"},
	{who: "impl/nats", only: []string{"openmessaging", "spi/...", "impl/chunk", "impl/envelope"}, why: "a vendor's driver needs the contract and the SPI; it shares how messages are written"},
	{who: "...", except: []string{"internal/natsserver"}, never: []string{module + "/internal/natsserver", "github.com/nats-io/nats-server/..."}, why: "servers of NATS run in tests only"},
	{who: "...", except: []string{"internal/sqlserver"}, never: []string{module + "/internal/sqlserver"}, why: "servers of SQL run in tests only"},
	{who: "...", except: []string{"openmessaging/oms/outbox/pgnotify", "examples/..."}, never: []string{"modernc.org/...", "github.com/jackc/...", "github.com/go-sql-driver/..."}, why: "drivers of SQL are the user's to choose"},
	{who: "...", cmd: true, tests: true, why: "nothing imports a command"},
	{who: "...", except: []string{"openmessaging/omsmock"}, never: []string{module + "/openmessaging/omsmock", "testing/...", "github.com/golang/mock/...", "go.uber.org/goleak/...", "pgregory.net/rapid/..."}, why: "what is for tests stays in tests"},
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

// command returns the path of the command that a package belongs to, "" for none.
func command(path string) string {
	before, after, ok := strings.Cut(path, "/cmd/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(after, "/")
	return before + "/cmd/" + name
}

// breaks reports whether the rule minds that the package named who imports what.
func (r rule) breaks(who, what string) bool {
	path := strings.TrimPrefix(strings.TrimPrefix(who, module), "/")
	if !below(path, r.who) || anyBelow(path, r.except) {
		return false
	}
	inner, ours := strings.CutPrefix(what, module+"/")
	standard := !strings.Contains(strings.Split(what, "/")[0], ".")
	switch {
	case anyBelow(what, r.never):
		return true
	case ours && r.only != nil && !anyBelow(inner, r.only):
		return true
	case r.std && !ours && !standard:
		return true
	default:
		return r.cmd && command(what) != "" && command(what) != command(who)
	}
}

// check returns what the packages do against the rules.
func check(rules []rule, pkgs []pkg) (faults []string) {
	for _, p := range pkgs {
		for _, r := range rules {
			imports := p.Imports
			if r.tests {
				imports = slices.Concat(p.Imports, p.TestImports, p.XTestImports)
			}
			for _, i := range imports {
				if r.breaks(p.ImportPath, i) {
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
	for _, must := range []string{"openmessaging", "openmessaging/oms", "openmessaging/omsmock", "spi", "impl/broker", "impl/store"} {
		if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.ImportPath == module+"/"+must }) {
			t.Fatalf("go list did not find %s", must)
		}
	}
	for _, f := range check(rules, pkgs) {
		t.Error(f)
	}
}

// TestImportRulesCanFail feeds each rule, by the reason it gives, imports that
// break it: the rule must say so even if it were the only one.
func TestImportRulesCanFail(t *testing.T) {
	broken := map[string]bool{}
	for _, c := range []struct{ why, who, imports string }{
		{"standard library only", "openmessaging", "github.com/some/library"},
		{"standard library only", "openmessaging", module + "/spi"},
		{"standard library only", "openmessaging", module + "/openmessaging/oms"},
		{"the contract and nothing else", "spi", "github.com/some/library"},
		{"the contract and nothing else", "spi", module + "/openmessaging/oms"},
		{"the contract and the SPI", "spi/lease", "github.com/some/library"},
		{"the contract and the SPI", "spi/await", module + "/impl/chunk"},
		{"knows no driver", "openmessaging/oms", module + "/impl/badger"},
		{"knows no driver", "openmessaging/oms", "github.com/dgraph-io/badger/v4"},
		{"traces know", "openmessaging/oms/omsotel", module + "/impl/remote"},
		{"gets no OpenTelemetry", "openmessaging/oms", "go.opentelemetry.io/otel"},
		{"metrics know", "impl/metrics", module + "/impl/server"},
		{"needs database/sql only", "openmessaging/oms/internal/dialect", "github.com/some/library"},
		{"needs database/sql only", "openmessaging/oms/internal/dialect", module + "/openmessaging/oms/inbox"},
		{"the inbox knows", "openmessaging/oms/inbox", "modernc.org/sqlite"},
		{"the inbox knows", "openmessaging/oms/inbox", module + "/impl/badger"},
		{"the outbox knows", "openmessaging/oms/outbox", "github.com/jackc/pgx/v5"},
		{"the outbox knows", "openmessaging/oms/outbox", module + "/impl/chunk"},
		{"conformance kit", "tck", module + "/impl/badger"},
		{"conformance kit", "tck/mutant", module + "/impl/store"},
		{"the codec", "impl/chunk", module + "/impl/store"},
		{"the store knows", "impl/store", module + "/openmessaging"},
		{"the store knows", "impl/store", module + "/impl/broker"},
		{"no network", "impl/broker", "net"},
		{"no network", "impl/broker", "net/http"},
		{"no network", "impl/broker", "net/http/httptest"},
		{"no network", "impl/broker", "google.golang.org/grpc"},
		{"no network", "impl/broker", "google.golang.org/grpc/codes"},
		{"no network", "impl/broker", module + "/impl/server"},
		{"no network", "impl/broker", module + "/impl/server/mqtt"},
		{"no network", "impl/broker", module + "/impl/wire"},
		{"no network", "impl/broker", module + "/impl/cluster"},
		{"no network", "impl/broker", module + "/impl/remote"},
		{"no network", "impl/broker", module + "/impl/badger"},
		{"whatever it stores", "impl/archive", module + "/impl/broker"},
		{"no network and no broker", "impl/auth", module + "/impl/broker"},
		{"no network and no broker", "impl/auth", "net"},
		{"written knows no driver", "impl/envelope", module + "/spi"},
		{"brings no store", "impl/batch", module + "/impl/broker"},
		{"brings no store", "impl/batch", module + "/impl/wire"},
		{"neither of its ends", "impl/wire", module + "/impl/broker"},
		{"neither of its ends", "impl/wire/wirepb", module + "/impl/remote"},
		{"gets no broker", "impl/remote", module + "/impl/broker"},
		{"gets no broker", "impl/remote", module + "/impl/store"},
		{"gets no broker", "impl/remote", module + "/impl/server"},
		{"gets no broker", "impl/remote", "github.com/dgraph-io/badger/v4"},
		{"never the store", "impl/server", module + "/impl/store"},
		{"never the store", "impl/server/mqtt", module + "/impl/store"},
		{"shares how messages are written", "impl/nats", module + "/impl/broker"},
		{"run in tests only", "examples/portable", module + "/internal/natsserver"},
		{"run in tests only", "impl/nats", "github.com/nats-io/nats-server/v2/server"},
		{"SQL run in tests only", "examples/orders", module + "/internal/sqlserver"},
		{"the user's to choose", "impl/broker", "modernc.org/sqlite"},
		{"the user's to choose", "openmessaging/oms/outbox", "github.com/jackc/pgx/v5/stdlib"},
		{"the user's to choose", "impl/cmd/oms", "github.com/go-sql-driver/mysql"},
		{"imports a command", "impl/badger", module + "/impl/cmd/oms"},
		{"imports a command", "impl/badger", module + "/impl/cmd/oms/internal/bench"},
		{"imports a command", "tck/cmd/omstck", module + "/impl/cmd/oms"},
		{"imports a command", "impl/cmd/oms/internal/bench", "github.com/some/library/cmd/tool"},
		{"stays in tests", "impl/badger", module + "/openmessaging/omsmock"},
		{"stays in tests", "impl/badger", "testing"},
		{"stays in tests", "impl/badger", "testing/synctest"},
		{"stays in tests", "tck", "github.com/golang/mock/gomock"},
		{"stays in tests", "spi", "go.uber.org/goleak"},
		{"stays in tests", "", "pgregory.net/rapid"},
	} {
		who := strings.TrimSuffix(module+"/"+c.who, "/")
		i := slices.IndexFunc(rules, func(r rule) bool { return strings.Contains(r.why, c.why) })
		if i < 0 {
			t.Fatalf("no rule says %q", c.why)
		}
		broken[rules[i].why] = true
		faults := check(rules[i:i+1], []pkg{{ImportPath: who, Imports: []string{c.imports}}})
		if want := who + " imports " + c.imports + ": " + rules[i].why; len(faults) != 1 || faults[0] != want {
			t.Errorf("%q should say %q, and says %q", rules[i].why, want, faults)
		}
		inTest := check(rules[i:i+1], []pkg{{ImportPath: who, TestImports: []string{c.imports}}, {ImportPath: who, XTestImports: []string{c.imports}}})
		if (len(inTest) == 2) != rules[i].tests || (len(inTest) == 0) == rules[i].tests {
			t.Errorf("tests of %s that import %s: %q", who, c.imports, inTest)
		}
	}
	for _, r := range rules {
		if !broken[r.why] {
			t.Errorf("nothing shows that this rule can fail: %s", r.why)
		}
	}
}

func TestImportRulesLetPass(t *testing.T) {
	for _, c := range []struct{ who, imports string }{
		{"openmessaging", "net/url"},
		{"spi", module + "/openmessaging"},
		{"openmessaging/oms", module + "/spi"},
		{"openmessaging/omsmock", "github.com/golang/mock/gomock"},
		{"openmessaging/oms/inbox", "database/sql"},
		{"openmessaging/oms/outbox", module + "/openmessaging/oms/internal/dialect"},
		{"openmessaging/oms/outbox/pgnotify", "github.com/jackc/pgx/v5/stdlib"},
		{"examples/orders", "modernc.org/sqlite"},
		{"tck/mutant", module + "/tck"},
		{"tck/cmd/omstck", module + "/impl/badger"},
		{"impl/store", "github.com/dgraph-io/badger/v4"},
		{"impl/broker", module + "/impl/store"},
		{"impl/broker", "net/url"},
		{"impl/server/mqtt", module + "/impl/broker"},
		{"impl/server", "net/http"},
		{"impl/remote", module + "/impl/chunk"},
		{"impl/remote", module + "/impl/wire/wirepb"},
		{"impl/wire", module + "/impl/wire/wirepb"},
		{"impl/cmd/oms", module + "/impl/cmd/oms/internal/bench"},
		{"impl/badger", "testingground.example/x"},
		{"impl/nats", "github.com/nats-io/nats.go/jetstream"},
		{"impl/nats", module + "/impl/chunk"},
		{"internal/natsserver", "github.com/nats-io/nats-server/v2/server"},
	} {
		p := pkg{ImportPath: module + "/" + c.who, Imports: []string{c.imports}}
		for _, f := range check(rules, []pkg{p}) {
			t.Error(f)
		}
	}
}
