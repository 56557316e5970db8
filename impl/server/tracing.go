package server

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/openmessaging/openmessaging-go/impl/chunk"
	"github.com/openmessaging/openmessaging-go/internal/semconv"
)

// Bounds of what a span tells of a batch: a span with thousands of links helps
// nobody, and looking for them takes time.
const (
	maxLinks  = 32
	maxLooked = 256 // messages
)

// span begins a span of the server; nil when nothing is traced. Of the messages'
// own contexts the first is the parent when it is asked for, and all are links.
func (s *Server) span(ctx context.Context, op semconv.Operation, queue string, contexts []trace.SpanContext, child bool, more ...attribute.KeyValue) trace.Span {
	if s.opts.Tracer == nil {
		return nil
	}
	if child && len(contexts) > 0 {
		ctx = trace.ContextWithRemoteSpanContext(ctx, contexts[0])
		contexts = contexts[1:]
	}
	_, span := s.opts.Tracer.Start(ctx, op.SpanName(queue), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(append(op.Attributes(queue), more...)...), trace.WithLinks(semconv.Links(contexts)...))
	return span
}

// finish ends a span of the server, which may be nil.
func finish(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(semconv.Error(err))
	}
	span.End()
}

// contexts returns the contexts of traces that the messages of a chunk carry.
func contexts(into []trace.SpanContext, b []byte) []trace.SpanContext {
	h, err := chunk.Parse(b)
	if err != nil {
		return into
	}
	var v chunk.View
	for w, n := chunk.Walk(b, h, 0), 0; n < maxLooked && len(into) < maxLinks && w.Next(&v); n++ {
		ctx := propagation.TraceContext{}.Extract(context.Background(), semconv.Properties(v.Property))
		if c := trace.SpanContextFromContext(ctx); c.IsValid() {
			into = append(into, c)
		}
	}
	return into
}
