//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	badger "github.com/openmessaging/openmessaging-go/impl/badger"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms"
)

// shell runs lines in a folder of its own, where oms is this program.
type shell struct {
	t   *testing.T
	dir string
	env []string
	in  string // standard input
}

func newShell(t *testing.T, url string) *shell {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, dir: t.TempDir()}
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asProgram, self)
	if err := os.WriteFile(filepath.Join(bin, "oms"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+filepath.Join(s.dir, ".config"), "OMS_URL="+url,
		"GORACE=atexit_sleep_ms=0") // the race detector would wait a second at each end
	return s
}

// run runs a line and returns its exit status and its output, both streams
// together.
func (s *shell) run(line string) (int, string) {
	s.t.Helper()
	var out bytes.Buffer
	c := exec.CommandContext(s.t.Context(), "sh", "-c", line)
	c.Dir, c.Env, c.Stdin, c.Stdout, c.Stderr = s.dir, s.env, strings.NewReader(s.in), &out, &out
	err := c.Run()
	if c.ProcessState == nil {
		s.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String()
}

func (s *shell) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// examples are the lines of a command's examples.
func examples(c *cobra.Command) (all []string) {
	for line := range strings.Lines(c.Example) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// goOn are the beginnings of examples that do not end, or take long. Their
// commands have tests of their own; that they are well formed is tested here.
var goOn = []string{"oms dev", "oms serve", "oms top", "oms bench", "tail -f"}

func endless(line string) bool {
	for _, begin := range goOn {
		if strings.HasPrefix(line, begin) && !strings.Contains(line, "--once") {
			return true
		}
	}
	return false
}

// TestExamples runs every line of every command's examples against a broker that
// has what they speak of.
func TestExamples(t *testing.T) {
	ran := 0
	walk(rootCommand(), func(c *cobra.Command) {
		lines := examples(c)
		if len(lines) == 0 && !c.HasSubCommands() {
			t.Errorf("%s has no examples", c.CommandPath())
		}
		if c.HasSubCommands() {
			return // what it shows, its commands show
		}
		for _, line := range lines {
			if endless(line) {
				wellFormed(t, line)
				continue
			}
			ran++
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				s := staged(t, c, line)
				if code, out := s.run(line); code != 0 {
					t.Errorf("status %d: %s", code, out)
				}
			})
		}
	})
	if ran < 60 {
		t.Errorf("only %d examples were run", ran)
	}
}

// staged returns a shell beside a broker that has what a line speaks of.
func staged(t *testing.T, c *cobra.Command, line string) *shell {
	t.Helper()
	if path := c.CommandPath(); strings.HasPrefix(path, "oms user") || strings.HasPrefix(path, "oms permission") {
		return stageUsers(t)
	}
	r := startDev(t)
	t.Cleanup(func() { r.end() })
	s := newShell(t, r.url)
	stage(t, s, r.url)
	stageFolders(t, s, line)
	if strings.HasPrefix(line, "oms request") {
		stageService(t, r.url)
	}
	return s
}

// stageService answers what is asked of the queue "prices".
func stageService(t *testing.T, url string) {
	t.Helper()
	ap, err := oms.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ap.Close(context.Background()) })
	err = ap.Resources().CreateQueue(t.Context(), om.QueueConfig{Name: "prices"})
	if err == nil {
		p, err1 := ap.NewProducer(t.Context())
		c, err2 := ap.NewPushConsumer(t.Context())
		if err = errors.Join(err1, err2); err == nil {
			err = c.Bind(t.Context(), oms.Answer(p, func(_ context.Context, d *om.Delivery) ([]byte, error) {
				if string(d.Body) == "lead" {
					return nil, om.NewError(om.CodeForbidden, "", "", "not for sale")
				}
				return []byte("price of " + string(d.Body)), nil
			}), "prices")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRequestCommand(t *testing.T) {
	r := startDev(t)
	defer r.end()
	stageService(t, r.url)
	for _, c := range []struct {
		args []string
		code int
		part string
	}{
		{[]string{"prices", "gold"}, 0, "price of gold\n"},
		{[]string{"prices", "gold", "--json"}, 0, `"body":"price of gold"`},
		{[]string{"prices", "lead"}, 1, "not for sale"},
		{[]string{"prices"}, 2, "accepts 2 arg"},
		{[]string{"prices", "gold", "--timeout", "0s"}, 2, "not positive"},
		{[]string{"silent", "gold", "--timeout", "50ms"}, 1, "no reply came"},
	} {
		if c.args[0] == "silent" {
			if code, _, errs := command(t, "queue", "create", "silent", "--expires", "1h", "--url", r.url); code != 0 {
				t.Fatal(errs)
			}
			if _, out, _ := command(t, "queue", "show", "silent", "--url", r.url); !strings.Contains(out, "after 1h0m0s without use") {
				t.Errorf("queue show prints %s", out)
			}
		}
		code, out, errs := command(t, append([]string{"request", "--url", r.url}, c.args...)...)
		if code != c.code || !strings.Contains(out+errs, c.part) {
			t.Errorf("%v: status %d: %s%s", c.args, code, out, errs)
		}
	}
}

// wellFormed parses the part of a line that is a command of oms.
func wellFormed(t *testing.T, line string) {
	t.Helper()
	_, after, _ := strings.Cut(line, "oms ")
	words, err := exec.Command("sh", "-c", `for w in `+after+`; do printf '%s\n' "$w"; done`).Output()
	if err != nil {
		t.Fatal(err)
	}
	c, rest, err := rootCommand().Find(strings.Split(strings.TrimSpace(string(words)), "\n"))
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err != nil || !c.Runnable() {
		t.Errorf("%s: %v", line, err)
	}
}

// stage makes what the examples speak of.
func stage(t *testing.T, s *shell, url string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for name, content := range map[string]string{
		"orders.txt": "one\ntwo\n", "orders.jsonl": `{"body":"one","key":"k"}` + "\n", "orders.key": "secret",
		"earthquakes.jsonl": `{"mag":4.6,"place":"South of Alaska","tsunami":0}` + "\n",
	} {
		s.write(name, content)
	}
	for _, args := range [][]string{
		{"namespace", "create", "returns", "--url", url}, {"namespace", "create", "empty", "--url", url},
		{"queue", "create", "orders", "--partitions", "1", "--url", url}, {"queue", "create", "audit", "--url", url}, {"queue", "create", "old-orders", "--url", url},
		{"route", "create", "audit-orders", "--from", "orders", "--to", "audit", "--url", url},
		{"route", "create", "old-route", "--from", "old-orders", "--to", "audit", "--url", url},
	} {
		if code, _, stderr := command(t, args...); code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
	}
	ap, err := oms.Open(ctx, url)
	must(err)
	defer func() { must(ap.Close(context.Background())) }()
	p, err := ap.NewProducer(ctx)
	must(err)
	half, err := ap.NewProducer(ctx, om.WithProducerGroup("shop"), om.WithTransactionChecker(func(context.Context, *om.Message) om.TxVerdict { return om.TxUnknown }))
	must(err)
	_, err = half.Prepare(ctx, om.NewMessage("orders", []byte("order 12")))
	must(err)
	for i := range 12 {
		m := om.NewMessage("orders", fmt.Appendf(nil, "order %d", i))
		m.Ext.MessageKey = "customer-7"
		m.Properties["country"] = om.String("DE")
		m.Properties["total"] = om.Double([]float64{120, 2000}[i%2])
		_, err := p.Send(ctx, m)
		must(err)
	}
	for _, group := range []string{"billing", "old-group"} {
		c, err := ap.NewPullConsumer(ctx, om.WithGroup(group))
		must(err)
		must(c.Bind(ctx, "orders"))
		if group == "billing" {
			d, err := c.Receive(ctx)
			must(err)
			must(d.Reject(ctx, "no such customer"))
		}
		must(c.Close(ctx))
	}
	if code, out := s.run("oms context add local --url " + url); code != 0 {
		t.Fatal(out)
	}
}

// stageFolders makes the stores and the backup that a line speaks of.
func stageFolders(t *testing.T, s *shell, line string) {
	t.Helper()
	for folder, word := range map[string]string{"data": "./data", "cold": "./cold", "kept": "sunday.oms"} {
		if !strings.Contains(line, word) {
			continue
		}
		path := filepath.Join(s.dir, folder)
		ap, err := oms.Open(t.Context(), badger.URL(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := ap.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if folder != "kept" {
			continue
		}
		if code, _, stderr := command(t, "backup", "--path", path, "--to", filepath.Join(s.dir, word)); code != 0 {
			t.Fatal(stderr)
		}
	}
}
