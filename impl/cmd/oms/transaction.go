package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func transactionCommand() *cobra.Command {
	return parent("transaction", "Look at transactions of prepared messages, and end them by hand", transactionList(), transactionShow(),
		transactionEnd("commit", om.TxCommit, "Deliver a prepared message", "delivered"), transactionEnd("rollback", om.TxRollback, "Discard a prepared message", "discarded"))
}

// transactionJSON is a transaction in JSON.
type transactionJSON struct {
	ID            string `json:"id"`
	Queue         string `json:"queue"`
	ProducerGroup string `json:"producer_group"`
	Prepared      string `json:"prepared"`
	Checks        int    `json:"checks"`
	NextCheck     string `json:"next_check,omitempty"`
	Parked        bool   `json:"parked"`
}

func newTransactionJSON(t om.TransactionInfo) transactionJSON {
	return transactionJSON{t.ID, t.Queue, t.ProducerGroup, timeText(t.Prepared), t.Checks, timeText(t.NextCheck), t.Parked}
}

func transactionList() *cobra.Command {
	var t target
	asJSON, most := false, 0
	c := &cobra.Command{
		Use:   "list [QUEUE]",
		Short: "List transactions that have not ended",
		Long: `List the transactions of prepared messages that have not ended, the oldest first,
of one queue or of all. After the last check a transaction is parked: it is rolled
back for its producers, and the message is kept for you to commit or to discard.`,
		Example:           "  oms transaction list\n  oms transaction list orders --json",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: t.queues(1),
		RunE: func(c *cobra.Command, args []string) error {
			if most < 1 {
				return usage(c, fmt.Errorf("--max %d is not positive", most))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				queue := ""
				if len(args) > 0 {
					queue = args[0]
				}
				ts, err := ap.Resources().Transactions(ctx, queue, most)
				if err != nil {
					return err
				}
				all := []transactionJSON{}
				r := report{header: []string{"ID", "QUEUE", "PRODUCERS", "SINCE", "CHECKS", "NEXT CHECK"}, empty: "no transaction is open"}
				for _, x := range ts {
					next := timeText(x.NextCheck)
					if x.Parked {
						next = "parked"
					}
					all = append(all, newTransactionJSON(x))
					r.row(x.ID, short(x.Queue), x.ProducerGroup, timeText(x.Prepared), strconv.Itoa(x.Checks), next)
				}
				r.value = all
				return r.print(c, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().IntVar(&most, "max", 1000, "so many at most, 1 to 1000")
	return c
}

func transactionShow() *cobra.Command {
	var t target
	var p printer
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Print the message of a transaction",
		Long: `Print the message of a transaction that has not ended. Nothing is ended by that.

Formats have these verbs:
` + lines.FormatHelp,
		Example: `  oms transaction show $(oms transaction list orders --json | sed 's/.*"id":"\([^"]*\)".*/\1/')`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := p.open(c); err != nil {
				return usage(c, err)
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				x, err := ap.Resources().Transaction(ctx, args[0])
				if err != nil {
					return err
				}
				if x.Message == nil {
					return errors.New("retention has dropped the message")
				}
				d := om.NewDelivery(x.Message, -1, -1, nil)
				return p.print(&d)
			})
		},
	}
	t.add(c)
	p.add(c)
	return c
}

// endedJSON is what commit and rollback print.
type endedJSON struct {
	ID      string `json:"id"`
	Verdict string `json:"verdict"`
}

func transactionEnd(name string, verdict om.TxVerdict, what, became string) *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:   name + " ID",
		Short: what + " by hand",
		Long: what + ` by hand, also one that is parked. Ask the producer's people first: its
checker may say something else later, which is then refused.`,
		Example: `  oms transaction ` + name + ` $(oms transaction list orders --json | sed 's/.*"id":"\([^"]*\)".*/\1/')`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := ap.Resources().EndTransaction(ctx, args[0], verdict); err != nil {
					return err
				}
				return done(c, asJSON, endedJSON{args[0], name}, "the message %s is %s", args[0], became)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}
