package stdio

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/spi"
)

// message is a message in JSON. Fields that are unset are absent.
type message struct {
	Version       string     `json:"version,omitempty"`
	MessageID     string     `json:"message_id,omitempty"`
	Destination   string     `json:"destination,omitempty"`
	BornAt        *int64     `json:"born_at,omitempty"`
	BornHost      string     `json:"born_host,omitempty"`
	QoS           om.QoS     `json:"qos,omitempty"`
	Compression   string     `json:"compression,omitempty"`
	Partition     *int32     `json:"partition,omitempty"`
	CorrelationID string     `json:"correlation_id,omitempty"`
	TransactionID string     `json:"transaction_id,omitempty"`
	StoredAt      *int64     `json:"stored_at,omitempty"`
	StoreHost     string     `json:"store_host,omitempty"`
	MessageKey    string     `json:"message_key,omitempty"`
	TraceID       string     `json:"trace_id,omitempty"`
	DelayMS       *int64     `json:"delay_ms,omitempty"`
	ExpireAt      *int64     `json:"expire_at,omitempty"`
	Priority      int8       `json:"priority,omitempty"`
	DeliveryCount int        `json:"delivery_count,omitempty"`
	Properties    properties `json:"properties,omitempty"`
	Body          []byte     `json:"body,omitempty"`
}

// wireMessage returns the wire form of m, which shares memory with m, or an
// error for what JSON cannot carry.
func wireMessage(m *om.Message) (*message, error) {
	w := &message{
		Version: m.Version, MessageID: m.MessageID, Destination: m.Destination, BornAt: millis(m.BornAt), BornHost: m.BornHost,
		QoS: m.QoS, Compression: m.Compression, CorrelationID: m.Ext.CorrelationID, TransactionID: m.Ext.TransactionID,
		StoredAt: millis(m.Ext.StoredAt), StoreHost: m.Ext.StoreHost, MessageKey: m.Ext.MessageKey, TraceID: m.Ext.TraceID,
		ExpireAt: millis(m.Ext.ExpireAt), Priority: m.Ext.Priority, DeliveryCount: m.Ext.DeliveryCount,
		Properties: toWire(m.Properties), Body: m.Body,
	}
	if p, ok := m.Ext.Partition.Get(); ok {
		w.Partition = &p
	}
	if m.Ext.Delay != 0 {
		w.DelayMS = lasting(m.Ext.Delay)
	}
	for _, s := range [...]string{
		w.Version, w.MessageID, w.Destination, w.BornHost, w.Compression,
		w.CorrelationID, w.TransactionID, w.StoreHost, w.MessageKey, w.TraceID,
	} {
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("the header text %q is not valid UTF-8", s)
		}
	}
	return w, checkText(m.Properties)
}

// encode returns the JSON of a message of at most maxLine bytes.
func encode(op string, m *om.Message) (json.RawMessage, error) {
	w, err := wireMessage(m)
	if err != nil {
		return nil, om.NewError(om.CodeMalformedMessage, op, m.Destination, "%w", err)
	}
	b, err := json.Marshal(w)
	switch {
	case err != nil:
		return nil, om.NewError(om.CodeMalformedMessage, op, m.Destination, "%w", err)
	case len(b) > maxLine-envelope:
		return nil, om.NewError(om.CodeBodyTooLarge, op, m.Destination,
			"the message takes %d bytes as JSON; a line of the protocol has at most %d", len(b), maxLine)
	}
	return b, nil
}

// envelope is room for what stands around a message in its line.
const envelope = 1 << 10

// value returns the message that w stands for.
func (w *message) value() *om.Message {
	m := &om.Message{
		Version: w.Version,
		Header: om.Header{
			MessageID: w.MessageID, Destination: w.Destination, BornAt: fromMillis(w.BornAt), BornHost: w.BornHost,
			QoS: w.QoS, Compression: w.Compression,
		},
		Ext: om.ExtensionHeader{
			CorrelationID: w.CorrelationID, TransactionID: w.TransactionID, StoredAt: fromMillis(w.StoredAt), StoreHost: w.StoreHost,
			MessageKey: w.MessageKey, TraceID: w.TraceID, ExpireAt: fromMillis(w.ExpireAt),
			Priority: w.Priority, DeliveryCount: w.DeliveryCount,
		},
		Properties: w.Properties.value(),
		Body:       w.Body,
	}
	if w.Partition != nil {
		m.Ext.Partition = om.Some(*w.Partition)
	}
	if w.DelayMS != nil {
		m.Ext.Delay = time.Duration(min(*w.DelayMS, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	return m
}

// value returns the result without its error.
func (o outcome) value() om.SendResult {
	r := om.SendResult{MessageID: o.MessageID, Partition: -1, Offset: -1}
	if o.Partition != nil {
		r.Partition = *o.Partition
	}
	if o.Offset != nil {
		r.Offset = *o.Offset
	}
	return r
}

// received checks and converts deliveries; settled tells that they need receipts.
func received(ds []delivery, settled bool) ([]spi.Received, error) {
	rs := make([]spi.Received, len(ds))
	for i, d := range ds {
		if d.Message == nil {
			return nil, fmt.Errorf("delivery %d has no message", i)
		}
		r := spi.Received{Message: d.Message.value(), Partition: -1, Offset: -1, LeaseUntil: fromMillis(d.LeaseUntil)}
		if d.Partition != nil {
			r.Partition = *d.Partition
		}
		if d.Offset != nil {
			r.Offset = *d.Offset
		}
		if settled {
			if len(d.Receipt) == 0 || string(d.Receipt) == "null" {
				return nil, fmt.Errorf("delivery %d has no receipt", i)
			}
			r.Receipt = d.Receipt
		}
		rs[i] = r
	}
	return rs, nil
}
