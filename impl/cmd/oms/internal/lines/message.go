package lines

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// Message is a message as a line of JSON. Parse takes up the fields of a message
// that a sender sets; the others tell where it lay and are passed over.
type Message struct {
	Queue     string `json:"queue,omitempty"`
	Partition *int32 `json:"partition,omitempty"`
	Offset    *int64 `json:"offset,omitempty"`

	ID            string `json:"id,omitempty"`
	BornAt        string `json:"born_at,omitempty"`
	BornHost      string `json:"born_host,omitempty"`
	StoredAt      string `json:"stored_at,omitempty"`
	StoreHost     string `json:"store_host,omitempty"`
	DeliveryCount int    `json:"delivery_count,omitempty"`
	TransactionID string `json:"transaction_id,omitempty"`
	Version       string `json:"version,omitempty"`

	Key           string `json:"key,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
	QoS           int8   `json:"qos,omitempty"`
	Compression   string `json:"compression,omitempty"`
	DelayMS       int64  `json:"delay_ms,omitempty"`
	ExpireAt      string `json:"expire_at,omitempty"`
	Priority      int8   `json:"priority,omitempty"`

	Properties    map[string]any `json:"properties,omitempty"`
	PropertyTypes map[string]any `json:"property_types,omitempty"`

	// Body is the body where that is valid UTF-8, else BodyBase64 is.
	Body       *string `json:"body,omitempty"`
	BodyBase64 *string `json:"body_base64,omitempty"`
}

// FromDelivery returns the line of a delivery.
func FromDelivery(d *om.Delivery) Message {
	m := Message{
		Queue: om.JoinQueueName(om.SplitQueueName(d.Destination, om.DefaultNamespace)), ID: d.MessageID, BornAt: stamp(d.BornAt), BornHost: d.BornHost,
		StoredAt: stamp(d.Ext.StoredAt), StoreHost: d.Ext.StoreHost, DeliveryCount: d.Ext.DeliveryCount,
		TransactionID: d.Ext.TransactionID, Version: d.Version, Key: d.Ext.MessageKey,
		CorrelationID: d.Ext.CorrelationID, TraceID: d.Ext.TraceID, QoS: int8(d.QoS), Compression: d.Compression,
		DelayMS: d.Ext.Delay.Milliseconds(), ExpireAt: stamp(d.Ext.ExpireAt), Priority: d.Ext.Priority,
	}
	if d.Partition >= 0 {
		m.Partition = &d.Partition
	}
	if d.Offset >= 0 {
		m.Offset = &d.Offset
	}
	m.Properties, m.PropertyTypes = PropertiesJSON(d.Properties)
	if utf8.Valid(d.Body) {
		body := string(d.Body)
		m.Body = &body
	} else {
		body := base64.StdEncoding.EncodeToString(d.Body)
		m.BodyBase64 = &body
	}
	return m
}

const stampForm = "2006-01-02T15:04:05.000Z07:00"

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(stampForm)
}

// Append appends the line with its end.
func (m Message) Append(b []byte) ([]byte, error) {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	err := e.Encode(m)
	return w.Bytes(), err
}

// Parse makes a message for a queue of a line of JSON.
func Parse(line []byte, queue string) (*om.Message, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("it is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	d.DisallowUnknownFields()
	var m Message
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("it is no message: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return m.message(queue)
}

func (m Message) message(queue string) (*om.Message, error) {
	out := om.NewMessage(queue, nil)
	switch {
	case m.Body != nil && m.BodyBase64 != nil:
		return nil, errors.New("it has both body and body_base64")
	case m.Body != nil:
		out.Body = []byte(*m.Body)
	case m.BodyBase64 != nil:
		var err error
		if out.Body, err = base64.StdEncoding.DecodeString(*m.BodyBase64); err != nil {
			return nil, fmt.Errorf("body_base64: %w", err)
		}
	}
	var err error
	if out.Properties, err = parseProperties(m.Properties, m.PropertyTypes, 1); err != nil {
		return nil, err
	}
	if m.ExpireAt != "" {
		if out.Ext.ExpireAt, err = time.Parse(time.RFC3339Nano, m.ExpireAt); err != nil {
			return nil, fmt.Errorf("expire_at: %q is no time as in RFC 3339", m.ExpireAt)
		}
	}
	if m.DelayMS < 0 || m.DelayMS > maxDelay {
		return nil, fmt.Errorf("delay_ms: %d is not in 0 to %d", m.DelayMS, maxDelay)
	}
	out.QoS, out.Compression = om.QoS(m.QoS), m.Compression
	out.Ext.MessageKey, out.Ext.CorrelationID, out.Ext.TraceID = m.Key, m.CorrelationID, m.TraceID
	out.Ext.Delay, out.Ext.Priority = time.Duration(m.DelayMS)*time.Millisecond, m.Priority
	return out, nil
}

// maxDelay is a hundred years in milliseconds.
const maxDelay = 100 * 366 * 24 * 60 * 60 * 1000
