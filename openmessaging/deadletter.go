package openmessaging

// Properties that a message has in a dead-letter queue, besides its own. Their
// names are good in filters.
const (
	PropertyDeadReason     = "$deadReason"     // String: why, in words
	PropertyDeadDeliveries = "$deadDeliveries" // Integer: how often it was delivered
	PropertyDeadQueue      = "$deadQueue"      // String: the long name of the queue it comes from
	PropertyDeadGroup      = "$deadGroup"      // String: the group that could not handle it
	PropertyDeadPartition  = "$deadPartition"  // Integer: where it lay
	PropertyDeadOffset     = "$deadOffset"     // Long
)

// DeadLetterQueue returns the name of the queue that gets the messages which a
// group of a queue rejects, or was given too often. It is an ordinary queue of
// the same namespace; the first dead letter makes it.
func DeadLetterQueue(queue, group string) string { return queue + "//dlq//" + group }
