package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/contexts"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// completion is a function that proposes arguments.
type completion = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// completeWithin bounds how long the shell waits for proposals.
const completeWithin = 2 * time.Second

func completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	saved, err := contexts.Load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return saved.Names(), cobra.ShellCompDirectiveNoFileComp
}

// complete proposes what list finds for the arguments so far. A system that does
// not answer proposes nothing.
func (t *target) complete(list func(ctx context.Context, r om.Resources, args []string, begun string) ([]string, error)) completion {
	return func(c *cobra.Command, args []string, begun string) (names []string, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), completeWithin)
		defer cancel()
		c.SetContext(ctx)
		c.SetIn(strings.NewReader("")) // nobody is asked for a secret
		_ = t.with(c, func(ctx context.Context, ap *connection) (err error) {
			names, err = list(ctx, ap.Resources(), args, begun)
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// queues proposes queues for the first n arguments.
func (t *target) queues(n int) completion {
	return t.complete(func(ctx context.Context, r om.Resources, args []string, begun string) ([]string, error) {
		if len(args) >= n {
			return nil, nil
		}
		return queueNames(ctx, r, begun)
	})
}

// queueNames lists the queues of the namespace that a name begins with.
func queueNames(ctx context.Context, r om.Resources, begun string) ([]string, error) {
	if namespace, _, ok := strings.Cut(begun, "://"); ok {
		r = r.Namespace(namespace)
	}
	queues, err := r.Queues(ctx)
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = short(q.Name)
	}
	return names, err
}

// groups proposes a queue and then one of its groups.
func (t *target) groups() completion {
	return t.complete(func(ctx context.Context, r om.Resources, args []string, begun string) (names []string, err error) {
		switch len(args) {
		case 0:
			return queueNames(ctx, r, begun)
		case 1:
			groups, err := r.Groups(ctx, args[0])
			for _, g := range groups {
				names = append(names, g.Group)
			}
			return names, err
		}
		return nil, nil
	})
}

// routes proposes a route.
func (t *target) routes() completion {
	return t.complete(func(ctx context.Context, r om.Resources, args []string, _ string) (names []string, err error) {
		if len(args) > 0 {
			return nil, nil
		}
		routes, err := r.Routes(ctx)
		for _, route := range routes {
			names = append(names, route.Name)
		}
		return names, err
	})
}

// namespaces proposes a namespace.
func (t *target) namespaces() completion {
	return t.complete(func(ctx context.Context, r om.Resources, args []string, _ string) ([]string, error) {
		if len(args) > 0 {
			return nil, nil
		}
		return r.Namespaces(ctx)
	})
}
