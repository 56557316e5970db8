package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func queueCommand() *cobra.Command {
	return parent("queue", "Manage queues", queueList(), queueCreate(), queueShow(), queueAddPartitions(), queueDelete(), queueSetFilter())
}

// queueJSON is a queue in JSON. Messages is null where the system does not tell.
type queueJSON struct {
	Name        string `json:"name"`
	Partitions  int    `json:"partitions"`
	Messages    *int64 `json:"messages"`
	Description string `json:"description"`

	DeadLetterExpired bool               `json:"dead_letter_expired,omitempty"`
	Deduplication     *deduplicationJSON `json:"deduplication,omitempty"`
	TransactionCheck  *checkJSON         `json:"transaction_check,omitempty"`
	Expires           float64            `json:"expires_seconds,omitempty"`
}

type deduplicationJSON struct {
	By      string  `json:"by"`
	Seconds float64 `json:"seconds"`
}

// checkJSON has times in seconds; 0 is the broker's default.
type checkJSON struct {
	After float64 `json:"after"`
	Every float64 `json:"every"`
	Max   int     `json:"max"`
}

func newQueueJSON(q om.QueueConfig, messages *int64) queueJSON {
	j := queueJSON{Name: q.Name, Partitions: q.Partitions, Messages: messages, Description: q.Description, DeadLetterExpired: q.DeadLetterExpired, Expires: q.Expires.Seconds()}
	if d := q.Deduplication; d.Window != 0 {
		j.Deduplication = &deduplicationJSON{d.By, d.Window.Seconds()}
	}
	if k := q.TransactionCheck; k != (om.TransactionCheck{}) {
		j.TransactionCheck = &checkJSON{k.After.Seconds(), k.Every.Seconds(), k.Max}
	}
	return j
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
	// Null where the system does not tell. Rates are messages per second.
	Delayed   *int64   `json:"delayed,omitempty"`
	Prepared  *int64   `json:"prepared,omitempty"`
	Published *float64 `json:"published_per_second,omitempty"`

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
		n += p.Messages
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
					j := newQueueJSON(q, stored(ps))
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
  oms queue create offers --dead-letter-expired
  oms queue create payments --deduplicate 24h --deduplicate-by '$messageKey'
  oms queue create bookings --check-after 1m --check-every 5m
  oms queue create answers --expires 30m
  oms queue create returns://claims`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if q.Partitions < 1 {
				return usage(c, errors.New("--partitions must be at least 1"))
			}
			if q.Deduplication.By != "" && q.Deduplication.Window == 0 {
				return usage(c, errors.New("--deduplicate-by needs --deduplicate"))
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
				return done(c, asJSON, newQueueJSON(made, &none), "queue %s is created", short(made.Name))
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVar(&q.Partitions, "partitions", 1, "partitions of the queue")
	c.Flags().StringVar(&q.Description, "description", "", "text for people")
	f := c.Flags()
	f.DurationVar(&q.Deduplication.Window, "deduplicate", 0, "store messages with the same id once within that time, for example 10m")
	f.StringVar(&q.Deduplication.By, "deduplicate-by", "", "what the id is: $messageKey or a property (default $deduplicationId)")
	f.DurationVar(&q.TransactionCheck.After, "check-after", 0, "when a producer is asked about an open transaction first (default 6s)")
	f.DurationVar(&q.TransactionCheck.Every, "check-every", 0, "how long after that it is asked again (default 30s)")
	f.IntVar(&q.TransactionCheck.Max, "checks", 0, "how often at most; then the transaction is parked (default 15)")
	f.DurationVar(&q.Expires, "expires", 0, "delete the queue when nobody has sent to it or received from it for that long, for example 30m")
	f.BoolVar(&q.DeadLetterExpired, "dead-letter-expired", false, "move messages that a group finds expired to its dead-letter queue")
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
				var stats []om.QueueStats
				if ap.Capabilities().Has(om.CapStats) {
					if stats, err = ap.Resources().Stats(ctx, q.Name); err != nil {
						return err
					}
				}
				return printQueue(c, asJSON, q, ps, groups, stats)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

func printQueue(c *cobra.Command, asJSON bool, q om.QueueConfig, ps []om.PartitionInfo, groups []om.GroupInfo, stats []om.QueueStats) error {
	d := queueDetails{queueJSON: newQueueJSON(q, stored(ps)), Details: []partitionJSON{}, Groups: []groupJSON{}}
	about := [][]string{{"name", q.Name}, {"partitions", strconv.Itoa(q.Partitions)}, {"messages", countOrDash(d.Messages)}}
	for _, s := range stats {
		d.Delayed, d.Prepared, d.Published = &s.Delayed, &s.Prepared, &s.Published.Rate
		about = append(about, []string{"delayed", count(s.Delayed)}, []string{"prepared", count(s.Prepared)}, []string{"published", perSecond(s.Published.Rate) + "/s"})
	}
	if q.Description != "" {
		about = append(about, []string{"description", q.Description})
	}
	if q.DeadLetterExpired {
		about = append(about, []string{"expired messages", "to the dead-letter queue"})
	}
	if q.Expires != 0 {
		about = append(about, []string{"expires", "after " + q.Expires.String() + " without use"})
	}
	if x := q.Deduplication; x.Window != 0 {
		about = append(about, []string{"stored once", "by " + x.By + " within " + x.Window.String()})
	}
	if k := q.TransactionCheck; k != (om.TransactionCheck{}) {
		about = append(about, []string{"transaction checks", fmt.Sprintf("first %v, then %v, %d at most (0 is the default)", k.After, k.Every, k.Max)})
	}
	var parts [][]string
	for _, p := range ps {
		d.Details = append(d.Details, partitionJSON{p.Partition, p.Begin, p.End, p.Messages})
		parts = append(parts, []string{strconv.Itoa(int(p.Partition)), count(p.Begin), count(p.End), count(p.Messages)})
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

func queueAddPartitions() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:   "add-partitions QUEUE TOTAL",
		Short: "Give a queue more partitions, TOTAL together",
		Long: `Give a queue more partitions, TOTAL together, while it is used. None can be taken
away. Order by key holds: a group gets the new messages of a key that has another
partition now when it has settled what lies before them in the old one. A group
that does not settle its messages does not get those either.`,
		Example:           "  oms queue add-partitions orders 8",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			total, err := strconv.Atoi(args[1])
			if err != nil || total < 1 {
				return usage(c, errors.New("TOTAL is a number from 1 on: how many partitions the queue shall have"))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := ap.Resources().AddPartitions(ctx, args[0], total); err != nil {
					return err
				}
				q, err := ap.Resources().Queue(ctx, args[0])
				if err != nil {
					return err
				}
				ps, err := ap.partitions(ctx, q.Name)
				if err != nil {
					return err
				}
				return done(c, asJSON, newQueueJSON(q, stored(ps)), "queue %s has %d partitions", short(q.Name), q.Partitions)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
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
