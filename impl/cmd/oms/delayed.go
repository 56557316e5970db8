package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func delayedCommand() *cobra.Command {
	return parent("delayed", "Look at delayed messages and take them back", delayedList(), delayedCancel())
}

// delayedJSON is a delayed message in JSON. Bytes are those of its body.
type delayedJSON struct {
	ID        string `json:"id"`
	DueAt     string `json:"due_at"`
	Partition int32  `json:"partition"`
	Key       string `json:"key,omitempty"`
	Bytes     int    `json:"bytes"`
}

func delayedList() *cobra.Command {
	var t target
	asJSON := false
	n := 0
	c := &cobra.Command{
		Use:   "list QUEUE",
		Short: "List the messages of a queue that are not due yet",
		Long: `List the messages of a queue that are not due yet, about in the order in which they
are due. The system goes through what is delayed in all queues for it.`,
		Example:           "  oms delayed list orders\n  oms delayed list orders -n 5 --json",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			if n < 0 {
				return usage(c, fmt.Errorf("-n %d is negative", n))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				r := report{header: []string{"ID", "DUE", "PARTITION", "BYTES", "KEY"}, empty: "the queue has no delayed messages"}
				all := []delayedJSON{}
				for d, err := range ap.find(ctx, args[0], om.MessageQuery{Delayed: true}) {
					if err != nil {
						return err
					}
					j := delayedJSON{d.MessageID, dueText(d.Message), d.Partition, d.Ext.MessageKey, len(d.Body)}
					all = append(all, j)
					r.row(j.ID, j.DueAt, fmt.Sprint(j.Partition), count(int64(j.Bytes)), j.Key)
					if len(all) == n {
						break
					}
				}
				r.value = all
				return r.print(c, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVarP(&n, "count", "n", 100, "end after so many messages, 0 for all")
	return c
}

type canceledJSON struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
}

func delayedCancel() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:   "cancel QUEUE ID",
		Short: "Take a message back that is not due yet",
		Long: `Take a message back that was sent with a delay and is not due yet; oms publish
tells the id, and so does oms delayed list. A message that is due, was cancelled before or is not there is an
error.`,
		Example:           `  oms delayed cancel orders $(oms publish orders later --delay 1h --json | sed 's/.*"id":"\([^"]*\)".*/\1/')`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := ap.Resources().CancelDelayed(ctx, args[0], args[1]); err != nil {
					return err
				}
				return done(c, asJSON, canceledJSON{args[0], args[1]}, "message %s is cancelled", args[1])
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}
