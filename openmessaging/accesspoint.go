package openmessaging

import "context"

// AccessPoint is an open connection to a messaging system, the root of
// everything else. All methods may be called concurrently.
type AccessPoint interface {
	// SpecVersion returns the specification version that the driver targets
	// (R050).
	SpecVersion() string

	// Attributes returns a copy of the attributes: the built-in ones and the
	// options of the URL (R049). Secrets are not among them (G39).
	Attributes() Properties

	// Capabilities returns what the driver declares it can do beyond the core.
	Capabilities() Capabilities

	// NewProducer returns a started producer. ctx bounds the call only (G05).
	// Option values out of range give 1418.
	NewProducer(ctx context.Context, opts ...ProducerOption) (Producer, error)

	// NewPushConsumer returns a started push consumer without queues.
	NewPushConsumer(ctx context.Context, opts ...ConsumerOption) (PushConsumer, error)

	// NewPullConsumer returns a started pull consumer without queues.
	NewPullConsumer(ctx context.Context, opts ...ConsumerOption) (PullConsumer, error)

	// NewStreamConsumer returns a started stream consumer. Capability CapStream.
	NewStreamConsumer(ctx context.Context, opts ...ConsumerOption) (StreamConsumer, error)

	// Resources returns the resources in the scope of the default namespace.
	Resources() Resources

	// Ping asks the provider for a sign of life and blocks for it. Where the
	// driver cannot, it gives the unsupported class.
	Ping(ctx context.Context) error

	// Close closes all endpoints made by the access point, as their Close
	// does, and then the connection. Closing twice is a no-op (G10).
	Close(ctx context.Context) error

	// As fills target, a pointer to a driver-specific type, and reports
	// whether the driver knows that type. It is the way to what a driver can
	// do beyond this contract; code that uses it is not portable.
	As(target any) bool
}
