package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// report is what a command has found: rows for people and a value for programs.
type report struct {
	header []string
	rows   [][]string
	value  any    // what --json prints
	empty  string // what people read when there are no rows
}

func (r *report) row(cells ...string) { r.rows = append(r.rows, cells) }

// print prints the table, or JSON.
func (r *report) print(c *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), r.value)
	}
	if len(r.rows) == 0 && r.empty != "" {
		_, err := fmt.Fprintln(c.ErrOrStderr(), r.empty)
		return err
	}
	return printTable(c.OutOrStdout(), r.header, r.rows)
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printTable prints columns; those whose cells are all numbers stand to the right.
func printTable(out io.Writer, header []string, rows [][]string) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if header != nil {
		fmt.Fprintln(w, strings.Join(header, "\t"))
	}
	widths := make([]int, len(header))
	for i := range header {
		widths[i] = numberWidth(header[i], rows, i)
	}
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if i < len(widths) && widths[i] > 0 {
				cell = strings.Repeat(" ", max(0, widths[i]-len(cell))) + cell
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// numberWidth returns how wide a column of numbers is, 0 for another one.
func numberWidth(title string, rows [][]string, i int) int {
	width := len(title)
	for _, row := range rows {
		if i >= len(row) {
			return 0
		}
		if _, err := strconv.ParseFloat(strings.ReplaceAll(row[i], ",", ""), 64); err != nil && row[i] != "-" {
			return 0
		}
		width = max(width, len(row[i]))
	}
	return width
}

func count(n int64) string { return humanize.Comma(n) }

// counted is a number with its noun.
func counted(n int64, noun string) string {
	return count(n) + " " + english.PluralWord(int(n), noun, "")
}

// long is a queue's name with its namespace.
func long(name string) string { return om.JoinQueueName(om.SplitQueueName(name, om.DefaultNamespace)) }

// short leaves the default namespace out of a queue's name.
func short(name string) string {
	if ns, queue := om.SplitQueueName(name, om.DefaultNamespace); ns == om.DefaultNamespace {
		return queue
	}
	return name
}

// timeText is a time in JSON, empty for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// filterText is a filter for people.
func filterText(f om.Filter) string {
	if f.Type == "sql" || f.Type == "" {
		return f.Expression
	}
	return f.Type + ": " + f.Expression
}

// done says on standard output what a command has done, and prints the value
// with --json.
func done(c *cobra.Command, asJSON bool, value any, format string, args ...any) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), value)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), format+"\n", args...)
	return err
}

// parent is a command that has others.
func parent(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs), RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(children...)
	return c
}

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "print JSON")
}
