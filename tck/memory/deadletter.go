package memory

import (
	"fmt"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Properties of messages in dead-letter queues, besides their own.
const (
	// PropertyDeadReason is a String: the reason of Reject, or why the system
	// gave up.
	PropertyDeadReason = "oms.dead.reason"
	// PropertyDeadDeliveries is an Integer: how often the message was delivered.
	PropertyDeadDeliveries = "oms.dead.deliveries"
	// PropertyDeadQueue is a String: the long name of the queue it comes from.
	PropertyDeadQueue = "oms.dead.queue"
)

// DeadLetterQueue returns the name of the queue that gets the messages which a
// group of a queue rejects, or is given too often. It is an ordinary queue of
// the same namespace, with one partition; the first dead letter makes it.
func DeadLetterQueue(queue, group string) string { return queue + "//dlq//" + group }

// bury moves the message of a delivery to the group's dead-letter queue.
func (g *group) bury(rc *receipt, reason string) {
	s := g.q.s
	name := DeadLetterQueue(g.q.config.Name, g.name)
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
	m.Properties[PropertyDeadReason] = om.String(reason)
	m.Properties[PropertyDeadDeliveries] = om.Integer(int32(rc.state.deliveries))
	m.Properties[PropertyDeadQueue] = om.String(g.q.config.Name)
	q.add(m, 0)
	g.settle(rc)
}
