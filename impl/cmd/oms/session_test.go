//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A session is a text with blocks of what somebody typed and saw:
//
//	```console
//	$ oms queue create orders
//	queue orders is created
//	```
//
// An exit status other than 0 follows in brackets. The line "$ oms dev" starts a
// broker that runs until the end; what it prints is compared too. Words that
// differ each time, such as times, need only have the same form.
type session struct {
	t     *testing.T
	shell *shell
	dev   *exec.Cmd
	addr  string // of the broker
}

// TestSessions runs docs/quickstart.md and the sessions in testdata, and compares
// what they print with what is written there.
func TestSessions(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.md")
	if err != nil || len(paths) < 3 {
		t.Fatal(paths, err)
	}
	for _, path := range append(paths, "../../../docs/quickstart.md") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			recorded, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &session{t: t, shell: newShell(t, "")}
			defer s.end()
			now, ran := s.replay(string(recorded))
			if ran == 0 {
				t.Fatal("nothing was run")
			}
			if now == string(recorded) {
				return
			}
			if *update {
				if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			old, lines := strings.Split(string(recorded), "\n"), strings.Split(now, "\n")
			for i := range lines {
				if i >= len(old) || lines[i] != old[i] {
					t.Fatalf("%s:%d prints something else now; go test ./impl/cmd/oms -run Sessions -update writes it\n%s", path, i+1, lines[i])
				}
			}
			t.Fatalf("%s has more than is printed now", path)
		})
	}
}

// replay runs the commands of a text and returns it with what they printed, as it
// was where that has the same form.
func (s *session) replay(text string) (now string, ran int) {
	var b strings.Builder
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); {
		b.WriteString(lines[i])
		i++
		if lines[i-1] != "```console\n" {
			continue
		}
		for i < len(lines) && lines[i] != "```\n" {
			line, typed := strings.CutPrefix(lines[i], "$ ")
			if !typed {
				s.t.Fatalf("line %d: no command begins here", i+1)
			}
			b.WriteString(lines[i])
			for i++; strings.HasSuffix(line, "\\\n"); i++ {
				b.WriteString(lines[i])
				line += lines[i]
			}
			from := i
			for i < len(lines) && lines[i] != "```\n" && !strings.HasPrefix(lines[i], "$ ") {
				i++
			}
			b.WriteString(same(strings.Join(lines[from:i], ""), s.enter(strings.TrimSpace(line))))
			ran++
		}
	}
	return b.String(), ran
}

// documented is where the broker of the texts listens.
const documented = "127.0.0.1:7650"

// enter runs a line and returns what it prints.
func (s *session) enter(line string) string {
	if line == "oms dev" {
		return s.startDev()
	}
	code, out := s.shell.run(strings.ReplaceAll(line, documented, s.addr))
	if s.addr != "" {
		out = strings.ReplaceAll(out, s.addr, documented)
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	if code != 0 {
		out += "[" + string(rune('0'+code)) + "]\n"
	}
	return out
}

// startDev starts a broker and returns what it prints until it can be used.
func (s *session) startDev() string {
	s.dev = exec.Command("sh", "-c", "exec oms dev --listen 127.0.0.1:0")
	s.dev.Dir, s.dev.Env = s.shell.dir, s.shell.env
	out, err := s.dev.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.dev.Start(); err != nil {
		s.t.Fatal(err)
	}
	var printed strings.Builder
	for lines := bufio.NewReader(out); !strings.HasSuffix(printed.String(), "Ctrl-C ends the broker.\n"); {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.t.Fatal(err, printed.String())
		}
		printed.WriteString(line)
	}
	s.addr = regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(printed.String())
	return strings.ReplaceAll(printed.String(), s.addr, documented)
}

func (s *session) end() {
	if s.dev == nil {
		return
	}
	if err := s.dev.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	if err := s.dev.Wait(); err != nil {
		s.t.Error(err)
	}
}

// vary are the words that differ each time.
var vary = regexp.MustCompile(`[0-9a-f]{16}-[0-9a-f]+` + // message ids
	`|\b[0-9a-f]{32}\b` + // store ids
	`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z` +
	`|\b\d+(\.\d+)?(ns|µs|ms|s|/s)\b` +
	`|"(published_per_second|oldest_seconds)":[0-9.e-]+` +
	`|"(born_host|store_host)":"[^"]*"` +
	`|go\d\.\d+(\.\d+)?` +
	`|\bcommit \d+|\b\d+(\.\d+)? (B|KiB|MiB)\b`)

// fill is what brings the next column of a table to its place.
var fill = regexp.MustCompile(`… +`)

// same returns what was recorded when what is printed now has the same form.
func same(recorded, now string) string {
	form := func(s string) string { return fill.ReplaceAllString(vary.ReplaceAllString(s, "…"), "… ") }
	if form(recorded) == form(now) {
		return recorded
	}
	return now
}

// TestSameForm checks that the comparison of sessions minds what it should.
func TestSameForm(t *testing.T) {
	const recorded = "sent to q, id 00ff00ff00ff00ff-1 at 2018-02-07T00:00:00Z in 12ms\n"
	if now := "sent to q, id 123456789abcdef0-2 at 2026-01-01T01:02:03.004Z in 1.5s\n"; same(recorded, now) != recorded {
		t.Error("ids, times and durations may differ")
	}
	if same("orders  9s   0\n", "orders  10s  0\n") != "orders  9s   0\n" {
		t.Error("a column may be filled otherwise")
	}
	for _, now := range []string{"", recorded + "\n", strings.Replace(recorded, "q", "r", 1), strings.Replace(recorded, "2018", "201", 1)} {
		if same(recorded, now) != now {
			t.Errorf("%q went for %q", now, recorded)
		}
	}
}
