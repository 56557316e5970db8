package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// membersJSON is what oms group members prints.
type membersJSON struct {
	Queue      string       `json:"queue"`
	Group      string       `json:"group"`
	Strategy   string       `json:"strategy"` // empty for a shared group
	Generation int64        `json:"generation"`
	Consumers  int          `json:"consumers"`
	Members    []memberJSON `json:"members"`
}

type memberJSON struct {
	ID            string            `json:"id"`
	Partitions    []int32           `json:"partitions"`
	Labels        map[string]string `json:"labels,omitempty"`
	LastHeartbeat string            `json:"last_heartbeat"`
	User          string            `json:"user,omitempty"`
	Address       string            `json:"address,omitempty"`
}

func membersReport(g om.GroupInfo) report {
	r := report{
		header: []string{"MEMBER", "PARTITIONS", "LABELS", "LAST HEARTBEAT", "USER", "ADDRESS"},
		empty:  fmt.Sprintf("the group %s has no members: it is shared by %s", g.Group, counted(int64(g.Consumers), "consumer")),
	}
	j := membersJSON{g.Queue, g.Group, g.Strategy, g.Generation, g.Consumers, []memberJSON{}}
	for _, m := range g.Members {
		j.Members = append(j.Members, memberJSON{m.ID, append([]int32{}, m.Partitions...), m.Labels, timeText(m.LastHeartbeat), m.User, m.Address})
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
			labels = append(labels, k+"="+m.Labels[k])
		}
		r.row(m.ID, dash(partitionsText(m.Partitions)), dash(strings.Join(labels, " ")), timeText(m.LastHeartbeat), dash(m.User), dash(m.Address))
	}
	r.value = j
	return r
}

// partitionsText writes ascending numbers with runs as "0-3".
func partitionsText(ps []int32) string {
	var parts []string
	for i := 0; i < len(ps); {
		from := i
		for i++; i < len(ps) && ps[i] == ps[i-1]+1; i++ {
		}
		if i-from > 1 {
			parts = append(parts, fmt.Sprintf("%d-%d", ps[from], ps[i-1]))
		} else {
			parts = append(parts, fmt.Sprint(ps[from]))
		}
	}
	return strings.Join(parts, ",")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func groupMembers() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:   "members QUEUE GROUP",
		Short: "Show the members of an assigned group and which partitions they hold",
		Long: "Show the members of an assigned group and which partitions they hold.\n\n" +
			"A group that is shared has no members: any of its consumers takes any message.",
		Example:           "  oms group members orders billing\n  oms group members orders billing --json",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.groups(),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				g, err := ap.group(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				r := membersReport(g)
				return r.print(c, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}
