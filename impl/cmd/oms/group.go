package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/scan"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func groupCommand() *cobra.Command {
	return parent("group", "Look at consumer groups and move them", groupList(), groupShow(), groupMembers(), groupConfigure(), groupReset(), groupDelete())
}

// groupJSON is a consumer group in JSON.
type groupJSON struct {
	Queue       string               `json:"queue"`
	Group       string               `json:"group"`
	Consumers   int                  `json:"consumers"`
	Lag         int64                `json:"lag"`
	InFlight    int64                `json:"in_flight"`
	Lost        int64                `json:"lost"`
	Expired     int64                `json:"expired"`
	Redelivered int64                `json:"redelivered"`
	OldestLease string               `json:"oldest_lease,omitempty"`
	Partitions  []groupPartitionJSON `json:"partitions"`
	Settings    *settingsJSON        `json:"settings,omitempty"`
	Strategy    string               `json:"strategy,omitempty"`
	Generation  int64                `json:"generation,omitempty"`

	// Null where the system does not tell.
	OldestSeconds *float64 `json:"oldest_seconds,omitempty"`
	Waiting       *int64   `json:"waiting,omitempty"`
	Dead          *int64   `json:"dead,omitempty"`
}

type groupPartitionJSON struct {
	Partition int32  `json:"partition"`
	Cursor    int64  `json:"cursor"`
	Lag       int64  `json:"lag"`
	InFlight  int64  `json:"in_flight"`
	Owner     string `json:"owner,omitempty"`
}

func newGroupJSON(g om.GroupInfo) groupJSON {
	j := groupJSON{
		Queue: g.Queue, Group: g.Group, Consumers: g.Consumers, Lag: g.Lag, InFlight: g.InFlight, Lost: g.Lost, Expired: g.Expired, Redelivered: g.Redelivered,
		OldestLease: timeText(g.OldestLease), Partitions: []groupPartitionJSON{}, Strategy: g.Strategy, Generation: g.Generation,
	}
	for _, p := range g.Partitions {
		j.Partitions = append(j.Partitions, groupPartitionJSON{p.Partition, p.Cursor, p.Lag, p.InFlight, p.Owner})
	}
	return j
}

func groupReport(groups []om.GroupInfo) report {
	r := report{
		header: []string{"QUEUE", "GROUP", "CONSUMERS", "LAG", "IN FLIGHT", "REDELIVERED", "LOST", "EXPIRED"},
		empty:  "there are no groups; one is made when its first consumer binds",
	}
	all := []groupJSON{}
	for _, g := range groups {
		all = append(all, newGroupJSON(g))
		r.row(short(g.Queue), g.Group, strconv.Itoa(g.Consumers), count(g.Lag), count(g.InFlight), count(g.Redelivered), count(g.Lost), count(g.Expired))
	}
	r.value = all
	return r
}

func groupList() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:               "list [QUEUE]",
		Short:             "List the groups of a queue, or of all queues of the default namespace",
		Example:           "  oms group list\n  oms group list orders --json",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				var all []om.GroupInfo
				if len(args) == 0 {
					queues, err := ap.Resources().Queues(ctx)
					if err != nil {
						return err
					}
					for _, q := range queues {
						args = append(args, q.Name)
					}
				}
				for _, queue := range args {
					groups, err := ap.Resources().Groups(ctx, queue)
					if err != nil {
						return err
					}
					all = append(all, groups...)
				}
				r := groupReport(all)
				return r.print(c, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

// group finds a group of a queue.
func (ap *connection) group(ctx context.Context, queue, group string) (om.GroupInfo, error) {
	groups, err := ap.Resources().Groups(ctx, queue)
	if err != nil {
		return om.GroupInfo{}, err
	}
	for _, g := range groups {
		if g.Group == group {
			return g, nil
		}
	}
	return om.GroupInfo{}, om.NewError(om.CodeGroupNotFound, "describe group", queue, "the queue knows no group %q; oms group list %s lists them", group, queue)
}

func groupShow() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:               "show QUEUE GROUP",
		Short:             "Show a group's progress in each partition",
		Example:           "  oms group show orders billing\n  oms group show orders billing --json",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.groups(),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				g, err := ap.group(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				var settings om.GroupConfig
				j := newGroupJSON(g)
				if ap.Capabilities().Has(om.CapGroupConfig) {
					if settings, err = ap.Resources().Group(ctx, args[0], args[1]); err != nil {
						return err
					}
					j.Settings = newSettingsJSON(settings)
				}
				about := [][]string{
					{"queue", g.Queue}, {"group", g.Group}, {"consumers", strconv.Itoa(g.Consumers)}, {"lag", count(g.Lag)}, {"in flight", count(g.InFlight)},
					{"redelivered", count(g.Redelivered)}, {"lost", count(g.Lost)}, {"expired", count(g.Expired)},
				}
				if about, err = ap.aboutGroup(ctx, &j, about); err != nil {
					return err
				}
				if !g.OldestLease.IsZero() {
					about = append(about, []string{"oldest lease", timeText(g.OldestLease)})
				}
				if g.Strategy != "" {
					about = append(about, []string{"strategy", g.Strategy}, []string{"generation", count(g.Generation)})
				}
				if j.Settings != nil {
					about = append(about, []string{"max deliveries", strconv.Itoa(settings.MaxDeliveries)}, []string{"backoff", backoffText(settings.Backoff)})
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), j)
				}
				if err := printTable(c.OutOrStdout(), nil, about); err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout())
				var rows [][]string
				for _, p := range g.Partitions {
					rows = append(rows, []string{strconv.Itoa(int(p.Partition)), count(p.Cursor), count(p.Lag), count(p.InFlight)})
				}
				return printTable(c.OutOrStdout(), []string{"PARTITION", "CURSOR", "LAG", "IN FLIGHT"}, rows)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

// aboutGroup adds what the statistics of a group tell.
func (ap *connection) aboutGroup(ctx context.Context, j *groupJSON, about [][]string) ([][]string, error) {
	if !ap.Capabilities().Has(om.CapStats) {
		return about, nil
	}
	stats, err := ap.Resources().Stats(ctx, j.Queue)
	if err != nil {
		return nil, err
	}
	for _, g := range stats[0].Groups {
		if g.Group == j.Group {
			seconds := g.OldestAge.Seconds()
			j.OldestSeconds, j.Waiting, j.Dead = &seconds, &g.Waiting, &g.Dead
			about = append(about,
				[]string{"oldest", ageText(g.OldestAge)}, []string{"waiting", count(g.Waiting)}, []string{"dead", count(g.Dead)},
				[]string{"delivered", perSecond(g.Delivered.Rate) + "/s"}, []string{"acknowledged", perSecond(g.Acknowledged.Rate) + "/s"})
		}
	}
	return about, nil
}

// moveJSON is where a reset takes a group in one partition. Again is how many
// messages it gets that lie before where it stands, Skipped how many it does not
// get that lie behind. The numbers are null where the system does not tell.
type moveJSON struct {
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"`
	To        *int64 `json:"to"`
	Again     *int64 `json:"again"`
	Skipped   *int64 `json:"skipped"`
}

// compare sets what a move means.
func (m *moveJSON) compare() {
	if m.From != nil && m.To != nil {
		again, skipped := max(0, *m.From-*m.To), max(0, *m.To-*m.From)
		m.Again, m.Skipped = &again, &skipped
	}
}

// resetJSON is what oms group reset prints.
type resetJSON struct {
	Queue      string     `json:"queue"`
	Group      string     `json:"group"`
	Position   string     `json:"position"`
	DryRun     bool       `json:"dry_run"`
	Partitions []moveJSON `json:"partitions"`
}

func groupReset() *cobra.Command {
	var t target
	var asJSON, dryRun bool
	var to string
	c := &cobra.Command{
		Use:   "reset QUEUE GROUP --to POSITION",
		Short: "Move a group to another position",
		Long: `Move a group's progress in all partitions of a queue. A group that the queue
does not know is made. What its consumers hold at that moment they cannot
acknowledge any more. AGAIN is how many messages lie between the new position and
the one before and are delivered again, SKIPPED how many are passed over; of those
the group may have settled some already. Positions: begin, end, offset:42, a time such as
2018-02-07T00:00:00Z or 2018-02-07, an age such as -1h.`,
		Example: `  oms group reset orders billing --to -1h --dry-run
  oms group reset orders billing --to begin
  oms group reset orders billing --to 2018-02-07T00:00:00Z`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.groups(),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := scan.ParsePosition(to, time.Now())
			if err != nil {
				return usage(c, fmt.Errorf("--to: %w", err))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				moves, err := ap.moves(ctx, args[0], args[1], p)
				if err != nil {
					return err
				}
				if !dryRun {
					if err := ap.Resources().SeekGroup(ctx, args[0], args[1], p); err != nil {
						return err
					}
				}
				r := report{header: []string{"PARTITION", "FROM", "TO", "AGAIN", "SKIPPED"}, value: resetJSON{long(args[0]), args[1], p.String(), dryRun, moves}}
				for _, m := range moves {
					r.row(strconv.Itoa(int(m.Partition)), countOrDash(m.From), countOrDash(m.To), countOrDash(m.Again), countOrDash(m.Skipped))
				}
				if err := r.print(c, asJSON); err != nil || asJSON {
					return err
				}
				what := "group %s of %s stands at %s\n"
				if dryRun {
					what = "dry run: group %s of %s would stand at %s\n"
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), what, args[1], args[0], p)
				return err
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&to, "to", "", "position to move to")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would move, and move nothing")
	return c
}

// moves tells where a group stands and where a position would take it.
func (ap *connection) moves(ctx context.Context, queue, group string, p om.Position) ([]moveJSON, error) {
	moves := []moveJSON{}
	if !ap.Capabilities().Has(om.CapMetadata) {
		return moves, nil
	}
	groups, err := ap.Resources().Groups(ctx, queue)
	if err != nil {
		return nil, err
	}
	cursors := make(map[int32]*int64)
	for _, g := range groups {
		if g.Group == group {
			for _, part := range g.Partitions {
				cursors[part.Partition] = &part.Cursor
			}
		}
	}
	parts, err := ap.Resources().Partitions(ctx, queue)
	if err != nil {
		return nil, err
	}
	var stream om.StreamConsumer
	if ap.Capabilities().Has(om.CapStream) {
		if stream, err = ap.NewStreamConsumer(ctx); err != nil {
			return nil, err
		}
	}
	for _, part := range parts {
		m := moveJSON{Partition: part.Partition, From: cursors[part.Partition]}
		if stream != nil {
			cursor, err := stream.Open(ctx, queue, part.Partition, p)
			if err != nil {
				return nil, err
			}
			if offset, ok := cursor.Position().Offset(); ok {
				m.To = &offset
			}
		}
		m.compare()
		moves = append(moves, m)
	}
	return moves, nil
}

func groupDelete() *cobra.Command {
	var t target
	var asJSON, yes bool
	c := &cobra.Command{
		Use:               "delete QUEUE GROUP",
		Short:             "Forget a group and its progress in a queue",
		Example:           "  oms group delete orders old-group --yes",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.groups(),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := confirmed(c, yes, "Forget group %s of queue %s", args[1], args[0]); err != nil {
					return err
				}
				if err := ap.Resources().DeleteGroup(ctx, args[0], args[1]); err != nil {
					return err
				}
				return done(c, asJSON, deletedJSON{args[1]}, "group %s of %s is deleted", args[1], args[0])
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	yesFlag(c, &yes)
	return c
}
