package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// route has messages of one queue copied to another. The record, its parts and
// the cursors are guarded by the source's lock; names and the graph of routes
// by Broker.mu.
type route struct {
	b      *Broker
	source *Queue

	record   routeRecord
	target   *Queue
	selector *selector
	progress []handled // by partition of the source
	// generation counts the updates: what was made ready before one means
	// nothing after it.
	generation uint32
	end        context.CancelFunc // of the goroutine that copies; nil before it runs

	work    work // the goroutine's own
	removed bool
}

// routeRecord is the stored form of a route.
type routeRecord struct {
	Name      string           `msgpack:"name"`
	Source    uint64           `msgpack:"source"` // queue id
	Target    uint64           `msgpack:"target"`
	Filter    filterRecord     `msgpack:"filter,omitempty"`
	Start     string           `msgpack:"start"` // for listing
	Operators []operatorRecord `msgpack:"operators,omitempty"`
}

// handled is how far a route is in a partition: what is before the cursor, or in
// done, has been copied or left out.
type handled struct {
	cursor int64
	done   ranges // beyond cursor
}

func (h *handled) add(from, to int64) {
	h.done.add(max(from, h.cursor), to)
	if len(h.done) > 0 && h.done[0].From <= h.cursor {
		h.cursor = h.done[0].To
		h.done = h.done[1:]
	}
}

// cursorsRecord is the stored form of a route's progress.
type cursorsRecord struct {
	_msgpack struct{} `msgpack:",as_array"` //lint:ignore U1000 msgpack reads it
	Cursors  []int64
	Done     [][]int64
}

func routeKey(name string) string { return keyRoute + name }

func (r *route) putCursors(tx *transaction) {
	var rec cursorsRecord
	for _, h := range r.progress {
		rec.Cursors, rec.Done = append(rec.Cursors, h.cursor), append(rec.Done, h.done.flat())
	}
	tx.batch.Put(keyCursors+r.record.Name, encode(rec))
}

// config describes the route; the source's lock is held.
func (r *route) config() om.RouteConfig {
	start, _ := om.ParsePosition(r.record.Start)
	c := om.RouteConfig{
		Name: r.record.Name, Source: r.source.name, Target: r.target.name,
		Filter: r.selector.filter(), Start: start,
	}
	for _, o := range r.record.Operators {
		c.Operators = append(c.Operators, o.operator())
	}
	return c
}

// CreateRoute creates a route; see openmessaging.Resources.
func (b *Broker) CreateRoute(ctx context.Context, r om.RouteConfig) error {
	const op = "create route"
	c, err := b.routeCommand(op, r)
	if err != nil {
		return err
	}
	if c.source, err = b.Queue(op, r.Source); err != nil {
		return err
	}
	if c.cursors, err = c.source.resolveAll(r.Start); err != nil {
		return err
	}
	c.record.Start = r.Start.String()
	return b.submit(ctx, &createRoute{c})
}

// UpdateRoute changes target, filter and operators of a route.
func (b *Broker) UpdateRoute(ctx context.Context, r om.RouteConfig) error {
	c, err := b.routeCommand("update route", r)
	if err != nil {
		return err
	}
	return b.submit(ctx, &updateRoute{c})
}

// DeleteRoute removes a route.
func (b *Broker) DeleteRoute(ctx context.Context, name string) error {
	return b.submit(ctx, &deleteRoute{name})
}

// Routes lists the routes, sorted by name.
func (b *Broker) Routes() []om.RouteConfig {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]om.RouteConfig, 0, len(b.routes))
	for _, name := range slices.Sorted(maps.Keys(b.routes)) {
		r := b.routes[name]
		r.source.mu.Lock()
		out = append(out, r.config())
		r.source.mu.Unlock()
	}
	return out
}

// routeChange is what commands that make or change a route carry.
type routeChange struct {
	record   routeRecord
	source   *Queue
	target   *Queue
	selector *selector
	cursors  []int64
}

func (b *Broker) routeCommand(op string, r om.RouteConfig) (c routeChange, err error) {
	if err := checkName(op, "route", r.Name); err != nil {
		return c, err
	}
	if c.target, err = b.Queue(op, r.Target); err != nil {
		return c, err
	}
	if c.selector, err = newSelector(op, r.Name, r.Filter); err != nil {
		return c, err
	}
	c.record = routeRecord{Name: r.Name, Target: c.target.record.ID, Filter: c.selector.record()}
	c.record.Operators, err = operatorRecords(op, r.Name, r.Operators)
	return c, err
}

// leads reports whether messages of one queue come to another; Broker.mu is
// held.
func (b *Broker) leads(from, to *Queue) bool {
	if from == to {
		return true
	}
	for _, r := range b.routes {
		if r.source == from && b.leads(r.target, to) {
			return true
		}
	}
	return false
}

func (b *Broker) checkRoute(op string, name string, source, target *Queue) error {
	if source.deleted || target.deleted {
		return om.NewError(om.CodeDestinationNotFound, op, name, "its source or target has just been deleted")
	}
	if b.leads(target, source) {
		return om.NewError(om.CodeBadParameter, op, name,
			"messages would go round in a circle, because %s leads to %s already", target.name, source.name)
	}
	return nil
}

type createRoute struct{ routeChange }

func (c *createRoute) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.routes[c.record.Name] != nil:
		return om.NewError(om.CodeDestinationExists, "create route", c.record.Name, "a route of that name is there; choose another name")
	case len(b.routes) >= MaxRoutes:
		return om.NewError(om.CodeBadParameter, "create route", c.record.Name, "%d routes are the most; delete one that is not needed", MaxRoutes)
	}
	if err := b.checkRoute("create route", c.record.Name, c.source, c.target); err != nil {
		return err
	}
	c.record.Source = c.source.record.ID
	r := &route{b: b, source: c.source, record: c.record, target: c.target, selector: c.selector}
	for i, p := range c.source.list() {
		r.progress = append(r.progress, handled{cursor: p.clamp(c.cursors, i)})
	}
	b.routes[r.record.Name] = r
	tx.batch.Put(routeKey(r.record.Name), encode(r.record))
	r.putCursors(tx)
	b.startRoute(r)
	return nil
}

type updateRoute struct{ routeChange }

func (c *updateRoute) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.routes[c.record.Name]
	if r == nil {
		return noRoute("update route", c.record.Name)
	}
	delete(b.routes, c.record.Name) // a circle through the old one is none
	err := b.checkRoute("update route", c.record.Name, r.source, c.target)
	b.routes[c.record.Name] = r
	if err != nil {
		return err
	}
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	c.record.Source, c.record.Start = r.record.Source, r.record.Start
	r.record, r.target, r.selector = c.record, c.target, c.selector
	r.generation++
	tx.batch.Put(routeKey(r.record.Name), encode(r.record))
	return nil
}

type deleteRoute struct{ name string }

func (c *deleteRoute) apply(b *Broker, tx *transaction) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.routes[c.name]
	if r == nil {
		return noRoute("delete route", c.name)
	}
	r.remove(tx)
	return nil
}

func noRoute(op, name string) error {
	return om.NewError(om.CodeDestinationNotFound, op, name, "no route of that name is there")
}

// remove ends the route and deletes what is stored of it; Broker.mu is held.
func (r *route) remove(tx *transaction) {
	r.removed = true
	if r.end != nil {
		r.end()
	}
	tx.batch.Delete(routeKey(r.record.Name))
	tx.batch.Delete(keyCursors + r.record.Name)
	delete(r.b.routes, r.record.Name)
}

// startRoute begins to copy.
func (b *Broker) startRoute(r *route) {
	ctx, end := context.WithCancel(b.ctx)
	r.end = end
	b.done.Go(func() {
		defer end()
		r.run(ctx)
	})
}

func loadRoute(b *Broker, queues map[uint64]*Queue, key string, value []byte) error {
	var rec routeRecord
	if err := decode(key, value, &rec); err != nil {
		return err
	}
	r := &route{b: b, record: rec, source: queues[rec.Source], target: queues[rec.Target]}
	if r.source == nil || r.target == nil || routeKey(rec.Name) != key {
		return damaged(key, fmt.Errorf("a route of a queue that is not there"))
	}
	var err error
	if r.selector, err = rec.Filter.selector(rec.Name); err != nil {
		return damaged(key, err)
	}
	for i := range rec.Operators {
		if err := rec.Operators[i].load(); err != nil {
			return damaged(key, err)
		}
	}
	b.routes[rec.Name] = r
	return nil
}

func loadCursors(b *Broker, key string, value []byte) error {
	var c cursorsRecord
	if err := decode(key, value, &c); err != nil {
		return err
	}
	r := b.routes[strings.TrimPrefix(key, keyCursors)]
	if r == nil || len(c.Cursors) != len(r.source.list()) || len(c.Done) != len(c.Cursors) {
		return damaged(key, fmt.Errorf("progress of a route that is not there"))
	}
	for i, p := range r.source.list() {
		done, ok := unflat(c.Done[i])
		if !ok || c.Cursors[i] < 0 || c.Cursors[i] > p.next {
			return damaged(key, fmt.Errorf("progress that cannot be"))
		}
		r.progress = append(r.progress, handled{c.Cursors[i], done})
	}
	return nil
}
