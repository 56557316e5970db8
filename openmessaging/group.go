package openmessaging

import "time"

// What GroupConfig.Complete lets through.
const (
	maxDeliveries   = 1000
	maxBackoffSteps = 100
	maxBackoff      = 40 * 24 * time.Hour
)

// DefaultMaxDeliveries is how often a group is given a message unless it is
// configured otherwise.
const DefaultMaxDeliveries = 16

// GroupConfig is the settings of a consumer group of a queue. A group that was
// never configured has [DefaultMaxDeliveries] and [NoBackoff].
type GroupConfig struct {
	// MaxDeliveries is how often the group is given a message. When the last
	// delivery ends unsettled the message goes to the group's dead-letter
	// queue. 1 to 1000, or 0 for [DefaultMaxDeliveries].
	MaxDeliveries int
	// Backoff is how long a message waits between deliveries. Nil is
	// [DefaultBackoff]. At most 100 durations, each up to 40 days.
	Backoff Backoff
}

// Complete returns the settings with the defaults filled in, in memory of their
// own. Those out of range give 1418. Drivers call it.
func (c GroupConfig) Complete(op, queue string) (GroupConfig, error) {
	bad := func(format string, args ...any) (GroupConfig, error) {
		return GroupConfig{}, NewError(CodeBadParameter, op, queue, format, args...)
	}
	if c.MaxDeliveries == 0 {
		c.MaxDeliveries = DefaultMaxDeliveries
	}
	if c.MaxDeliveries < 1 || c.MaxDeliveries > maxDeliveries {
		return bad("%d deliveries are not in 1 to %d", c.MaxDeliveries, maxDeliveries)
	}
	if len(c.Backoff) > maxBackoffSteps {
		return bad("the backoff has %d steps, %d are the most", len(c.Backoff), maxBackoffSteps)
	}
	if len(c.Backoff) == 0 {
		c.Backoff = DefaultBackoff
	}
	steps := make(Backoff, len(c.Backoff))
	for i, d := range c.Backoff {
		if d < 0 || d > maxBackoff {
			return bad("step %d of the backoff, %v, is not in 0 to %v", i+1, d, maxBackoff)
		}
		steps[i] = (d + time.Millisecond - 1).Truncate(time.Millisecond)
	}
	c.Backoff = steps
	return c, nil
}

// Backoff is how long a message waits that was given back without a delay, or
// whose lease has ended: after delivery n the n-th duration, after later ones
// the last. Durations are not negative and are kept to the millisecond,
// rounded up.
//
// A delay given to Nack holds instead. What a consumer had when it was closed
// or lost its connection is delivered again at once. Messages with the key of
// one that waits stay behind it; others do not wait for it. The waits end when
// the provider is restarted. The predefined ones must not be changed.
type Backoff []time.Duration

// NoBackoff has messages delivered again at once.
var NoBackoff = Backoff{0}

// DefaultBackoff is the backoff of a group that is configured without one: at
// once after the first delivery, 1 s after the second, and then twice as long
// each time, up to 5 minutes.
var DefaultBackoff = append(Backoff{0}, ExponentialBackoff(time.Second, 5*time.Minute)...)

// RocketMQBackoff is the waits of RocketMQ's sixteen retries: 10 s, 30 s, one to
// ten minutes, 20 and 30 minutes, one and two hours. With a MaxDeliveries of 17
// all of them are used.
var RocketMQBackoff = Backoff{
	10 * time.Second, 30 * time.Second, 1 * time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 6 * time.Minute,
	7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
}

// ExponentialBackoff returns a Backoff that begins with first and doubles up to
// most. Both are positive; most is at least first.
func ExponentialBackoff(first, most time.Duration) (b Backoff) {
	for d := first; d > 0 && d < most; d *= 2 {
		b = append(b, d)
	}
	return append(b, most)
}

// After returns how long a message waits after a number of deliveries, 1 or
// more; 0 for an empty Backoff.
func (b Backoff) After(deliveries int) time.Duration {
	if len(b) == 0 {
		return 0
	}
	return b[min(max(deliveries, 1), len(b))-1]
}
