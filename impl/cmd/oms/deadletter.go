package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	"github.com/openmessaging/openmessaging-go/impl/filter"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func deadLetterCommand() *cobra.Command {
	return parent("dead-letter", "Look at what a group could not handle, and send it back", deadLetterList(), deadLetterShow(), deadLetterRedrive())
}

// graveyard is the dead letters of a group and which of them are meant.
type graveyard struct {
	target
	group, expression string
	most              int
}

func (g *graveyard) add(c *cobra.Command) {
	g.target.add(c)
	c.Flags().StringVarP(&g.group, "group", "g", "", "consumer group that they are dead for")
}

// named refuses a command line without a group.
func (g *graveyard) named(c *cobra.Command) error {
	if g.group == "" {
		return usage(c, errors.New("say for which --group"))
	}
	return nil
}

// choice adds the flags that choose among them.
func (g *graveyard) choice(c *cobra.Command, most int) {
	c.Flags().StringVar(&g.expression, "filter", "", "SQL expression, also over $deadReason, $deadDeliveries, $deadPartition, $deadOffset")
	c.Flags().IntVar(&g.most, "max", most, "so many at most, the oldest first; 10,000 in one go")
}

// chosen returns what the flags choose.
func (g *graveyard) chosen(c *cobra.Command) (r om.Redrive, err error) {
	if err := g.named(c); err != nil {
		return r, err
	}
	if g.most < 1 {
		return r, usage(c, fmt.Errorf("--max %d is not positive", g.most))
	}
	r.Max = g.most
	if g.expression == "" {
		return r, nil
	}
	if _, err := filter.Parse(g.expression, filter.Options{}); err != nil {
		return r, &exitError{exitUsage, pointed(g.expression, err)}
	}
	r.Filter = om.SQL(g.expression)
	return r, nil
}

// read iterates over the dead letters that are meant, and settles nothing.
func (g *graveyard) read(ctx context.Context, ap *connection, queue string, q om.MessageQuery, match func(*om.Message) bool) iter.Seq2[*om.Delivery, error] {
	return func(yield func(*om.Delivery, error) bool) {
		q.DeadFor = g.group
		left := g.most
		for d, err := range ap.find(ctx, queue, q) {
			if err == nil && !match(d.Message) {
				continue
			}
			if !yield(d, err) || err != nil {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// deadLetterJSON is a dead letter in JSON.
type deadLetterJSON struct {
	ID         string `json:"id"`
	Reason     string `json:"reason"`
	Deliveries int64  `json:"deliveries"`
	Partition  int64  `json:"partition"`
	Offset     int64  `json:"offset"`
	Key        string `json:"key,omitempty"`
	DeadAt     string `json:"dead_at"`
	DeadOffset int64  `json:"dead_offset"`
}

func newDeadLetterJSON(d *om.Delivery) deadLetterJSON {
	p := d.Properties
	return deadLetterJSON{
		d.MessageID, p.GetString(om.PropertyDeadReason, ""), p.GetInt64(om.PropertyDeadDeliveries, 0),
		p.GetInt64(om.PropertyDeadPartition, -1), p.GetInt64(om.PropertyDeadOffset, -1), d.Ext.MessageKey, timeText(d.Ext.StoredAt), d.Offset,
	}
}

func deadLetterList() *cobra.Command {
	var g graveyard
	asJSON := false
	c := &cobra.Command{
		Use:   "list QUEUE --group GROUP",
		Short: "List the dead letters of a group that were not redriven",
		Long: `List the dead letters of a group that were not redriven, the oldest first: why
they died, how often they were delivered, at which partition and offset of the
queue they lay, and when they died. Nothing is settled.`,
		Example: `  oms dead-letter list orders --group billing
  oms dead-letter list orders --group billing --filter '$deadDeliveries < 16 AND total > 100' --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: g.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := g.chosen(c); err != nil {
				return err
			}
			match := func(*om.Message) bool { return true }
			if g.expression != "" {
				f, err := filter.Parse(g.expression, filter.Options{})
				if err != nil {
					return err
				}
				match = f.MatchMessage
			}
			return g.with(c, func(ctx context.Context, ap *connection) error {
				r := report{header: []string{"ID", "REASON", "DELIVERIES", "FROM", "DEAD SINCE"}, empty: "the group has no dead letters"}
				all := []deadLetterJSON{}
				for d, err := range g.read(ctx, ap, args[0], om.MessageQuery{}, match) {
					if err != nil {
						return err
					}
					j := newDeadLetterJSON(d)
					all = append(all, j)
					r.row(j.ID, j.Reason, count(j.Deliveries), fmt.Sprintf("%d/%d", j.Partition, j.Offset), j.DeadAt)
				}
				r.value = all
				return r.print(c, asJSON)
			})
		},
	}
	g.add(c)
	g.choice(c, 100)
	jsonFlag(c, &asJSON)
	return c
}

func deadLetterShow() *cobra.Command {
	var g graveyard
	var p printer
	c := &cobra.Command{
		Use:   "show QUEUE ID --group GROUP",
		Short: "Print a dead letter",
		Long: `Print a dead letter that was not redriven. Nothing is settled. The exit status is
1 when there is none.

Formats have these verbs:
` + lines.FormatHelp,
		Example: `  oms dead-letter show orders $(oms dead-letter list orders -g billing --json | sed 's/.*"id":"\([^"]*\)".*/\1/') -g billing
  oms dead-letter show orders $(oms dead-letter list orders -g billing --json | sed 's/.*"id":"\([^"]*\)".*/\1/') -g billing -f '%b %{$deadReason}\n'`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: g.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := g.named(c); err != nil {
				return err
			}
			if err := p.open(c); err != nil {
				return usage(c, err)
			}
			return g.with(c, func(ctx context.Context, ap *connection) error {
				for d, err := range ap.find(ctx, args[0], om.MessageQuery{DeadFor: g.group, ID: args[1]}) {
					if err != nil {
						return err
					}
					return p.print(d)
				}
				return nothing("no dead letter of the group has the id %q; perhaps it was redriven already", args[1])
			})
		},
	}
	g.add(c)
	p.add(c)
	return c
}

// redriveJSON is what oms dead-letter redrive prints.
type redriveJSON struct {
	Queue    string         `json:"queue"`
	Group    string         `json:"group"`
	DryRun   bool           `json:"dry_run"`
	Redriven int            `json:"redriven"`
	Results  []redrivenJSON `json:"results"`
}

type redrivenJSON struct {
	ID         string `json:"id"`
	DeadOffset int64  `json:"dead_offset"`
	Partition  int32  `json:"partition"`
	Offset     int64  `json:"offset"`
	Error      string `json:"error,omitempty"`
}

func deadLetterRedrive() *cobra.Command {
	var g graveyard
	var asJSON, dryRun, all bool
	var ids []string
	c := &cobra.Command{
		Use:   "redrive QUEUE --group GROUP (--id ID... | --filter EXPRESSION | --all)",
		Short: "Send dead letters back to the group, each once",
		Long: `Send dead letters back to the queue that they came from. They lie at its end, and
only the group that they were dead for gets them; their deliveries count anew. Each
goes back once: what was redriven is listed no more. The exit status is 1 when one
could not be redriven, or none was found.`,
		Example: `  oms dead-letter redrive orders --group billing --filter '$deadDeliveries < 16 AND total > 100' --dry-run
  oms dead-letter redrive orders --group billing --id $(oms dead-letter list orders -g billing --json | sed 's/.*"id":"\([^"]*\)".*/\1/')
  oms dead-letter redrive orders --group billing --all --max 500 --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: g.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			said := 0
			for _, this := range []bool{len(ids) > 0, g.expression != "", all} {
				if this {
					said++
				}
			}
			if said != 1 {
				return usage(c, errors.New("say which: --id, --filter or --all"))
			}
			want, err := g.chosen(c)
			if err != nil {
				return err
			}
			want.IDs, want.DryRun = ids, dryRun
			return g.with(c, func(ctx context.Context, ap *connection) error {
				out, err := ap.Resources().Redrive(ctx, args[0], g.group, want)
				if err != nil {
					return err
				}
				return printRedriven(c, asJSON, redriveJSON{Queue: long(args[0]), Group: g.group, DryRun: dryRun}, out, g.most)
			})
		},
	}
	g.add(c)
	g.choice(c, om.DefaultRedrive)
	c.Flags().StringArrayVar(&ids, "id", nil, "message id; may be repeated")
	c.Flags().BoolVar(&all, "all", false, "all of them")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be redriven, and redrive nothing")
	jsonFlag(c, &asJSON)
	return c
}

func printRedriven(c *cobra.Command, asJSON bool, j redriveJSON, out []om.Redriven, most int) error {
	j.Results = []redrivenJSON{}
	r := report{header: []string{"ID", "PARTITION", "OFFSET", "RESULT"}}
	failures := 0
	for _, one := range out {
		line := redrivenJSON{one.MessageID, one.DeadOffset, one.Partition, one.Offset, ""}
		offset, result := strconv.FormatInt(one.Offset, 10), "redriven"
		switch {
		case one.Err != nil:
			line.Error = one.Err.Error()
			offset, result = "-", line.Error
			failures++
		case j.DryRun:
			offset, result = "-", "would be redriven"
		}
		j.Results = append(j.Results, line)
		r.row(one.MessageID, strconv.Itoa(int(one.Partition)), offset, result)
	}
	j.Redriven = len(out) - failures
	r.value = j
	if len(out) == 0 && !asJSON {
		return nothing("no dead letter was found")
	}
	if err := r.print(c, asJSON); err != nil {
		return err
	}
	switch {
	case failures > 0:
		return nothing("%s of %d could not be redriven", counted(int64(failures), "dead letter"), len(out))
	case len(out) == 0:
		return &exitError{exitFailed, nil}
	case len(out) == most && !asJSON:
		fmt.Fprintln(c.ErrOrStderr(), "there may be more; repeat the command, or give a higher --max")
	}
	return nil
}
