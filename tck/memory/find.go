package memory

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// FindMessages looks at everything; Next is how much of what was found is told.
func (c *conn) FindMessages(ctx context.Context, name string, want om.MessageQuery) (found []spi.Received, next string, err error) {
	const op = "find"
	q, err := c.beginQueue(ctx, om.CapFind, op, name)
	if err != nil {
		return nil, "", err
	}
	defer c.s.mu.Unlock()
	if want, err = want.Complete(op, name); err != nil {
		return nil, "", err
	}
	told, err := strconv.Atoi(cmp.Or(want.After, "0"))
	if err != nil || told < 0 {
		return nil, "", om.NewError(om.CodeBadParameter, op, name, "%.60q is not where a call has ended", want.After)
	}
	switch {
	case want.Delayed:
		found = q.findDelayed(want, name)
	case want.DeadFor != "":
		if q.groups[want.DeadFor] == nil {
			return nil, "", om.NewError(om.CodeGroupNotFound, op, name, "the queue knows no group %q", want.DeadFor)
		}
		if dlq := c.s.queues[om.DeadLetterQueue(q.config.Name, want.DeadFor)]; dlq != nil {
			found = dlq.find(want, want.Where(name))
		}
	default:
		found = q.find(want, name)
	}
	found = found[min(told, len(found)):]
	if len(found) > want.Max {
		found, next = found[:want.Max], strconv.Itoa(told+want.Max)
	}
	return found, next, nil
}

// matches reports whether a message that was stored, or is due, at an instant is
// looked for.
func matches(want om.MessageQuery, m *om.Message, at time.Time) bool {
	from, to := want.From.Truncate(time.Millisecond), want.To.Truncate(time.Millisecond)
	return (want.ID == "" || m.MessageID == want.ID) && (want.Key == "" || m.Ext.MessageKey == want.Key) &&
		!at.Before(from) && (want.To.IsZero() || at.Before(to))
}

func (q *queue) find(want om.MessageQuery, name string) (found []spi.Received) {
	for n, p := range q.parts {
		for i, m := range p.log {
			if !(m.redriven && want.DeadFor != "") && matches(want, m.m, m.storedAt) {
				partition, offset := q.place(int32(n), p.begin+int64(i))
				found = append(found, spi.Received{Message: q.deliver(m, name, int32(n), 0), Partition: partition, Offset: offset})
			}
		}
	}
	return found
}

func (q *queue) findDelayed(want om.MessageQuery, name string) (found []spi.Received) {
	var all []delayed
	for _, d := range q.waiting {
		if matches(want, d.m, d.due) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b delayed) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.m.MessageID, b.m.MessageID)) })
	for _, d := range all {
		partition, _ := q.place(d.partition, -1)
		found = append(found, spi.Received{Message: q.deliver(&stored{m: d.m, storedAt: d.at}, name, d.partition, 0), Partition: partition, Offset: -1})
	}
	return found
}
