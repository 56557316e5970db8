package main

import (
	"context"

	"github.com/spf13/cobra"
)

func namespaceCommand() *cobra.Command {
	return parent("namespace", "Manage namespaces", namespaceList(), namespaceCreate(), namespaceDelete())
}

type namespaceJSON struct {
	Name string `json:"name"`
}

func namespaceList() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the namespaces",
		Example: "  oms namespace list\n  oms namespace list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				names, err := ap.Resources().Namespaces(ctx)
				if err != nil {
					return err
				}
				r := report{header: []string{"NAME"}}
				all := []namespaceJSON{}
				for _, name := range names {
					all = append(all, namespaceJSON{name})
					r.row(name)
				}
				r.value = all
				return r.print(c, asJSON)
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

func namespaceCreate() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a namespace",
		Example: "  oms namespace create refunds",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := ap.Resources().CreateNamespace(ctx, args[0]); err != nil {
					return err
				}
				return done(c, asJSON, namespaceJSON{args[0]}, "namespace %s is created", args[0])
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	return c
}

func namespaceDelete() *cobra.Command {
	var t target
	var asJSON, yes bool
	c := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a namespace that has no queues",
		Example:           "  oms namespace delete empty --yes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.namespaces(),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := confirmed(c, yes, "Delete namespace %s", args[0]); err != nil {
					return err
				}
				if err := ap.Resources().DeleteNamespace(ctx, args[0]); err != nil {
					return err
				}
				return done(c, asJSON, namespaceJSON{args[0]}, "namespace %s is deleted", args[0])
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	yesFlag(c, &yes)
	return c
}

// yesFlag adds --yes.
func yesFlag(c *cobra.Command, yes *bool) {
	c.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}
