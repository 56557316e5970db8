package tck

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryRequirementHasItsCase(t *testing.T) {
	ids := make(map[string]bool)
	for i, r := range requirements() {
		ids[r.ID] = true
		if cases[r.ID] == nil {
			t.Errorf("%s has no case", r.Name())
		}
		if r.Core == (len(r.Needs) > 0) || r.Text == "" || r.Source == "" || r.Slug == "" || r.Area == "" {
			t.Errorf("row %d of the table is not whole: %+v", i, r)
		}
		if !slices.Contains([]Kind{Plain, Timed, Fault, Statistical}, r.Kind) {
			t.Errorf("%s has the unknown kind %q", r.ID, r.Kind)
		}
		if i > 0 && strings.Compare(strings.ReplaceAll(requirements()[i-1].ID, "G", "S"), strings.ReplaceAll(r.ID, "G", "S")) >= 0 {
			t.Errorf("%s is out of order", r.ID)
		}
	}
	if len(ids) != len(requirements()) {
		t.Error("an id is there twice")
	}
	for id := range cases {
		if !ids[id] {
			t.Errorf("case %s has no requirement", id)
		}
	}
}
