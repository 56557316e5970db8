package omsotel_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/omsotel"
)

// recorder returns a provider and what it has recorded.
func recorder() (*sdk.TracerProvider, *tracetest.SpanRecorder) {
	r := tracetest.NewSpanRecorder()
	return sdk.NewTracerProvider(sdk.WithSpanProcessor(r)), r
}

func TestSentAndHandled(t *testing.T) {
	provider, recorded := recorder()
	send, receive := omsotel.ProducerInterceptor(provider), omsotel.ReceiveInterceptor(provider)
	m := om.NewMessage("q", nil)
	ctx, err := send.Before(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	send.After(ctx, m, om.SendResult{MessageID: "id-1"})
	d := &om.Delivery{Message: m}
	d.Destination = "q"
	handling, err := receive.Before(t.Context(), d)
	if err != nil || !trace.SpanContextFromContext(handling).IsValid() {
		t.Fatal("the handler gets no span", err)
	}
	receive.After(handling, d, errors.New("the handler failed"))

	spans := recorded.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	sent, handled := spans[0], spans[1]
	if sent.Name() != "send q" || sent.SpanKind() != trace.SpanKindProducer || handled.Name() != "process q" || handled.SpanKind() != trace.SpanKindConsumer {
		t.Errorf("%s %v, %s %v", sent.Name(), sent.SpanKind(), handled.Name(), handled.SpanKind())
	}
	if handled.Parent().SpanID() != sent.SpanContext().SpanID() || len(handled.Links()) != 1 || handled.Links()[0].SpanContext.SpanID() != sent.SpanContext().SpanID() {
		t.Errorf("it is the child of %v and links to %v", handled.Parent(), handled.Links())
	}
	if handled.Status().Code != codes.Error || handled.Status().Description != "the handler failed" {
		t.Error(handled.Status())
	}
}

func TestSendThatFails(t *testing.T) {
	provider, recorded := recorder()
	send, m := omsotel.ProducerInterceptor(provider), om.NewMessage("q", nil)
	ctx, err := send.Before(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	send.Failed(ctx, m, om.CodeForbidden)
	if s := recorded.Ended(); len(s) != 1 || s[0].Status().Code != codes.Error {
		t.Error(s)
	}
}

// TestMalformedContexts has properties that are no context of a trace: they are
// left alone.
func TestMalformedContexts(t *testing.T) {
	for name, v := range map[string]om.Value{
		"text": om.String("nonsense"), "a number": om.Long(1), "zeros": om.String("00-00000000000000000000000000000000-0000000000000000-01"), "nothing": om.String(""),
	} {
		m := om.NewMessage("q", nil)
		m.Properties = om.Properties{"traceparent": v, "tracestate": om.String("\x00=\xff")}
		if c := trace.SpanContextFromContext(omsotel.Extract(context.Background(), m)); c.IsValid() {
			t.Errorf("%s is taken for %v", name, c)
		}
	}
	m := &om.Message{}
	omsotel.Inject(context.Background(), m)
	if m.Properties != nil {
		t.Errorf("without a trace it writes %v", m.Properties)
	}
}
