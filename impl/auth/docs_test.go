package auth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSecurityDocument asks the document in docs/security.md what its table
// says.
func TestSecurityDocument(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```yaml\n")
	text, rest, _ := strings.Cut(rest, "```\n")
	d, err := DecodeDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := newSnapshot(d)
	rows := 0
	for line := range strings.Lines(rest) {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.Contains(cells[2], "server") && !strings.Contains(cells[2], ":") {
			if rows > 0 {
				break
			}
			continue
		}
		rows++
		who, verb, want := strings.TrimPrefix(cells[0], "| "), parseVerb(cells[1]), strings.HasPrefix(cells[3], "yes")
		r := rule(t, "allow "+cells[1]+" "+cells[2]).on // a literal pattern names the resource
		p := &Principal{Name: who, Method: ByPassword}
		if got := s.refuses(p, time.Now()) == "" && s.find(p, r).has(verb); got != want {
			t.Errorf("%s is %v", strings.TrimSpace(line), got)
		}
	}
	if rows != 12 {
		t.Errorf("%d rows were read", rows)
	}
}
