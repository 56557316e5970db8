// Package semconv holds the names that traces use: OpenTelemetry's conventions
// for messaging. They still change from version to version, so nothing else
// names them.
package semconv

import (
	"go.opentelemetry.io/otel/attribute"
	conv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

// SchemaURL is that of the version of the conventions.
const SchemaURL = conv.SchemaURL

// Operation is something that is done with messages.
type Operation struct {
	name string
	kind attribute.KeyValue
}

// The operations: those of clients, then those of the server.
var (
	Send    = Operation{"send", conv.MessagingOperationTypeSend}
	Process = Operation{"process", conv.MessagingOperationTypeProcess}
	Publish = Operation{"publish", conv.MessagingOperationTypeSend}
	Receive = Operation{"receive", conv.MessagingOperationTypeReceive}
	Settle  = Operation{"settle", conv.MessagingOperationTypeSettle}
)

// SpanName returns the name of the span of an operation on a queue.
func (o Operation) SpanName(queue string) string { return o.name + " " + queue }

// Attributes returns what describes an operation on a queue.
func (o Operation) Attributes(queue string) []attribute.KeyValue {
	return []attribute.KeyValue{
		conv.MessagingSystemKey.String("openmessaging"), conv.MessagingOperationName(o.name), o.kind, conv.MessagingDestinationName(queue),
	}
}

// Group returns the attribute of a consumer group, Count that of how many
// messages a batch has, MessageID that of a message, Partition that of a
// partition, Error that of an error.
func Group(name string) attribute.KeyValue { return conv.MessagingConsumerGroupName(name) }

// Count is documented with Group.
func Count(n int) attribute.KeyValue { return conv.MessagingBatchMessageCount(n) }

// MessageID is documented with Group.
func MessageID(id string) attribute.KeyValue { return conv.MessagingMessageID(id) }

// Partition is documented with Group.
func Partition(id string) attribute.KeyValue { return conv.MessagingDestinationPartitionID(id) }

// Error is documented with Group.
func Error(err error) attribute.KeyValue { return conv.ErrorTypeKey.String(om.CodeOf(err).String()) }

// Properties carries the context of a trace in the properties of a message, as
// W3C has it: traceparent and tracestate. It implements
// propagation.TextMapCarrier.
type Properties func(key string) (om.Value, bool)

// Get returns a property that is text, else "".
func (p Properties) Get(key string) string {
	v, _ := p(key)
	text, _ := v.Text()
	return text
}

// Set does nothing: see package omsotel for who writes.
func (Properties) Set(string, string) {}

// Keys returns nothing: the W3C propagator asks by name.
func (Properties) Keys() []string { return nil }

// Links returns links to what is in the contexts, without those that are not
// valid.
func Links(contexts []trace.SpanContext) (links []trace.Link) {
	for _, c := range contexts {
		if c.IsValid() {
			links = append(links, trace.Link{SpanContext: c})
		}
	}
	return links
}
