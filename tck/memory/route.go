package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// route has messages of one queue copied to another.
type route struct {
	config         om.RouteConfig
	source, target *queue
	filter         filter
	seen           map[string]time.Time // what a Deduplicate operator let pass last
}

// routesFrom returns the routes of a queue, by name.
func (s *System) routesFrom(q *queue) (out []*route) {
	for _, name := range slices.Sorted(maps.Keys(s.routes)) {
		if r := s.routes[name]; r.source == q {
			out = append(out, r)
		}
	}
	return out
}

// copy copies a message to the target when it matches.
func (r *route) copy(m *om.Message) {
	if !r.filter.matches(m) {
		return
	}
	if len(r.config.Operators) > 0 {
		if r.isDuplicate(m) {
			return
		}
		m = copyIn(m)
		for _, o := range r.config.Operators {
			maps.Copy(m.Properties, o.Properties)
			if o.Type == om.OperatorDrop {
				for _, k := range o.Keys {
					delete(m.Properties, k)
				}
			}
		}
	}
	r.target.add(m, r.target.choose(m, r.target.nextTurn))
}

// isDuplicate reports whether a Deduplicate operator leaves the message out, and
// notes it otherwise.
func (r *route) isDuplicate(m *om.Message) bool {
	for _, o := range r.config.Operators {
		if o.Type != om.OperatorDeduplicate {
			continue
		}
		var value string
		switch name := o.Keys[0]; name {
		case "$messageKey":
			value = m.Ext.MessageKey
		case "$correlationId":
			value = m.Ext.CorrelationID
		case "$messageId":
			value = m.MessageID
		default:
			if p, ok := m.Properties[name]; ok {
				value = fmt.Sprint(p.Kind(), p)
			}
		}
		if value == "" {
			continue
		}
		now := time.Now()
		if at, ok := r.seen[value]; ok && now.Sub(at) < o.Window {
			return true
		}
		r.seen[value] = now
	}
	return false
}

// begin copies what the source holds from the route's start on.
func (r *route) begin() {
	for _, p := range r.source.parts {
		for _, m := range p.log[p.resolve(r.config.Start)-p.begin:] {
			r.copy(m.m)
		}
	}
}

// leads reports whether messages of one queue come to another.
func (s *System) leads(from, to *queue) bool {
	if from == to {
		return true
	}
	for _, r := range s.routesFrom(from) {
		if s.leads(r.target, to) {
			return true
		}
	}
	return false
}

func (c *conn) CreateRoute(ctx context.Context, r om.RouteConfig) error {
	const op = "create route"
	if err := c.begin(ctx, om.CapRouting, op, r.Name); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if c.s.routes[r.Name] != nil {
		return om.NewError(om.CodeDestinationExists, op, r.Name, "a route of that name is there; choose another name")
	}
	made, err := c.newRoute(op, r)
	if err != nil {
		return err
	}
	c.s.routes[r.Name] = made
	made.begin()
	return nil
}

func (c *conn) UpdateRoute(ctx context.Context, r om.RouteConfig) error {
	const op = "update route"
	if err := c.begin(ctx, om.CapRouting, op, r.Name); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	old := c.s.routes[r.Name]
	if old == nil {
		return om.NewError(om.CodeDestinationNotFound, op, r.Name, "no route of that name is there")
	}
	delete(c.s.routes, r.Name) // a cycle through the old one is none
	r.Source, r.Start = old.config.Source, old.config.Start
	made, err := c.newRoute(op, r)
	if err != nil {
		made = old
	}
	made.seen = old.seen
	c.s.routes[r.Name] = made
	return err
}

// newRoute checks a route and makes it.
func (c *conn) newRoute(op string, r om.RouteConfig) (*route, error) {
	if err := checkName(op, "route", r.Name); err != nil {
		return nil, err
	}
	source, err := c.s.queue(op, r.Source)
	if err != nil {
		return nil, err
	}
	target, err := c.s.queue(op, r.Target)
	if err != nil {
		return nil, err
	}
	for _, o := range r.Operators {
		switch o.Type {
		case om.OperatorSet, om.OperatorDrop:
		case om.OperatorDeduplicate:
			if len(o.Keys) != 1 || o.Keys[0] == "" || o.Window <= 0 {
				return nil, om.NewError(om.CodeBadParameter, op, r.Name, "deduplicating needs the name of one property and a window")
			}
		default:
			return nil, om.NewError(om.CodeUnsupported, op, r.Name, "there is no operator %q", o.Type)
		}
	}
	if r.Filter != (om.Filter{}) {
		if err := c.s.need(om.CapFilter, op, r.Name); err != nil {
			return nil, err
		}
	}
	f, err := newFilter(op, r.Name, r.Filter)
	if err != nil {
		return nil, err
	}
	if c.s.leads(target, source) {
		return nil, om.NewError(om.CodeBadParameter, op, r.Name, "messages would go round in a circle, because %s leads to %s already", r.Target, r.Source)
	}
	r.Source, r.Target = source.config.Name, target.config.Name
	return &route{r, source, target, f, map[string]time.Time{}}, nil
}

func (c *conn) DeleteRoute(ctx context.Context, name string) error {
	const op = "delete route"
	if err := c.begin(ctx, om.CapRouting, op, name); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if c.s.routes[name] == nil {
		return om.NewError(om.CodeDestinationNotFound, op, name, "no route of that name is there")
	}
	delete(c.s.routes, name)
	return nil
}

func (c *conn) Routes(ctx context.Context) (out []om.RouteConfig, err error) {
	if err := c.begin(ctx, om.CapRouting, "list routes", ""); err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.s.routes)) {
		out = append(out, c.s.routes[name].config)
	}
	return out, nil
}
