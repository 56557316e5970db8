package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func queueCommand() *cobra.Command {
	return parent("queue", "Manage queues", queueList(), queueCreate(), queueShow(), queueDelete(), queueSetFilter())
}

// queueJSON is a queue in JSON. Messages is null where the system does not tell.
type queueJSON struct {
	Name        string `json:"name"`
	Partitions  int    `json:"partitions"`
	Messages    *int64 `json:"messages"`
	Description string `json:"description"`
}

// partitionJSON is a partition in JSON.
type partitionJSON struct {
	Partition int32 `json:"partition"`
	Begin     int64 `json:"begin"`
	End       int64 `json:"end"`
	Messages  int64 `json:"messages"`
}

// queueDetails is what oms queue show prints.
type queueDetails struct {
	queueJSON
	Details []partitionJSON `json:"partition_details"`
	Groups  []groupJSON     `json:"groups"`
}

// partitions lists the partitions of a queue; nil where the system does not tell.
func (ap *connection) partitions(ctx context.Context, queue string) ([]om.PartitionInfo, error) {
	if !ap.Capabilities().Has(om.CapMetadata) {
		return nil, nil
	}
	ps, err := ap.Resources().Partitions(ctx, queue)
	if err == nil && ps == nil {
		ps = []om.PartitionInfo{}
	}
	return ps, err
}

func stored(ps []om.PartitionInfo) *int64 {
	if ps == nil {
		return nil
	}
	var n int64
	for _, p := range ps {
		n += p.End - p.Begin
	}
	return &n
}

func countOrDash(n *int64) string {
	if n == nil {
		return "-"
	}
	return count(*n)
}

func queueList() *cobra.Command {
	var t target
	var asJSON bool
	var namespace string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the queues of a namespace",
		Example: "  oms queue list\n  oms queue list --namespace returns --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				queues, err := ap.Resources().Namespace(namespace).Queues(ctx)
				if err != nil {
					return err
				}
				r := report{header: []string{"NAME", "PARTITIONS", "MESSAGES", "DESCRIPTION"}, empty: "there are no queues; oms queue create makes one"}
				all := []queueJSON{}
				for _, q := range queues {
					ps, err := ap.partitions(ctx, q.Name)
					if errors.Is(err, om.ErrDestination) {
						continue // deleted meanwhile
					}
					if err != nil {
						return err
					}
					j := queueJSON{q.Name, q.Partitions, stored(ps), q.Description}
					all = append(all, j)
					r.row(short(q.Name), strconv.Itoa(q.Partitions), countOrDash(j.Messages), q.Description)
				}
				r.value = all
				return r.print(c, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&namespace, "namespace", om.DefaultNamespace, "namespace of the queues")
	_ = c.RegisterFlagCompletionFunc("namespace", t.namespaces()) // the flag is there
	return c
}

func queueCreate() *cobra.Command {
	var t target
	asJSON := false
	var q om.QueueConfig
	c := &cobra.Command{
		Use:   "create QUEUE",
		Short: "Create a queue",
		Example: `  oms queue create invoices
  oms queue create shipments --partitions 8 --description 'parcels on their way'
  oms queue create returns://claims`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if q.Partitions < 1 {
				return usage(c, errors.New("--partitions must be at least 1"))
			}
			q.Name = args[0]
			return t.with(c, func(ctx context.Context, ap *connection) error {
				r := ap.Resources()
				if err := r.CreateQueue(ctx, q); err != nil {
					return err
				}
				made, err := r.Queue(ctx, q.Name)
				if err != nil {
					return err
				}
				var none int64
				return done(c, asJSON, queueJSON{made.Name, made.Partitions, &none, made.Description}, "queue %s is created", short(made.Name))
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVar(&q.Partitions, "partitions", 1, "partitions of the queue")
	c.Flags().StringVar(&q.Description, "description", "", "text for people")
	return c
}

func queueShow() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:               "show QUEUE",
		Short:             "Show a queue with its partitions and groups",
		Example:           "  oms queue show orders\n  oms queue show orders --json",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				q, err := ap.Resources().Queue(ctx, args[0])
				if err != nil {
					return err
				}
				ps, err := ap.partitions(ctx, q.Name)
				if err != nil {
					return err
				}
				var groups []om.GroupInfo
				if ps != nil {
					if groups, err = ap.Resources().Groups(ctx, q.Name); err != nil {
						return err
					}
				}
				return printQueue(c, asJSON, q, ps, groups)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

func printQueue(c *cobra.Command, asJSON bool, q om.QueueConfig, ps []om.PartitionInfo, groups []om.GroupInfo) error {
	d := queueDetails{queueJSON{q.Name, q.Partitions, stored(ps), q.Description}, []partitionJSON{}, []groupJSON{}}
	about := [][]string{{"name", q.Name}, {"partitions", strconv.Itoa(q.Partitions)}, {"messages", countOrDash(d.Messages)}}
	if q.Description != "" {
		about = append(about, []string{"description", q.Description})
	}
	var parts [][]string
	for _, p := range ps {
		d.Details = append(d.Details, partitionJSON{p.Partition, p.Begin, p.End, p.End - p.Begin})
		parts = append(parts, []string{strconv.Itoa(int(p.Partition)), count(p.Begin), count(p.End), count(p.End - p.Begin)})
	}
	list := groupReport(groups)
	for _, g := range groups {
		d.Groups = append(d.Groups, newGroupJSON(g))
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), d)
	}
	out := c.OutOrStdout()
	if err := printTable(out, nil, about); err != nil {
		return err
	}
	for _, t := range []report{{header: []string{"PARTITION", "BEGIN", "END", "MESSAGES"}, rows: parts}, list} {
		if len(t.rows) == 0 {
			continue
		}
		if _, err := out.Write([]byte("\n")); err != nil {
			return err
		}
		if err := printTable(out, t.header, t.rows); err != nil {
			return err
		}
	}
	return nil
}

// deletedJSON is what a command that deletes prints.
type deletedJSON struct {
	Deleted string `json:"deleted"`
}

func queueDelete() *cobra.Command {
	var t target
	var asJSON, yes bool
	c := &cobra.Command{
		Use:               "delete QUEUE",
		Short:             "Delete a queue with its messages and groups",
		Example:           "  oms queue delete old-orders --yes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				ps, err := ap.partitions(ctx, args[0])
				if err != nil {
					return err
				}
				what := "Delete queue " + args[0]
				if n := stored(ps); n != nil {
					what += " with its " + counted(*n, "message")
				}
				if err := confirmed(c, yes, "%s", what); err != nil {
					return err
				}
				if err := ap.Resources().DeleteQueue(ctx, args[0]); err != nil {
					return err
				}
				return done(c, asJSON, deletedJSON{long(args[0])}, "queue %s is deleted", args[0])
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	yesFlag(c, &yes)
	return c
}

// filterJSON is a filter in JSON; both are empty for none.
type filterJSON struct {
	Type       string `json:"type"`
	Expression string `json:"expression"`
}

func queueSetFilter() *cobra.Command {
	var t target
	var asJSON, tag, none bool
	c := &cobra.Command{
		Use:   "set-filter QUEUE EXPRESSION | QUEUE --none",
		Short: "Let only matching messages reach the groups of a queue",
		Long: `Let only matching messages reach the groups of a queue; what does not match
counts as settled for them. The filter holds for what they have not looked at
yet. Reading without a group shows everything. docs/filter.md tells the language;
oms filter tries an expression.`,
		Example: `  oms queue set-filter orders "total >= 100 AND country = 'DE'"
  oms queue set-filter orders --none`,
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			if none == (len(args) == 2) {
				return usage(c, errors.New("say either an expression or --none"))
			}
			var f om.Filter
			if !none {
				f = om.SQL(args[1])
				if tag {
					f = om.Tag(args[1])
				}
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := ap.Resources().SetFilter(ctx, args[0], f); err != nil {
					return err
				}
				what := "the groups of %s get what matches %s"
				if none {
					what = "the groups of %s get all messages%s"
				}
				return done(c, asJSON, filterJSON{f.Type, f.Expression}, what, args[0], filterText(f))
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().BoolVar(&tag, "tag", false, "the expression is tags, such as 'a || b', instead of SQL")
	c.Flags().BoolVar(&none, "none", false, "remove the filter")
	return c
}
