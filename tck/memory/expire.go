package memory

import (
	"maps"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// checkExpires holds the rules of queues that expire.
func (s *System) checkExpires(op string, c om.QueueConfig) error {
	if c.Expires == 0 {
		return nil
	}
	if err := s.need(om.CapRequestReply, op, c.Name); err != nil {
		return err
	}
	if c.Expires < time.Second {
		return om.NewError(om.CodeBadParameter, op, c.Name, "it cannot expire after %v; a second is the least", c.Expires)
	}
	return nil
}

// expireAfter plans to delete a queue that expires, unless it is used until then.
func (q *queue) expireAfter(used time.Time) {
	q.used = used
	if q.config.Expires > 0 {
		at := used.Add(q.config.Expires)
		q.s.at(at, func() { q.expire(at) })
	}
}

func (q *queue) expire(now time.Time) {
	for _, g := range q.groups {
		if len(g.receivers) > 0 {
			q.used = now
		}
	}
	switch {
	case q.deleted:
	case q.used.Add(q.config.Expires).After(now):
		q.expireAfter(q.used)
	default:
		q.remove()
	}
}

// remove deletes the queue with all that belongs to it.
func (q *queue) remove() {
	s := q.s
	for _, g := range q.groups {
		g.shut(&ending{om.CodeDestinationNotFound, "the queue has been deleted"})
	}
	maps.DeleteFunc(s.routes, func(_ string, r *route) bool { return r.source == q || r.target == q })
	delete(s.queues, q.config.Name)
	q.deleted = true
	s.wake()
}
