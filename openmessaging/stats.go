package openmessaging

import "time"

// RateWindow is the time over which a [Counter] has its rate: the last ten full
// seconds.
const RateWindow = 10 * time.Second

// Counter counts messages. It begins at zero when the provider starts.
type Counter struct {
	Total int64
	// Rate is messages per second over the [RateWindow].
	Rate float64
}

// QueueStats tells what a queue holds and what happens in it. It costs the
// provider the same whatever the queue holds.
type QueueStats struct {
	// Queue is the long name.
	Queue      string
	Partitions int
	// Depth is how many messages are stored, settled ones included.
	Depth int64
	// Delayed is how many messages were accepted and are not due yet.
	Delayed int64
	// Prepared is how many transactions of prepared messages have not ended.
	Prepared int64
	// Published counts messages that came to lie in the queue, also by a route,
	// as dead letters, or because they became due.
	Published Counter
	// PublishedBytes counts the bytes of these, as they are stored.
	PublishedBytes Counter
	// Groups are the consumer groups that the queue knows, sorted by name.
	Groups []GroupStats
}

// GroupStats tells how a consumer group of a queue is doing.
type GroupStats struct {
	Group     string
	Consumers int // receivers open now
	// Lag is how many stored messages the group has not settled, those in flight
	// included.
	Lag int64
	// OldestAge is for how long the oldest of these has been stored, to the
	// millisecond; 0 when the lag is 0.
	OldestAge time.Duration
	InFlight  int64 // messages that consumers have and have not settled
	// Waiting is how many messages were given back and are not delivered again
	// before a delay is over.
	Waiting int64
	// Dead is how many messages are in the group's dead-letter queue and were not
	// redriven.
	Dead    int64
	Lost    int64 // see GroupInfo
	Expired int64 // see GroupInfo

	Delivered    Counter // messages given to consumers, redelivered ones included
	Redelivered  Counter // those that were delivered before
	Acknowledged Counter // messages that consumers have acknowledged
}
