package oms

import (
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// gate refuses messages that ask for what the driver does not declare (R028).
// Each field tells whether its capability is declared.
type gate struct {
	delay, expire, priority, qos1, qos2, compression, partitions, extIDs, nested bool
}

func newGate(caps om.Capabilities) gate {
	return gate{
		delay:       caps.Has(om.CapDelay),
		expire:      caps.Has(om.CapExpire),
		priority:    caps.Has(om.CapPriority),
		qos1:        caps.Has(om.CapQoS1),
		qos2:        caps.Has(om.CapQoS2),
		compression: caps.Has(om.CapCompression),
		partitions:  caps.Has(om.CapPartitions),
		extIDs:      caps.Has(om.CapExtIDs),
		nested:      caps.Has(om.CapNested),
	}
}

func (g *gate) check(op string, m *om.Message) error {
	missing := om.Capability("")
	switch {
	case m.Ext.Delay != 0 && !g.delay:
		missing = om.CapDelay
	case !m.Ext.ExpireAt.IsZero() && !g.expire:
		missing = om.CapExpire
	case m.Ext.Priority != 0 && !g.priority:
		missing = om.CapPriority
	case m.QoS == om.AtMostOnce && !g.qos1:
		missing = om.CapQoS1
	case m.QoS == om.ExactlyOnce && !g.qos2:
		missing = om.CapQoS2
	case m.Compression != "" && !g.compression:
		missing = om.CapCompression
	case !m.Ext.Partition.IsZero() && !g.partitions:
		missing = om.CapPartitions
	case !g.extIDs && (m.Ext.CorrelationID != "" || m.Ext.MessageKey != "" || m.Ext.TraceID != ""):
		missing = om.CapExtIDs
	case !g.nested && hasObject(m.Properties):
		missing = om.CapNested
	}
	if missing == "" {
		return nil
	}
	return unsupported(op, m.Destination, missing)
}

func hasObject(p om.Properties) bool {
	for _, v := range p {
		if v.Kind() == om.KindObject {
			return true
		}
	}
	return false
}
