package serve

import (
	"context"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	om "github.com/openmessaging/openmessaging-go/openmessaging"
	"github.com/openmessaging/openmessaging-go/openmessaging/oms/omsotel"
)

// collecting is a collector of spans.
type collecting struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*otlp.Span
}

func (c *collecting) Export(_ context.Context, q *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range q.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// begin serves the collector until the test ends and returns its address.
func (c *collecting) begin(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String()
}

// TestTraceGoesThroughTheBroker sends a message in a trace and receives it: the
// spans of producer, server and consumer must be of that trace, or link to it.
func TestTraceGoesThroughTheBroker(t *testing.T) {
	var c collecting
	endpoint := "http://" + c.begin(t)
	m := start(t, func(l *Loaded) { l.Trace.Endpoint = endpoint })
	m.withQueues("q")
	recorded := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorded))
	ap := m.open(as("root", rootKey))
	_, err := m.producer(ap, om.WithSendInterceptor(omsotel.ProducerInterceptor(provider))).Send(t.Context(), om.NewMessage("q", []byte("x")))
	m.must(err)
	consumer, err := ap.NewPullConsumer(t.Context(), om.WithGroup("g"), om.WithReceiveInterceptor(omsotel.PullInterceptor(provider)))
	m.must(err)
	m.must(consumer.Bind(t.Context(), "q"))
	d, err := consumer.Receive(t.Context())
	m.must(err)
	m.must(d.Ack(t.Context()))
	m.end() // the spans are delivered

	sent := recorded.Ended()[0]
	trace, span := sent.SpanContext().TraceID().String(), sent.SpanContext().SpanID().String()
	if sent.Name() != "send q" {
		t.Errorf("the producer's span is %s", sent.Name())
	}
	if received := recorded.Ended()[1]; received.SpanContext().TraceID() != sent.SpanContext().TraceID() || len(received.Links()) != 1 {
		t.Errorf("the consumer's span is in %v with %v", received.SpanContext(), received.Links())
	}
	found := make(map[string]*otlp.Span)
	for _, s := range c.spans {
		found[s.GetName()] = s
	}
	publish, receive, settle := found["publish default://q"], found["receive default://q"], found["settle default://q"]
	switch {
	case publish == nil || receive == nil || settle == nil:
		t.Fatalf("spans: %v", c.spans)
	case hex.EncodeToString(publish.GetTraceId()) != trace || hex.EncodeToString(publish.GetParentSpanId()) != span:
		t.Errorf("publish is not the child of send: %v", publish)
	case len(receive.GetLinks()) != 1 || hex.EncodeToString(receive.GetLinks()[0].GetTraceId()) != trace:
		t.Errorf("receive does not link to send: %v", receive)
	}
	attributes := ""
	for _, a := range append(publish.GetAttributes(), settle.GetAttributes()...) {
		attributes += a.String() + "\n"
	}
	for _, part := range []string{"messaging.system", "messaging.destination.name", "messaging.operation.name", "messaging.batch.message_count", "messaging.consumer.group.name"} {
		if !strings.Contains(attributes, part) {
			t.Errorf("%s is not in\n%s", part, attributes)
		}
	}
}

// TestCollectorThatIsNotThere holds nobody up.
func TestCollectorThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	m := start(t, func(l *Loaded) { l.Trace.Endpoint = "http://user:hunter2@" + address })
	m.withQueues("q")
	_, err = m.producer(m.open(as("root", rootKey))).Send(t.Context(), om.NewMessage("q", nil))
	m.must(err)
	m.end()
	contains(t, m.log.String(), "spans were not delivered")
	if strings.Contains(m.log.String(), "hunter2") {
		t.Error(m.log.String())
	}
}
