package serve

import (
	"context"
	"log/slog"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/openmessaging/openmessaging-go/impl/server"
)

// openTrace returns what makes spans, nil when nothing is traced, and how to end
// it. Spans that the collector does not take are dropped.
func openTrace(ctx context.Context, c Trace, log *slog.Logger) (trace.Tracer, func(context.Context) error, error) {
	if c.Endpoint == "" {
		return nil, func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(c.Endpoint))
	if err != nil {
		return nil, nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("spans were not delivered", "error", withoutPassword(err, c.Endpoint)) }))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter), sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Sample))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "oms"), attribute.String("service.version", server.Version))),
	)
	return provider.Tracer("github.com/openmessaging/openmessaging-go/impl/server"), provider.Shutdown, nil
}

// withoutPassword returns the text of an error about an endpoint.
func withoutPassword(err error, endpoint string) string {
	if u, bad := url.Parse(endpoint); bad == nil && u.User != nil {
		return "the collector at " + u.Host + " did not take them"
	}
	return err.Error()
}
