package mutant_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/tck"
	"github.com/openmessaging/openmessaging-go/tck/mutant"
)

var update = flag.Bool("update", false, "write docs/spec-map.md anew")

// TestSpecMapIsUpToDate compares docs/spec-map.md with the table.
func TestSpecMapIsUpToDate(t *testing.T) {
	const path = "../../docs/spec-map.md"
	want := specMap()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/spec-map.md is not what the table says; run go test ./tck/mutant -run SpecMap -update")
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
