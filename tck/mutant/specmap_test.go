package mutant_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/mutant"
)

var update = flag.Bool("update", false, "write docs/spec-map.md anew, and what other pages say of its length")

// TestSpecMapIsUpToDate compares docs/spec-map.md with the table, and with its
// length what other pages say of it.
func TestSpecMapIsUpToDate(t *testing.T) {
	upToDate(t, "../../docs/spec-map.md", func([]byte) []byte { return specMap() })
	for _, page := range []string{"../../README.md", "../../docs/running-the-tck.md"} {
		upToDate(t, page, func(text []byte) []byte {
			return regexp.MustCompile(`\d+ requirements`).ReplaceAll(text, fmt.Appendf(nil, "%d requirements", len(tck.Requirements())))
		})
	}
}

func upToDate(t *testing.T, path string, correct func([]byte) []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := correct(got)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the table says; run go test ./tck/mutant -run SpecMap -update", path)
	}
}

func specMap() []byte {
	mutants := make(map[string][]string)
	for _, m := range mutant.All() {
		mutants[m.Kills] = append(mutants[m.Kills], m.Name)
	}
	var b bytes.Buffer
	b.WriteString(`# Requirements, cases, mutants

Made from the table in tck/requirements.tsv by ` + "`go test ./tck/mutant -run SpecMap -update`" + `; do not edit.

R rows come from the OpenMessaging specification and its Java API, G rows are what a Go binding adds. The case of a
requirement is the sub-test of its name. Its mutants are drivers or portable layers that break it; the case must fail on
each. "core" is demanded of everyone, the rest of those who declare the capability.

| Case | Demanded | Kind | Requirement | Source | Mutants |
|---|---|---|---|---|---|
`)
	for _, r := range tck.Requirements() {
		by := strings.Join(mutants[r.ID], ", ")
		if why := unproved[r.ID]; why != "" {
			by = "none: " + why
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Name(), strings.TrimPrefix(r.Profile(), "extended/"), r.Kind, cell(r.Text), cell(r.Source), by)
	}
	fmt.Fprintf(&b, "\nSpecification version %s, %d requirements, %d mutants.\n", om.SpecVersion, len(tck.Requirements()), len(mutant.All()))
	return b.Bytes()
}

// cell keeps text from being taken for a part of the table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "*", "\\*", "_", "\\_").Replace(s)
}
