package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/filter"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// maxLine bounds a line of JSON.
const maxLine = 64 << 20

func filterCommand() *cobra.Command {
	var explain, convert bool
	c := &cobra.Command{
		Use:   "filter EXPRESSION [FILE]",
		Short: "Try a selector on JSON lines",
		Long: `Reads JSON lines from the file or standard input and prints those that match, as
they are. The fields of a line are the properties; null means absent. Whole
numbers are Long, others Double; arrays are Binary, which compares with nothing,
and the fields of an object inside are not looked at.

The exit status is 0 when a line matches, 1 when none does, and 2 for a
malformed expression or input.`,
		Example: `  oms filter "mag >= 4.5 AND place LIKE '%Alaska%'" earthquakes.jsonl
  tail -f events.jsonl | oms filter "net IN ('us', 'ak')"
  oms filter --explain "mag >= 4.5 OR tsunami = 1" earthquakes.jsonl`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := filter.Parse(args[0], filter.Options{Convert: convert})
			if err != nil {
				return &exitError{exitUsage, pointed(args[0], err)}
			}
			in := c.InOrStdin()
			if len(args) == 2 && args[1] != "-" {
				file, err := os.Open(args[1])
				if err != nil {
					return &exitError{exitUsage, err}
				}
				defer file.Close()
				in = file
			}
			out := bufio.NewWriter(c.OutOrStdout())
			matched, err := filterLines(in, out, f, explain)
			if err := errors.Join(err, out.Flush()); err != nil {
				return &exitError{exitUsage, err}
			}
			if matched == 0 {
				return &exitError{exitFailed, nil}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&explain, "explain", false, "print the parts of the expression and their values for the first line, and no lines")
	c.Flags().BoolVar(&convert, "convert", false, "take texts for the numbers and truth values that they stand for")
	return c
}

// pointed shows the column of a mistake under the expression.
func pointed(expression string, err error) error {
	var s *filter.SyntaxError
	if !errors.As(err, &s) || strings.ContainsAny(expression, "\n\t") || len(expression) > 200 {
		return err
	}
	return fmt.Errorf("%w\n  %s\n  %s^", err, expression, strings.Repeat(" ", s.Column-1))
}

// filterLines prints the lines that match and returns how many there are.
func filterLines(in io.Reader, out *bufio.Writer, f *filter.Filter, explain bool) (matched int, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	live := isPipe(in)
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		m, err := parseLine(line)
		if err != nil {
			return matched, fmt.Errorf("line %d: %w", n, err)
		}
		ok := f.MatchMessage(m)
		if ok {
			matched++
		}
		switch {
		case explain:
			return matched, f.Explain(out, m)
		case ok:
			_, _ = out.Write(line) // Flush tells
			_ = out.WriteByte('\n')
			if live {
				if err := out.Flush(); err != nil {
					return matched, err
				}
			}
		}
	}
	return matched, lines.Err()
}

// isPipe reports whether more may come later, so that matches are shown at once.
func isPipe(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && !info.Mode().IsRegular()
}

// parseLine makes a message of a JSON object.
func parseLine(line []byte) (*om.Message, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if d.More() {
		return nil, errors.New("more than one JSON object")
	}
	m := om.NewMessage("", nil)
	for k, v := range fields {
		if p, ok := jsonProperty(v); ok {
			m.Properties[k] = p
		}
	}
	return m, nil
}

func jsonProperty(v any) (om.Value, bool) {
	switch v := v.(type) {
	case string:
		return om.String(v), true
	case bool:
		return om.Bool(v), true
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return om.Long(n), true
		}
		f, err := v.Float64()
		return om.Double(f), err == nil
	case nil:
		return om.Value{}, false
	case map[string]any:
		return om.Object(nil), true
	}
	return om.Binary(nil), true
}
