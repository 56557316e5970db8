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

	// AddPartitions gives a queue more partitions, total together, and returns
	// when that is durable. Order by key holds: a group gets what is new of a key
	// when it has settled what was sent before and lies in another partition;
	// what has no key does not wait. A queue that has total partitions stays as
	// it is; a total below that, or above what the provider takes, gives 1418.
	// CapAddPartitions.
	AddPartitions(ctx context.Context, queue string, total int) error

	// Partitions lists the partitions of a queue, ascending (R092). CapMetadata.
	Partitions(ctx context.Context, queue string) ([]PartitionInfo, error)
	// Groups lists the consumer groups that a queue knows, sorted by name. CapMetadata.
	Groups(ctx context.Context, queue string) ([]GroupInfo, error)

	// Stats tells how queues and their groups are doing, in the order of the
	// names, or of all queues of the scope's namespace, sorted by name, when none
	// is named. It reads no messages, but one for each partition and group that
	// lags and has gone on since it was asked last. What is durable is right after
	// a restart; counters begin anew. CapStats.
	Stats(ctx context.Context, queues ...string) ([]QueueStats, error)
	// FindMessages returns messages of a queue without a group and without any
	// effect on what groups get: see [MessageQuery]. Messages that have expired,
	// and those that a filter holds back, are shown as long as they are stored.
	// CapFind.
	FindMessages(ctx context.Context, queue string, q MessageQuery) (MessagePage, error)

	// SeekGroup moves a group's progress in all partitions of a queue to a
	// position; deliveries in flight become stale. CapSeek.
	SeekGroup(ctx context.Context, queue, group string, p Position) error
	// DeleteGroup forgets a group's progress in a queue. CapAdmin.
	DeleteGroup(ctx context.Context, queue, group string) error

	// ConfigureGroup sets how often a group is given a message and how long it
	// waits in between, durably and at once, also for messages that are being
	// delivered. A wait that has begun stays. A group that the queue does not
	// know gives 20012. CapGroupConfig.
	ConfigureGroup(ctx context.Context, queue, group string, c GroupConfig) error
	// Group returns the settings of a group, with the defaults filled in; see
	// [GroupConfig] for a group that was never configured. CapGroupConfig.
	Group(ctx context.Context, queue, group string) (GroupConfig, error)
	// Redrive moves dead letters of a group back to where they came from, and
	// returns what became of each: see [Redrive]. It returns when that is
	// durable; when ctx ends first, any of them may have been moved.
	// CapRedrive.
	Redrive(ctx context.Context, queue, group string, r Redrive) ([]Redriven, error)

	// CancelDelayed takes back a message that was sent with a delay and is not
	// due yet; queue is its destination and messageID what its SendResult says.
	// It returns when that is durable. A message that is due or was delivered,
	// that was cancelled before or is not there gives 20015; a provider may count
	// as due what is due within a few milliseconds. CapCancelDelay.
	CancelDelayed(ctx context.Context, queue, messageID string) error

	// Transactions lists up to max (1 to 1000) transactions of prepared messages
	// of a queue that have not ended, of all queues when its name is empty, the
	// oldest first. CapTransaction.
	Transactions(ctx context.Context, queue string, max int) ([]TransactionInfo, error)
	// Transaction tells of one by its id. CapTransaction.
	Transaction(ctx context.Context, id string) (TransactionInfo, error)
	// EndTransaction commits or rolls back a transaction by hand, also one that is
	// parked. Errors are those of openmessaging.Transaction. CapTransaction.
	EndTransaction(ctx context.Context, id string, verdict TxVerdict) error

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
	// DeadLetterExpired has messages that a group finds expired moved to the
	// group's dead-letter queue with the reason "expired"; they are counted as
	// expired either way. A group finds them when it would deliver them. Needs
	// CapExpire and CapDeadLetter.
	DeadLetterExpired bool
	// Deduplication has repeated messages stored once. CapDeduplication.
	Deduplication Deduplication
	// TransactionCheck says when producers are asked about transactions of
	// messages that were prepared for the queue. CapTransaction.
	TransactionCheck TransactionCheck
	// Expires has the queue deleted, with its messages, when for this long
	// nobody has sent to it, routes included, and no receiver was open; reading
	// it as a stream and looking at it do not count. It goes within half as long
	// again, never before. Time in which the provider is down counts, but after
	// a start there is a quarter of it, a minute at most, to come back. It is at
	// least a second; 0 is for ever. CapRequestReply.
	Expires time.Duration
}

// PartitionInfo describes a partition: its messages have offsets with Begin ≤
// offset < End. Offsets may have gaps, as where the partitions of a queue share
// one sequence.
type PartitionInfo struct {
	Queue     string
	Partition int32
	Begin     int64 // least offset of a stored message
	End       int64 // least offset that the next message can get
	Messages  int64 // that are stored: End - Begin, or fewer where there are gaps
}

// GroupInfo tells the progress of a consumer group in a queue.
type GroupInfo struct {
	Queue     string
	Group     string
	Consumers int   // receivers open now
	Lag       int64 // stored messages that the group has not settled, those in flight included
	InFlight  int64 // messages that consumers have and have not settled
	// Lost counts messages that retention removed before the group settled them.
	Lost int64
	// Expired counts messages that expired before the group received them.
	Expired int64
	// Redelivered counts deliveries beyond the first since the provider started.
	Redelivered int64
	// OldestLease is when the next lease ends, zero when nothing is in flight.
	OldestLease time.Time
	Partitions  []GroupPartition

	// Strategy is that of an assigned group's members; empty for a shared group.
	Strategy string
	// Generation counts how often an assigned group's members or partitions have
	// changed.
	Generation int64
	// Members are those of an assigned group, sorted by ID.
	Members []GroupMember
}

// GroupPartition is the progress of a group in one partition. Lag and InFlight
// are -1 where the provider counts them for the whole queue only.
type GroupPartition struct {
	Partition int32
	// Cursor is the offset below which everything is settled.
	Cursor   int64
	Lag      int64
	InFlight int64
	// Owner is the ID of the member that has the partition; empty for nobody, and
	// in a shared group.
	Owner string
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
