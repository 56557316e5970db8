package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/lines"
	"github.com/openmessaging/openmessaging-go/impl/cmd/oms/internal/scan"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

func routeCommand() *cobra.Command {
	return parent("route", "Manage routes, which copy messages from queue to queue", routeList(), routeCreate(), routeUpdate(), routeDelete())
}

// routeJSON is a route in JSON.
type routeJSON struct {
	Name      string         `json:"name"`
	Source    string         `json:"source"`
	Target    string         `json:"target"`
	Filter    filterJSON     `json:"filter"`
	Start     string         `json:"start"`
	Operators []operatorJSON `json:"operators"`
}

type operatorJSON struct {
	Type          string         `json:"type"`
	Properties    map[string]any `json:"properties,omitempty"`
	PropertyTypes map[string]any `json:"property_types,omitempty"`
	Keys          []string       `json:"keys,omitempty"`
}

func newRouteJSON(r om.RouteConfig) routeJSON {
	j := routeJSON{r.Name, r.Source, r.Target, filterJSON{r.Filter.Type, r.Filter.Expression}, r.Start.String(), []operatorJSON{}}
	for _, o := range r.Operators {
		w := operatorJSON{Type: string(o.Type), Keys: o.Keys}
		w.Properties, w.PropertyTypes = lines.PropertiesJSON(o.Properties)
		j.Operators = append(j.Operators, w)
	}
	return j
}

// operatorText is an operator for people.
func operatorText(o om.Operator) string {
	var parts []string
	for _, k := range o.Properties.Keys() {
		parts = append(parts, k+"="+o.Properties[k].String())
	}
	return string(o.Type) + " " + strings.Join(append(parts, o.Keys...), ",")
}

func routeList() *cobra.Command {
	var t target
	asJSON := false
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the routes",
		Example: "  oms route list\n  oms route list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				routes, err := ap.Resources().Routes(ctx)
				if err != nil {
					return err
				}
				r := report{header: []string{"NAME", "FROM", "TO", "FILTER", "OPERATORS"}, empty: "there are no routes; oms route create makes one"}
				all := []routeJSON{}
				for _, route := range routes {
					all = append(all, newRouteJSON(route))
					var operators []string
					for _, o := range route.Operators {
						operators = append(operators, operatorText(o))
					}
					r.row(route.Name, short(route.Source), short(route.Target), filterText(route.Filter), strings.Join(operators, "; "))
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

// operators gathers --set and --drop in the order in which they are typed.
type operators []om.Operator

// operatorFlag is one of them; it implements pflag.Value.
type operatorFlag struct {
	all  *operators
	kind om.OperatorType
}

func (f operatorFlag) String() string { return "" }
func (f operatorFlag) Type() string {
	if f.kind == om.OperatorSet {
		return "name=value"
	}
	return "name"
}

func (f operatorFlag) Set(s string) error {
	if f.kind == om.OperatorDrop {
		*f.all = append(*f.all, om.DropProperties(strings.Split(s, ",")...))
		return nil
	}
	name, v, err := lines.ParseProperty(s)
	if err != nil {
		return err
	}
	*f.all = append(*f.all, om.SetProperties(om.Properties{name: v}))
	return nil
}

// routeFlags are the parts of a route that flags set.
type routeFlags struct {
	to, filter string
	operators  operators
}

func (f *routeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.to, "to", "", "queue to copy to")
	c.Flags().StringVar(&f.filter, "filter", "", "SQL expression of what is copied (default: everything)")
	c.Flags().Var(operatorFlag{&f.operators, om.OperatorSet}, "set", "set a property of the copies, typed as in name:type=value; may be repeated")
	c.Flags().Var(operatorFlag{&f.operators, om.OperatorDrop}, "drop", "drop a property of the copies; may be repeated")
}

func routeCreate() *cobra.Command {
	var t target
	var f routeFlags
	var from, start string
	asJSON := false
	c := &cobra.Command{
		Use:   "create NAME --from QUEUE --to QUEUE",
		Short: "Have messages of one queue copied to another",
		Long: `Have every matching message of one queue copied to another, once. --set and
--drop change the copies, in the order in which they are typed.`,
		Example: `  oms route create big-orders --from orders --to audit --filter "total >= 1000"
  oms route create new-orders --from orders --to audit --start end --set copied:bool=true --drop internal`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if from == "" || f.to == "" {
				return usage(c, errors.New("--from and --to say from which queue to which"))
			}
			p, err := scan.ParsePosition(start, time.Now())
			if err != nil {
				return usage(c, fmt.Errorf("--start: %w", err))
			}
			route := om.RouteConfig{Name: args[0], Source: from, Target: f.to, Start: p, Operators: f.operators}
			if f.filter != "" {
				route.Filter = om.SQL(f.filter)
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := ap.Resources().CreateRoute(ctx, route); err != nil {
					return err
				}
				return done(c, asJSON, newRouteJSON(route), "route %s copies from %s to %s", route.Name, from, f.to)
			})
		},
	}
	t.add(c)
	f.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().StringVar(&from, "from", "", "queue to copy from")
	c.Flags().StringVar(&start, "start", "begin", "position in the source to begin at")
	_ = c.RegisterFlagCompletionFunc("from", t.queues(1)) // the flags are there
	_ = c.RegisterFlagCompletionFunc("to", t.queues(1))
	return c
}

func routeUpdate() *cobra.Command {
	var t target
	var f routeFlags
	var asJSON, plain bool
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a route for what it has not copied yet",
		Long: `Change a route for what it has not copied yet. What no flag names stays; with
--set or --drop the route has these operators and no others.`,
		Example: `  oms route update audit-orders --filter "total >= 500"
  oms route update audit-orders --filter '' --no-operators`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.routes(),
		RunE: func(c *cobra.Command, args []string) error {
			if plain && len(f.operators) > 0 {
				return usage(c, errors.New("--no-operators goes with neither --set nor --drop"))
			}
			return t.with(c, func(ctx context.Context, ap *connection) error {
				route, err := ap.route(ctx, args[0])
				if err != nil {
					return err
				}
				if f.to != "" {
					route.Target = f.to
				}
				if c.Flags().Changed("filter") {
					route.Filter = om.Filter{}
					if f.filter != "" {
						route.Filter = om.SQL(f.filter)
					}
				}
				if plain || len(f.operators) > 0 {
					route.Operators = f.operators
				}
				if err := ap.Resources().UpdateRoute(ctx, route); err != nil {
					return err
				}
				return done(c, asJSON, newRouteJSON(route), "route %s is changed", route.Name)
			})
		},
	}
	t.add(c)
	f.add(c)
	jsonFlag(c, &asJSON)
	c.Flags().BoolVar(&plain, "no-operators", false, "copy messages as they are")
	_ = c.RegisterFlagCompletionFunc("to", t.queues(1)) // the flag is there
	return c
}

func (ap *connection) route(ctx context.Context, name string) (om.RouteConfig, error) {
	routes, err := ap.Resources().Routes(ctx)
	if err != nil {
		return om.RouteConfig{}, err
	}
	for _, r := range routes {
		if r.Name == name {
			return r, nil
		}
	}
	return om.RouteConfig{}, nothing("no route is named %q; oms route list lists them", name)
}

func routeDelete() *cobra.Command {
	var t target
	var asJSON, yes bool
	c := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Remove a route; what it has copied stays",
		Example:           "  oms route delete old-route --yes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.routes(),
		RunE: func(c *cobra.Command, args []string) error {
			return t.with(c, func(ctx context.Context, ap *connection) error {
				if err := confirmed(c, yes, "Remove route %s", args[0]); err != nil {
					return err
				}
				if err := ap.Resources().DeleteRoute(ctx, args[0]); err != nil {
					return err
				}
				return done(c, asJSON, deletedJSON{args[0]}, "route %s is deleted", args[0])
			})
		},
	}
	t.add(c)
	jsonFlag(c, &asJSON)
	yesFlag(c, &yes)
	return c
}
