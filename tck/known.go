package tck

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxKnown bounds the lines of a known-failures file.
const maxKnown = 1000

// ReadKnownFailures reads a list of requirements that are known to fail: one
// ID to a line, the rest of the line says why; empty lines and lines that begin
// with # are passed over. Errors name the line.
func ReadKnownFailures(r io.Reader) ([]string, error) {
	var ids []string
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		id, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		switch {
		case id == "" || id[0] == '#':
			continue
		case !isRequirement(id):
			return nil, fmt.Errorf("line %d: %.40q is no requirement; a line is an ID such as R041, a blank, and why it fails", n, id)
		case slices.Contains(ids, id):
			return nil, fmt.Errorf("line %d: %s is listed twice", n, id)
		case len(ids) == maxKnown:
			return nil, fmt.Errorf("line %d: more than %d entries", n, maxKnown)
		}
		ids = append(ids, id)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return ids, nil
}

func isRequirement(id string) bool {
	return slices.ContainsFunc(requirements(), func(r Requirement) bool { return r.ID == id })
}
