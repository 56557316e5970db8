package memory

import (
	"fmt"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// bury moves the message of a delivery to the group's dead-letter queue.
func (g *group) bury(rc *receipt, reason string) {
	s := g.q.s
	name := om.DeadLetterQueue(g.q.config.Name, g.name)
	q := s.queues[name]
	if q == nil {
		q = s.addQueue(om.QueueConfig{
			Name: name, Partitions: 1,
			Description: fmt.Sprintf("dead letters of group %s", g.name),
		})
	}
	m := rc.message.m.Clone()
	if m.Properties == nil {
		m.Properties = om.Properties{}
	}
	m.Properties[om.PropertyDeadReason] = om.String(reason)
	m.Properties[om.PropertyDeadDeliveries] = om.Integer(int32(rc.state.deliveries))
	m.Properties[om.PropertyDeadQueue] = om.String(g.q.config.Name)
	m.Properties[om.PropertyDeadGroup] = om.String(g.name)
	m.Properties[om.PropertyDeadPartition] = om.Integer(rc.partition)
	m.Properties[om.PropertyDeadOffset] = om.Long(rc.offset)
	q.add(m, 0)
	g.settle(rc)
}
