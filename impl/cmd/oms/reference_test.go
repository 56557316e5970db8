package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
)

var update = flag.Bool("update", false, "write what is recorded in docs anew")

// TestReference compares the commands in docs/cli.md with those that there are.
func TestReference(t *testing.T) {
	const path, begin, end = "../../../docs/cli.md", "<!-- commands: do not edit by hand -->\n", "<!-- end of commands -->\n"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the commands", path)
	}
	want := before + begin + reference() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(doc) {
		t.Errorf("%s does not tell the commands as they are; run go test ./impl/cmd/oms -run Reference -update", path)
	}
}

// usual are the flags that the page explains once.
var usual = []string{"help", "json", "url", "context"}

func reference() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe verbs of `-f`:\n\n```\n%s\n```\n", unindent(lines.FormatHelp))
	walk(rootCommand(), func(c *cobra.Command) {
		if c.HasSubCommands() {
			return
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n", strings.TrimSuffix(c.UseLine(), " [flags]"), c.Short)
		own := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			for _, name := range usual {
				if f.Name == name && (name != "json" || strings.HasPrefix(f.Usage, "print JSON")) && (name != "url" || f.DefValue == "") {
					return
				}
			}
			own.AddFlag(f)
		})
		fmt.Fprintf(&b, "\n```\n%s", strings.TrimRight(unindent(c.Example), "\n")+"\n")
		if usages := own.FlagUsages(); usages != "" {
			fmt.Fprintf(&b, "\n%s", usages)
		}
		b.WriteString("```\n")
	})
	b.WriteString("\n")
	return b.String()
}

func unindent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	return b.String()
}

// walk calls f with a command and all below it, but those that Cobra makes.
func walk(c *cobra.Command, f func(*cobra.Command)) {
	if c.Name() == "help" || c.Name() == "completion" {
		return
	}
	f(c)
	for _, child := range c.Commands() {
		walk(child, f)
	}
}

// TestHelp checks that every command says what it is and takes --help.
func TestHelp(t *testing.T) {
	walk(rootCommand(), func(c *cobra.Command) {
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		code, stdout, stderr := command(t, args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") || c.Short == "" {
			t.Errorf("%v: status %d: %s%s", args, code, stdout, stderr)
		}
	})
}

// TestQuestion checks what counts as yes.
func TestQuestion(t *testing.T) {
	for answer, yes := range map[string]bool{"y\n": true, "Y\n": true, "yes\n": true, "": false, "\n": false, "n\n": false, "yo\n": false} {
		var out bytes.Buffer
		if err := ask(strings.NewReader(answer), &out, "Delete it"); (err == nil) != yes || out.String() != "Delete it? [y/N] " {
			t.Errorf("%q: %v, %q", answer, err, out.String())
		}
	}
}

// TestShells checks that the scripts for completion are there, and that those
// shells that this machine has can read theirs.
func TestShells(t *testing.T) {
	for shell, check := range map[string][]string{"bash": {"bash", "-n"}, "zsh": {"zsh", "-n"}, "fish": {"fish", "--no-execute"}, "powershell": nil} {
		code, script, stderr := command(t, "completion", shell)
		if code != 0 || len(script) < 1000 || !strings.Contains(script, "oms") {
			t.Errorf("%s: status %d: %s%s", shell, code, script, stderr)
		}
		if check == nil {
			continue
		}
		if _, err := exec.LookPath(check[0]); err != nil {
			t.Logf("%s is not on this machine: its script was not read", check[0])
			continue
		}
		c := exec.Command(check[0], check[1:]...)
		c.Stdin = strings.NewReader(script)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", shell, err, out)
		}
	}
}

// TestProposals checks what the shell is told for a line that has begun.
func TestProposals(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	r := startDev(t)
	defer r.end()
	for _, args := range [][]string{
		{"context", "add", "here", "--url", r.url}, {"namespace", "create", "returns"}, {"queue", "create", "orders"}, {"queue", "create", "other"},
		{"queue", "create", "returns://claims"}, {"route", "create", "copy", "--from", "orders", "--to", "other"},
		{"group", "reset", "orders", "billing", "--to", "begin"},
	} {
		if code, _, stderr := command(t, args...); code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
	}
	for line, want := range map[string]string{
		"queue show |":                   "orders other",
		"queue show returns://|":         "returns://claims",
		"publish o|":                     "orders other",
		"group show orders |":            "billing",
		"route delete |":                 "copy",
		"namespace delete |":             "default returns",
		"queue list --namespace |":       "default returns",
		"context use |":                  "here",
		"queue list --context |":         "here",
		"queue sh|":                      "show",
		"queue show x --url oms:oms://|": "",
	} {
		args := strings.Split(strings.TrimSuffix(line, "|"), " ")
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"__complete"}, args...), &out, &errs)
		var got []string
		for l := range strings.Lines(out.String()) {
			if name, _, _ := strings.Cut(strings.TrimSpace(l), "\t"); !strings.HasPrefix(name, ":") {
				got = append(got, name)
			}
		}
		if code != 0 || strings.Join(got, " ") != want {
			t.Errorf("%s: status %d: %q, want %s\n%s", line, code, got, want, errs.String())
		}
	}
}
