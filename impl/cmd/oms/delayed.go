package main

import (
	"context"

	"github.com/spf13/cobra"
)

func delayedCommand() *cobra.Command {
	return parent("delayed", "Take delayed messages back", delayedCancel())
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
tells the id. A message that is due, was cancelled before or is not there is an
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
