package memory

import (
	"context"
	"fmt"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// bury moves the message of a delivery to the group's dead-letter queue.
func (g *group) bury(rc *receipt, reason string) {
	g.dead(rc.message, rc.partition, rc.offset, rc.state.deliveries, reason)
	g.settle(rc)
}

// dead puts a copy of a message into the group's dead-letter queue.
func (g *group) dead(of *stored, partition int32, offset int64, deliveries int, reason string) {
	s := g.q.s
	name := om.DeadLetterQueue(g.q.config.Name, g.name)
	q := s.queues[name]
	if q == nil {
		q = s.addQueue(om.QueueConfig{
			Name: name, Partitions: 1,
			Description: fmt.Sprintf("dead letters of group %s", g.name),
			Expires:     g.q.config.Expires,
		})
	}
	m := of.m.Clone()
	if m.Properties == nil {
		m.Properties = om.Properties{}
	}
	delete(m.Properties, om.PropertyRedriveGroup)
	m.Ext.ExpireAt = time.Time{}
	m.Properties[om.PropertyDeadReason] = om.String(reason)
	m.Properties[om.PropertyDeadDeliveries] = om.Integer(int32(deliveries))
	m.Properties[om.PropertyDeadQueue] = om.String(g.q.config.Name)
	m.Properties[om.PropertyDeadGroup] = om.String(g.name)
	m.Properties[om.PropertyDeadPartition] = om.Integer(partition)
	m.Properties[om.PropertyDeadOffset] = om.Long(offset)
	q.add(m, 0)
}

// late is called for a message that the group finds expired and settles.
func (g *group) late(n int, offset int64, st *state) {
	if !g.q.config.DeadLetterExpired {
		return
	}
	deliveries := 0
	if st != nil {
		deliveries = st.deliveries
	}
	g.dead(g.q.parts[n].message(offset), int32(n), offset, deliveries, om.DeadExpired)
}

// again returns what a dead letter becomes when it is redriven.
func (g *group) again(of *om.Message) *om.Message {
	m := of.Clone()
	for _, name := range []string{
		om.PropertyDeadReason, om.PropertyDeadDeliveries, om.PropertyDeadQueue, om.PropertyDeadGroup, om.PropertyDeadPartition, om.PropertyDeadOffset,
	} {
		delete(m.Properties, name)
	}
	m.Properties[om.PropertyRedriveGroup] = om.String(g.name)
	return m
}

// beginGroup is beginQueue for an operation on a group that must be there.
func (c *conn) beginGroup(ctx context.Context, needs om.Capability, op, queue, name string) (*group, error) {
	q, err := c.beginQueue(ctx, needs, op, queue)
	if err != nil {
		return nil, err
	}
	g := q.groups[name]
	if g == nil {
		c.s.mu.Unlock()
		return nil, om.NewError(om.CodeGroupNotFound, op, queue, "the queue knows no group %q", name)
	}
	return g, nil
}

func (c *conn) ConfigureGroup(ctx context.Context, queue, group string, config om.GroupConfig) error {
	const op = "configure group"
	g, err := c.beginGroup(ctx, om.CapGroupConfig, op, queue, group)
	if err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	config, err = config.Complete(op, queue)
	if err == nil {
		g.settings = config
	}
	return err
}

func (c *conn) Group(ctx context.Context, queue, group string) (om.GroupConfig, error) {
	g, err := c.beginGroup(ctx, om.CapGroupConfig, "describe group", queue, group)
	if err != nil {
		return om.GroupConfig{}, err
	}
	defer c.s.mu.Unlock()
	out := g.settings
	out.Backoff = append(om.Backoff(nil), out.Backoff...)
	return out, nil
}

func (c *conn) Redrive(ctx context.Context, queue, group string, want om.Redrive) (out []om.Redriven, err error) {
	const op = "redrive"
	g, err := c.beginGroup(ctx, om.CapRedrive, op, queue, group)
	if err != nil {
		return nil, err
	}
	defer c.s.mu.Unlock()
	if want, err = want.Complete(op, queue); err != nil {
		return nil, err
	}
	f, err := newFilter(op, queue, want.Filter)
	if err != nil {
		return nil, err
	}
	missing := map[string]bool{}
	for _, id := range want.IDs {
		missing[id] = true
	}
	if dlq := c.s.queues[om.DeadLetterQueue(g.q.config.Name, group)]; dlq != nil {
		for i, m := range dlq.parts[0].log {
			if m.redriven || len(out) == want.Max || len(want.IDs) > 0 && !missing[m.m.MessageID] || !f.matches(m.m) {
				continue
			}
			delete(missing, m.m.MessageID)
			out = append(out, g.redrive(m, dlq.parts[0].begin+int64(i), want.DryRun))
		}
	}
	for _, id := range want.IDs {
		if missing[id] {
			delete(missing, id)
			err := om.NewError(om.CodeMessageNotFound, op, queue, "no dead letter of the group has the id %q; perhaps it was redriven already", id)
			out = append(out, om.Redriven{MessageID: id, DeadOffset: -1, Queue: g.q.config.Name, Partition: -1, Offset: -1, Err: err})
		}
	}
	return out, nil
}

// redrive moves a dead letter back.
func (g *group) redrive(m *stored, at int64, dry bool) om.Redriven {
	partition := int32(m.m.Properties.GetInt64(om.PropertyDeadPartition, 0))
	if int(partition) >= len(g.q.parts) {
		partition = 0
	}
	r := om.Redriven{MessageID: m.m.MessageID, DeadOffset: at, Queue: g.q.config.Name, Partition: partition, Offset: -1}
	if !dry {
		m.redriven = true
		r.Offset = g.q.put(g.again(m.m), partition, g.name)
	}
	return r
}
