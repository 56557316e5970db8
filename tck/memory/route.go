package memory

import (
	"context"
	"maps"
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// route has messages of one queue copied to another from its creation on.
type route struct {
	config         om.RouteConfig
	source, target *queue
	filter         filter
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
	if err := checkName(op, "route", r.Name); err != nil {
		return err
	}
	if c.s.routes[r.Name] != nil {
		return om.NewError(om.CodeDestinationExists, op, r.Name, "a route of that name is there; choose another name")
	}
	source, err := c.s.queue(op, r.Source)
	if err != nil {
		return err
	}
	target, err := c.s.queue(op, r.Target)
	if err != nil {
		return err
	}
	if r.Filter != (om.Filter{}) {
		if err := c.s.need(om.CapFilter, op, r.Name); err != nil {
			return err
		}
	}
	f, err := newFilter(op, r.Name, r.Filter)
	if err != nil {
		return err
	}
	if c.s.leads(target, source) {
		return om.NewError(om.CodeBadParameter, op, r.Name, "messages would go round in a circle, because %s leads to %s already", r.Target, r.Source)
	}
	r.Source, r.Target = source.config.Name, target.config.Name
	c.s.routes[r.Name] = &route{r, source, target, f}
	return nil
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
