package openmessaging

import (
	"context"
	"time"
)

// Resources manages namespaces and queues. Names are "queue", in the scope's
// namespace, or "namespace://queue" (R089). All methods may be called
// concurrently and block until the provider has answered.
//
// Errors: the unsupported class where the driver lacks the capability named;
// 1404 for a queue that is not there, 1405 for a namespace (R087); 1406 and
// 1407 for one that is there already (R086); 1418 for names and settings that
// break the rules of the provider.
type Resources interface {
	// Namespace returns the same resources in the scope of another namespace.
	// It does no I/O; a namespace that is not there shows in the calls (R087).
	Namespace(name string) Resources

	// CreateNamespace creates a namespace. Capability CapAdmin.
	CreateNamespace(ctx context.Context, name string) error
	// DeleteNamespace deletes a namespace that has no queues. CapAdmin.
	DeleteNamespace(ctx context.Context, name string) error
	// Namespaces lists the namespaces, sorted. CapAdmin.
	Namespaces(ctx context.Context) ([]string, error)

	// CreateQueue creates a queue (R085). CapAdmin.
	CreateQueue(ctx context.Context, c QueueConfig) error
	// DeleteQueue deletes a queue with its messages and groups. CapAdmin.
	DeleteQueue(ctx context.Context, name string) error
	// Queue returns the configuration of a queue. CapAdmin.
	Queue(ctx context.Context, name string) (QueueConfig, error)
	// Queues lists the queues of the scope's namespace, sorted by name. CapAdmin.
	Queues(ctx context.Context) ([]QueueConfig, error)

	// Partitions lists the partitions of a queue, ascending (R092). CapMetadata.
	Partitions(ctx context.Context, queue string) ([]PartitionInfo, error)
	// Groups lists the consumer groups that a queue knows, sorted by name. CapMetadata.
	Groups(ctx context.Context, queue string) ([]GroupInfo, error)

	// SeekGroup moves a group's progress in all partitions of a queue to a
	// position; deliveries in flight become stale. CapSeek.
	SeekGroup(ctx context.Context, queue, group string, p Position) error
	// DeleteGroup forgets a group's progress in a queue. CapAdmin.
	DeleteGroup(ctx context.Context, queue, group string) error

	// CancelDelayed takes back a message that was sent with a delay and is not
	// due yet; queue is its destination and messageID what its SendResult says.
	// It returns when that is durable. A message that is due or was delivered,
	// that was cancelled before or is not there gives 20015. CapCancelDelay.
	CancelDelayed(ctx context.Context, queue, messageID string) error

	// SetFilter lets only matching messages be delivered from a queue (R090);
	// the zero Filter removes it. CapFilter.
	SetFilter(ctx context.Context, queue string, f Filter) error
	// CreateRoute has messages of one queue copied to another (R091). A name
	// that is taken gives 1406; a route that would make a cycle (G36), or a
	// malformed filter, gives 1418. CapRouting.
	CreateRoute(ctx context.Context, r RouteConfig) error
	// UpdateRoute changes the target, filter and operators of a route for what
	// it has not copied yet; its source stays and Start is ignored. CapRouting.
	UpdateRoute(ctx context.Context, r RouteConfig) error
	// DeleteRoute removes a route. CapRouting.
	DeleteRoute(ctx context.Context, name string) error
	// Routes lists the routes, sorted by name. CapRouting.
	Routes(ctx context.Context) ([]RouteConfig, error)
}

// QueueConfig describes a queue.
type QueueConfig struct {
	// Name is the queue's name; the provider returns it as "namespace://queue".
	Name string
	// Partitions is how many partitions the queue has; 0 means 1.
	Partitions int
	// Description is free text for people.
	Description string
}

// PartitionInfo describes a partition: the messages with Begin ≤ offset < End
// are stored.
type PartitionInfo struct {
	Queue     string
	Partition int32
	Begin     int64 // offset of the oldest stored message
	End       int64 // offset that the next message will get
}

// GroupInfo tells the progress of a consumer group in a queue.
type GroupInfo struct {
	Queue     string
	Group     string
	Consumers int   // receivers open now
	Lag       int64 // stored messages that the group has not settled, those in flight included
	InFlight  int64 // messages delivered and not settled
	// Lost counts messages that retention removed before the group settled them.
	Lost int64
	// Expired counts messages that expired before the group received them.
	Expired int64
	// Redelivered counts deliveries beyond the first since the provider started.
	Redelivered int64
	// OldestLease is when the next lease ends, zero when nothing is in flight.
	OldestLease time.Time
	Partitions  []GroupPartition
}

// GroupPartition is the progress of a group in one partition.
type GroupPartition struct {
	Partition int32
	// Cursor is the offset below which everything is settled.
	Cursor   int64
	Lag      int64
	InFlight int64
}

// Filter selects messages by an expression; make one with [SQL] or [Tag].
type Filter struct {
	Type       string // "sql" or "tag"; empty for no filter
	Expression string
}

// SQL returns a filter by a SQL-92 selector over properties and header fields.
func SQL(expression string) Filter { return Filter{Type: "sql", Expression: expression} }

// PropertyTags is the String property that tag filters look at.
const PropertyTags = "TAGS"

// Tag returns a filter by tags, for example "a || b": messages whose
// [PropertyTags] is one of these. "*" matches all.
func Tag(expression string) Filter { return Filter{Type: "tag", Expression: expression} }
