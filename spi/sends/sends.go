// Package sends is for drivers of systems that take messages one by one or in
// batches: it gathers what is to be sent in a call, and divides it into groups
// that cannot overtake each other.
package sends

import (
	"slices"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// Call is a call of Send. Q is what the driver knows of a queue; values for the
// same queue are equal while the call lasts. A Call is for one goroutine.
type Call[Q comparable] struct {
	Messages []*om.Message
	Queues   []Q           // by the places of Messages
	Outcomes []spi.Outcome // by the places of Messages
	open     []int         // places of what is not sent yet, in order
}

// Admit returns a call of Send. It asks find for the queue of a destination,
// once for messages in a row, and admit whether a message may be sent; admit
// may set what it knows of the outcome. An error of either is the message's.
func Admit[Q comparable](ms []*om.Message, find func(destination string) (Q, error), admit func(m *om.Message, q Q, o *spi.Outcome) error) *Call[Q] {
	c := &Call[Q]{Messages: ms, Queues: make([]Q, len(ms)), Outcomes: make([]spi.Outcome, len(ms)), open: make([]int, 0, len(ms))}
	found := false
	for i, m := range ms {
		o := &c.Outcomes[i]
		if found && m.Destination == ms[i-1].Destination {
			c.Queues[i] = c.Queues[i-1]
		} else {
			c.Queues[i], o.Err = find(m.Destination)
			found = o.Err == nil
		}
		if found {
			o.Err = admit(m, c.Queues[i], o)
		}
		if o.Err == nil {
			c.open = append(c.open, i)
		}
	}
	return c
}

// Send has the admitted messages sent. send gets their places in groups, which
// it may send at once, and returns when it knows what became of all. A group is
// one message or, for queues that take batches, a batch of least to most messages to one queue.
// What send returns was refused because it was a batch: it is sent again message
// by message, before what follows it in its queue.
func (c *Call[Q]) Send(least, most int, batches func(Q) bool, send func(groups [][]int) (refused []int)) {
	for len(c.open) > 0 {
		if refused := send(c.round(least, most, batches)); len(refused) > 0 {
			send(slices.AppendSeq(make([][]int, 0, len(refused)), slices.Chunk(refused, 1)))
		}
	}
}

// round takes from what is open the groups that may be sent at once.
func (c *Call[Q]) round(least, most int, batches func(Q) bool) (groups [][]int) {
	groups = make([][]int, 0, len(c.open))
	to := make(map[Q][]int)
	var later []int
	for k, i := range c.open {
		switch q := c.Queues[i]; {
		case !batches(q):
			groups = append(groups, c.open[k:k+1])
		case len(to[q]) < most:
			to[q] = append(to[q], i)
		default:
			later = append(later, i)
		}
	}
	for _, batch := range to {
		if len(batch) >= least {
			groups = append(groups, batch)
		} else {
			groups = slices.AppendSeq(groups, slices.Chunk(batch, 1))
		}
	}
	c.open = later
	return groups
}

// Partition returns the partition that a message asks for, the one of its key,
// or else another.
func Partition(m *om.Message, ofKey func(key string) int32, another func() int32) int32 {
	if n, asked := m.Ext.Partition.Get(); asked {
		return n
	}
	if m.Ext.MessageKey != "" {
		return ofKey(m.Ext.MessageKey)
	}
	return another()
}
