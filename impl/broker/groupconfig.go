package broker

import (
	"cmp"
	"context"
	"slices"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// exhausts reports whether so many deliveries of a message were the last one.
func (g *group) exhausts(deliveries int32) bool {
	return int(deliveries) >= g.config.MaxDeliveries && g.queue.buries()
}

// config returns the settings that a record stands for.
func (r groupRecord) config() om.GroupConfig {
	if r.MaxDeliveries == 0 {
		return om.GroupConfig{MaxDeliveries: om.DefaultMaxDeliveries, Backoff: om.NoBackoff}
	}
	c := om.GroupConfig{MaxDeliveries: r.MaxDeliveries}
	for _, ms := range r.Backoff {
		c.Backoff = append(c.Backoff, time.Duration(ms)*time.Millisecond)
	}
	return c
}

// Group returns the settings of a group.
func (q *Queue) Group(name string) (om.GroupConfig, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[name]
	if g == nil {
		return om.GroupConfig{}, noGroup("describe group", q.name, name)
	}
	c := g.config
	c.Backoff = slices.Clone(c.Backoff)
	return c, nil
}

// ConfigureGroup sets the settings of a group and returns when that is durable.
func (b *Broker) ConfigureGroup(ctx context.Context, queue, group string, c om.GroupConfig) error {
	const op = "configure group"
	q, err := b.Queue(op, queue)
	if err != nil {
		return err
	}
	c, err = c.Complete(op, q.name)
	if err := cmp.Or(err, q.reserved(op, group)); err != nil {
		return err
	}
	return b.submit(ctx, &configureGroup{q, group, c})
}

type configureGroup struct {
	queue  *Queue
	name   string
	config om.GroupConfig
}

func (c *configureGroup) apply(_ *Broker, tx *transaction) error {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[c.name]
	switch {
	case q.deleted:
		return notFound("configure group", q.name)
	case g == nil:
		return noGroup("configure group", q.name, c.name)
	}
	g.config = c.config
	g.record.MaxDeliveries, g.record.Backoff = c.config.MaxDeliveries, nil
	for _, d := range c.config.Backoff {
		g.record.Backoff = append(g.record.Backoff, d.Milliseconds())
	}
	tx.batch.Put(groupKey(q, g.name), encode(g.record))
	for _, p := range g.parts {
		ready := p.ready
		p.ready = nil
		for _, s := range ready {
			g.again(p, s.From, s.To) // some may have been delivered too often now
		}
	}
	return nil
}
