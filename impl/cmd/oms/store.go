package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/broker"
	"github.com/openmessaging/openmessaging-go/impl/store"
)

func storeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "store",
		Short: "Care for the store of an embedded broker",
		Args:  args(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(checkCommand())
	return c
}

func checkCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "check PATH",
		Short: "Walk a whole store and say what is wrong",
		Long: `Walk a whole store that no process holds: its files, every record with its
checksum, every message, the state, and that no offset is missing. The store's
databases are opened as the broker opens them; damage is told, not mended.

Exit status: 0 nothing is wrong, 1 something is wrong, 2 the check could not be
made.`,
		Example: "  oms store check ./data\n  oms store check --json ./data",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			progress := newBar(c.ErrOrStderr(), "checking", true)
			report, err := store.Check(store.Options{Path: args[0], Logger: slog.New(slog.DiscardHandler)}, store.CheckOptions{
				Progress: progress.set, Record: broker.CheckRecord, State: broker.CheckState,
			})
			progress.finish()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if asJSON {
				err = json.NewEncoder(c.OutOrStdout()).Encode(report)
			} else {
				err = printReport(c.OutOrStdout(), args[0], report)
			}
			if err == nil && len(report.Findings) > 0 {
				return &exitError{exitFailed, nil}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkRecord checks the chunks of a record, which follow each other.
func printReport(out io.Writer, path string, r store.CheckReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "buckets\t%d\nlogs\t%d\nrecords\t%s\nmessages\t%s\nstate values\t%s\nbytes\t%s\nlast commit\t%d\n",
		r.Buckets, r.Logs, humanize.Comma(r.Records), humanize.Comma(r.Entries), humanize.Comma(r.StateValues), humanize.IBytes(uint64(r.Bytes)), r.LastCommit)
	for _, f := range r.Findings {
		fmt.Fprintf(w, "WRONG\t%s: %s\n", f.Where, f.What)
	}
	if len(r.Findings) == 0 {
		fmt.Fprintf(w, "\n%s is in order\n", path)
	} else {
		fmt.Fprintf(w, "\n%d findings; restore the store from a backup\n", len(r.Findings))
	}
	return w.Flush()
}
