// Package omsotel traces messages with OpenTelemetry, whatever system carries
// them: interceptors for producers and consumers of the portable client.
//
//	producer, err := ap.NewProducer(ctx, openmessaging.WithSendInterceptor(omsotel.ProducerInterceptor(nil)))
//	consumer, err := ap.NewPushConsumer(ctx, openmessaging.WithReceiveInterceptor(omsotel.ReceiveInterceptor(nil)))
//
// The context of the trace travels in the message's properties traceparent and
// tracestate, as W3C has it. Spans follow OpenTelemetry's conventions for
// messaging; these are not stable yet, and names may change with a new version of
// this package.
//
// Every function takes a trace.TracerProvider; nil stands for the global one of
// package otel. What they return may be used concurrently, by any number of
// producers and consumers.
package omsotel

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/openmessaging/openmessaging-go/internal/semconv"
	om "github.com/openmessaging/openmessaging-go/openmessaging"
)

var w3c propagation.TraceContext

func tracer(p trace.TracerProvider) trace.Tracer {
	if p == nil {
		p = otel.GetTracerProvider()
	}
	return p.Tracer("github.com/openmessaging/openmessaging-go/openmessaging/oms/omsotel", trace.WithSchemaURL(semconv.SchemaURL))
}

// properties writes the context of a trace into a message.
type properties struct {
	semconv.Properties
	m *om.Message
}

// Set sets a property.
func (p properties) Set(key, value string) {
	if p.m.Properties == nil {
		p.m.Properties = om.Properties{}
	}
	p.m.Properties[key] = om.String(value)
}

// lookup returns the properties of a message, to be read.
func lookup(m *om.Message) semconv.Properties {
	return func(key string) (om.Value, bool) {
		v, ok := m.Properties[key]
		return v, ok
	}
}

// Inject writes the context of the trace that ctx carries into the properties of
// m, which it changes. Without one it does nothing. ProducerInterceptor does it
// by itself.
func Inject(ctx context.Context, m *om.Message) { w3c.Inject(ctx, properties{m: m}) }

// Extract returns ctx with the context of the trace that m carries, for a span
// that belongs to the same trace. Without one, or with one that is malformed, it
// returns ctx.
func Extract(ctx context.Context, m *om.Message) context.Context { return w3c.Extract(ctx, lookup(m)) }

// ProducerInterceptor makes a span of each message that is sent, until it is
// stored or has failed, and has the message carry its context. A context that the
// message carries already is replaced.
func ProducerInterceptor(p trace.TracerProvider) om.SendInterceptor {
	t := tracer(p)
	return om.SendInterceptor{
		Before: func(ctx context.Context, m *om.Message) (context.Context, error) {
			ctx, _ = t.Start(ctx, semconv.Send.SpanName(m.Destination), trace.WithSpanKind(trace.SpanKindProducer),
				trace.WithAttributes(semconv.Send.Attributes(m.Destination)...))
			Inject(ctx, m)
			return ctx, nil
		},
		After: func(ctx context.Context, _ *om.Message, r om.SendResult) {
			span := trace.SpanFromContext(ctx)
			span.SetAttributes(semconv.MessageID(r.MessageID))
			span.End()
		},
		Failed: func(ctx context.Context, _ *om.Message, err error) { end(trace.SpanFromContext(ctx), err) },
	}
}

// ReceiveInterceptor makes a span of the handling of each delivery by a push
// consumer. It links to the span that sent the message, and is its child unless
// the context that the handler gets has a span already. Pull consumers never tell
// that they are done: use PullInterceptor.
func ReceiveInterceptor(p trace.TracerProvider) om.ReceiveInterceptor {
	t := tracer(p)
	return om.ReceiveInterceptor{
		Before: func(ctx context.Context, d *om.Delivery) (context.Context, error) {
			ctx, _ = begin(ctx, t, semconv.Process, d)
			return ctx, nil
		},
		After: func(ctx context.Context, _ *om.Delivery, err error) { end(trace.SpanFromContext(ctx), err) },
	}
}

// PullInterceptor makes a span for each delivery that a pull or stream consumer
// hands out, which ends at once. It links to the span that sent the message; use
// [Extract] for spans of what the program does with it.
func PullInterceptor(p trace.TracerProvider) om.ReceiveInterceptor {
	t := tracer(p)
	return om.ReceiveInterceptor{
		Before: func(ctx context.Context, d *om.Delivery) (context.Context, error) {
			_, span := begin(ctx, t, semconv.Receive, d)
			span.End()
			return ctx, nil
		},
	}
}

// begin begins a span about a delivery.
func begin(ctx context.Context, t trace.Tracer, op semconv.Operation, d *om.Delivery) (context.Context, trace.Span) {
	sent := trace.SpanContextFromContext(Extract(context.Background(), d.Message))
	if sent.IsValid() && !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, sent)
	}
	return t.Start(ctx, op.SpanName(d.Destination), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(semconv.Links([]trace.SpanContext{sent})...),
		trace.WithAttributes(append(op.Attributes(d.Destination), semconv.MessageID(d.MessageID), semconv.Partition(strconv.Itoa(int(d.Partition))))...))
}

// end ends a span, with an error when there is one.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(semconv.Error(err))
	}
	span.End()
}
