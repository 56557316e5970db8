package mutant

import (
	"context"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

var partitionMutants = []Mutant{
	adding("partitions-not-added", "R128", "send", func(func() error) error { return nil }, nil),
	adding("fewer-partitions-accepted", "R128", "6 partitions where there are 7: got success", func(do func() error) error {
		if err := do(); om.CodeOf(err) != om.CodeBadParameter {
			return err
		}
		return nil
	}, nil),
	// What is sent after the last time has no key on its way, so it does not wait.
	adding("added-partitions-do-not-wait", "R128", "messages of key", func(do func() error) error { return do() }, func(m *om.Message) {
		if key := m.Ext.MessageKey; key != "" {
			m.Properties = om.Properties{keyProperty: om.String(key)}
			m.Ext.MessageKey, m.Ext.Partition = "", om.Some(int32(6))
		}
	}),
}

const keyProperty = "mutant-key"

// adding changes what adding partitions does, and what is sent when there are
// seven.
func adding(name, kills, says string, add func(do func() error) error, write func(*om.Message)) Mutant {
	return Mutant{name, kills, says, func(p *parts) {
		var grown locked[bool]
		p.conn = func(c spi.Conn) spi.Conn {
			a, _ := spi.As[spi.PartitionAdder](c)
			return adder{spi.ConnWrapper{Conn: c}, a, add, func() { grown.do(func(g *bool) { *g = true }) }}
		}
		if write == nil {
			return
		}
		p.write = func(m *om.Message) {
			if grown.get() {
				write(m)
			}
		}
		p.read = func(m *om.Message) {
			if key := m.Properties.GetString(keyProperty, ""); key != "" {
				m.Ext.MessageKey = key
			}
		}
	}}
}

type adder struct {
	spi.ConnWrapper
	a     spi.PartitionAdder
	add   func(do func() error) error
	seven func()
}

func (a adder) AddPartitions(ctx context.Context, queue string, total int) error {
	err := a.add(func() error { return a.a.AddPartitions(ctx, queue, total) })
	if err == nil && total == 7 {
		a.seven()
	}
	return err
}
