package spi

import (
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Refuse refuses a message that asks for what a driver does not declare, with
// the unsupported class (R028). A driver calls it for each message of a Send,
// with its own capabilities; the portable client has done so too.
func Refuse(op string, m *om.Message, caps om.Capabilities) error {
	missing := om.Capability("")
	switch e := &m.Ext; {
	case e.Delay != 0 && !caps.Has(om.CapDelay):
		missing = om.CapDelay
	case !e.ExpireAt.IsZero() && !caps.Has(om.CapExpire):
		missing = om.CapExpire
	case e.Priority >= 1 && e.Priority <= 10 && !caps.Has(om.CapPriority): // others count as none (R040)
		missing = om.CapPriority
	case m.QoS == om.AtMostOnce && !caps.Has(om.CapQoS1):
		missing = om.CapQoS1
	case m.QoS == om.ExactlyOnce && !caps.Has(om.CapQoS2):
		missing = om.CapQoS2
	case m.Compression != "" && !caps.Has(om.CapCompression):
		missing = om.CapCompression
	case !e.Partition.IsZero() && !caps.Has(om.CapPartitions):
		missing = om.CapPartitions
	case (e.CorrelationID != "" || e.MessageKey != "" || e.TraceID != "") && !caps.Has(om.CapExtIDs):
		missing = om.CapExtIDs
	case len(m.Properties) > 0 && !caps.Has(om.CapNested) && hasObject(m.Properties):
		missing = om.CapNested
	default:
		return nil
	}
	return om.NewError(om.CodeUnsupported, op, m.Destination, "the driver does not declare the capability %q", string(missing))
}

func hasObject(p om.Properties) bool {
	for _, v := range p {
		if v.Kind() == om.KindObject {
			return true
		}
	}
	return false
}

// Limits are the largest parts of a message that a driver takes, in bytes. 0
// is no limit.
type Limits struct {
	Body       int
	Properties int // by Properties.Size
	Header     int // the texts of the header together, born host and message key included
}

// Check refuses a message with a part that is over its limit, with the code
// for that part (R026).
func (l Limits) Check(op string, m *om.Message) error {
	header := len(m.Destination) + len(m.BornHost) + len(m.Compression) + len(m.Ext.CorrelationID) + len(m.Ext.MessageKey) + len(m.Ext.TraceID)
	over := func(code om.Code, what string, size, most int) error {
		return om.NewError(code, op, m.Destination, "%s of %d bytes, %d are the most; make it smaller", what, size, most)
	}
	switch {
	case l.Body > 0 && len(m.Body) > l.Body:
		return over(om.CodeBodyTooLarge, "body", len(m.Body), l.Body)
	case l.Properties > 0 && m.Properties.Size() > l.Properties:
		return over(om.CodePropertiesTooLarge, "properties", m.Properties.Size(), l.Properties)
	case l.Header > 0 && header > l.Header:
		return over(om.CodeHeaderTooLarge, "header", header, l.Header)
	}
	return nil
}

// CheckPartition refuses a partition that a queue of so many does not have.
func CheckPartition(op, queue string, partition int32, partitions int) error {
	if partition < 0 || int(partition) >= partitions {
		return om.NewError(om.CodeBadParameter, op, queue, "partition %d is not in 0 to %d", partition, partitions-1)
	}
	return nil
}

// Admit refuses what Refuse, Check or CheckPartition refuse of a message to a
// queue with so many partitions.
func (l Limits) Admit(op string, m *om.Message, caps om.Capabilities, partitions int) error {
	if err := Refuse(op, m, caps); err != nil {
		return err
	}
	if n, asked := m.Ext.Partition.Get(); asked {
		if err := CheckPartition(op, m.Destination, n, partitions); err != nil {
			return err
		}
	}
	return l.Check(op, m)
}
