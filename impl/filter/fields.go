package filter

import (
	"time"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// field is an attribute of a message that an expression names like a property.
type field uint8

const (
	property field = iota
	messageID
	bornTimestamp
	bornHost
	qos
	compression
	correlationID
	transactionID
	messageKey
	traceID
	delayTime
	expireTime
	priority
	jmsPriority // 0 to 9, where ours is 1 to 10
	deliveryMode
)

// fields are the names of attributes: those of the specification behind a $,
// which no property should begin with, and those of JMS.
var fields = map[string]field{
	"$messageId": messageID, "$bornTimestamp": bornTimestamp, "$bornHost": bornHost, "$qos": qos,
	"$compression": compression, "$correlationId": correlationID, "$transactionId": transactionID, "$messageKey": messageKey,
	"$traceId": traceID, "$delayTime": delayTime, "$expireTime": expireTime, "$priority": priority,
	"JMSMessageID": messageID, "JMSCorrelationID": correlationID, "JMSTimestamp": bornTimestamp, "JMSPriority": jmsPriority,
	"JMSXGroupID": messageKey, "JMSDeliveryMode": deliveryMode,
}

// defaultPriority is what messages without a priority count with (R040).
const defaultPriority = 5

// subject is a message as expressions see it.
type subject interface {
	property(key string) value
	field(f field) value
}

// textOf is an attribute that is absent when it is empty.
func textOf(s string) value {
	if s == "" {
		return value{}
	}
	return value{kind: characters, text: s}
}

// numberOf is an attribute that is absent when it is 0.
func numberOf(n int64) value {
	if n == 0 {
		return value{}
	}
	return value{kind: exact, num: n}
}

func priorityOf(p int8) value {
	if p == 0 {
		p = defaultPriority
	}
	return value{kind: exact, num: int64(p)}
}

var persistent = value{kind: characters, text: "PERSISTENT"}

// encoded is a message in a chunk.
type encoded struct{ *chunk.View }

func (e encoded) property(key string) value {
	v, ok := e.Property(key)
	if !ok {
		return value{}
	}
	return valueOf(v)
}

func (e encoded) field(f field) value {
	switch f {
	case messageID:
		return textOf(e.MessageID())
	case bornTimestamp:
		return value{kind: exact, num: e.BornAt}
	case bornHost:
		return textOf(e.Chunk.BornHost)
	case qos:
		return value{kind: exact, num: int64(e.QoS)}
	case compression:
		return textOf(e.Compression)
	case correlationID:
		return textOf(e.CorrelationID)
	case transactionID:
		return textOf(e.TransactionID)
	case messageKey:
		return textOf(e.MessageKey)
	case traceID:
		return textOf(e.TraceID)
	case delayTime:
		return numberOf(e.Delay)
	case expireTime:
		return numberOf(e.ExpireAt)
	case priority:
		return priorityOf(e.Priority)
	case jmsPriority:
		v := priorityOf(e.Priority)
		v.num--
		return v
	case deliveryMode:
		return persistent
	}
	return value{}
}

// decoded is a message in memory.
type decoded struct{ *om.Message }

func (d decoded) property(key string) value { return valueOf(d.Properties[key]) }

func (d decoded) field(f field) value {
	m := d.Message
	switch f {
	case messageID:
		return textOf(m.MessageID)
	case bornTimestamp:
		return millis(m.BornAt)
	case bornHost:
		return textOf(m.BornHost)
	case qos:
		return value{kind: exact, num: int64(m.QoS)}
	case compression:
		return textOf(m.Compression)
	case correlationID:
		return textOf(m.Ext.CorrelationID)
	case transactionID:
		return textOf(m.Ext.TransactionID)
	case messageKey:
		return textOf(m.Ext.MessageKey)
	case traceID:
		return textOf(m.Ext.TraceID)
	case delayTime:
		return numberOf(m.Ext.Delay.Milliseconds())
	case expireTime:
		return millis(m.Ext.ExpireAt)
	case priority:
		return priorityOf(m.Ext.Priority)
	case jmsPriority:
		v := priorityOf(m.Ext.Priority)
		v.num--
		return v
	case deliveryMode:
		return persistent
	}
	return value{}
}

func millis(t time.Time) value {
	if t.IsZero() {
		return value{}
	}
	return value{kind: exact, num: t.UnixMilli()}
}
