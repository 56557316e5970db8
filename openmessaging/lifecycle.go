package openmessaging

import "context"

// State is the state of an endpoint, by the Java API's ServiceLifeState (R093).
type State int32

// The states, in the order in which an endpoint passes them. A stopped
// endpoint may be started again (R094); a closed one is Stopped for good (C20).
const (
	Initialized State = iota
	Starting
	Started
	Stopping
	Stopped
)

// String returns the specification's name, for example "STARTED".
func (s State) String() string {
	switch s {
	case Initialized:
		return "INITIALIZED"
	case Starting:
		return "STARTING"
	case Started:
		return "STARTED"
	case Stopping:
		return "STOPPING"
	case Stopped:
		return "STOPPED"
	}
	return "UNKNOWN"
}

// Lifecycle is what every endpoint (producer or consumer) can do besides its
// work. The New… methods of [AccessPoint] return started endpoints. All
// methods may be called concurrently.
type Lifecycle interface {
	// Start starts a stopped endpoint. Starting a started one is a no-op;
	// starting a closed one gives ErrClosed. It blocks until the driver's side
	// is open or ctx ends.
	Start(ctx context.Context) error

	// Stop ends the work gracefully: nothing new is accepted or delivered,
	// running handlers finish and settle, buffered messages are flushed
	// (G32). It returns when that is done, or with ctx's error when ctx ends
	// first; the rest is then cut off. Stopping a stopped endpoint is a no-op.
	Stop(ctx context.Context) error

	// State returns the present state.
	State() State

	// Close stops the endpoint and releases it for good: operations then give
	// ErrClosed (G11). Closing twice is a no-op (G10).
	Close(ctx context.Context) error
}
