package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func requestCommand() *cobra.Command {
	var t target
	asJSON := false
	wait := 10 * time.Second
	c := &cobra.Command{
		Use:   "request QUEUE BODY",
		Short: "Send a request and print its reply",
		Long: `Send a request to a queue and print the body of the reply to it. Whoever answers
it, by whatever program, receives from the queue and sends the reply to where the
property $replyTo says, with the correlation id of the request. Exit status 1:
no reply came in time, or one that says why there is none.`,
		Example: `  oms request prices gold
  oms request prices silver --timeout 2s --json`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			if wait <= 0 {
				return usage(c, fmt.Errorf("--timeout %v is not positive", wait))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				p, err := ap.NewProducer(ctx)
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(ctx, wait)
				defer cancel()
				reply, err := p.Request(ctx, om.NewMessage(args[0], []byte(args[1])))
				if errors.Is(err, context.DeadlineExceeded) {
					return nothing("no reply came from %s within %v", args[0], wait)
				}
				if err != nil {
					return err
				}
				out := append(reply.Body, '\n')
				if asJSON {
					d := om.NewDelivery(reply, -1, -1, nil)
					if out, err = lines.FromDelivery(&d).Append(nil); err != nil {
						return err
					}
				}
				_, err = c.OutOrStdout().Write(out)
				return err
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().DurationVar(&wait, "timeout", wait, "how long to wait for the reply")
	return c
}
