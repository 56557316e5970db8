package oms

import (
	"maps"
	"os"
	"sync"
	"time"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var hostname = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
})

// stamp sets the fields marked "set on send" and takes away what only the
// provider may set. The message id follows when the provider has chosen it.
func stamp(m *om.Message, born time.Time, host string) {
	m.Version = om.SpecVersion
	m.BornAt = born
	m.BornHost = host
	if m.MessageID != "" {
		m.MessageID = ""
	}
	e := &m.Ext
	if e.TransactionID != "" {
		e.TransactionID = ""
	}
	if !e.StoredAt.IsZero() {
		e.StoredAt = time.Time{}
	}
	if e.StoreHost != "" {
		e.StoreHost = ""
	}
	e.DeliveryCount = 0
}

// bornNow returns the present time as BornAt gives it.
func bornNow(now time.Time) time.Time { return now.UTC().Truncate(time.Millisecond) }

// giveBack copies the fields marked "set on send" to the caller's message.
func giveBack(target, sent *om.Message) {
	target.Version = sent.Version
	target.MessageID = sent.MessageID
	target.BornAt = sent.BornAt
	target.BornHost = sent.BornHost
	target.Ext.TransactionID = sent.Ext.TransactionID
	target.Ext.StoredAt = sent.Ext.StoredAt
	target.Ext.StoreHost = sent.Ext.StoreHost
	target.Ext.DeliveryCount = sent.Ext.DeliveryCount
}

// priorityOutOfRange reports a priority that is ignored (R040).
func priorityOutOfRange(m *om.Message) bool { return m.Ext.Priority < 0 || m.Ext.Priority > 10 }

// copyTo makes dst a copy of m that shares nothing that can change. Texts are
// shared: they cannot. The body is appended to bodies, which is returned. With
// hooked, interceptors may write to the properties.
func copyTo(dst, m *om.Message, bodies []byte, hooked bool) []byte {
	*dst = *m
	switch {
	case len(m.Properties) > 0:
		dst.Properties = maps.Clone(m.Properties)
	case hooked:
		dst.Properties = om.Properties{}
	default:
		dst.Properties = nil
	}
	if len(m.Body) > 0 {
		start := len(bodies)
		bodies = append(bodies, m.Body...)
		dst.Body = bodies[start:len(bodies):len(bodies)]
	}
	if priorityOutOfRange(dst) {
		dst.Ext.Priority = 0
	}
	return bodies
}

// sizeOf returns the body and property bytes of m, which batches and buffers
// are measured by.
func sizeOf(m *om.Message) int { return len(m.Body) + m.Properties.Size() }
