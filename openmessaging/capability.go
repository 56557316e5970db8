package openmessaging

import "slices"

// Capability names an optional power that a driver declares. What is not
// declared answers unsupported, at once and without effect (R096, G40).
type Capability string

// The capabilities of the specification's optional parts.
const (
	CapAddPartitions Capability = "add-partitions" // queues can get more partitions
	CapAdmin         Capability = "admin"          // create, delete and list namespaces and queues
	CapAssigned      Capability = "assigned"       // groups can give each partition to one member
	CapAtomicBatch   Capability = "atomic-batch"   // a batch is stored whole or not at all
	CapAuth          Capability = "auth"           // checks who may do what
	CapBroadcast     Capability = "broadcast"      // every consumer of a broadcast gets every message
	CapCancelDelay   Capability = "cancel-delay"   // delayed messages can be cancelled
	CapCompression   Capability = "compression"    // compresses bodies on their way
	CapDeduplication Capability = "deduplication"  // queues store messages with the same id once
	CapDelay         Capability = "delay"          // delayed first delivery
	CapDeadLetter    Capability = "dlq"            // dead-letter queues, MaxDeliveries, Reject
	CapDeliveryCount Capability = "delivery-count" // counts deliveries
	CapExpire        Capability = "expire"         // discards expired messages
	CapExtIDs        Capability = "ext-ids"        // carries correlation id, message key, trace id
	CapFilter        Capability = "filter"         // SQL and tag filters
	CapFind          Capability = "find"           // messages can be looked up without consuming them
	CapGroupConfig   Capability = "group-config"   // groups have settings: MaxDeliveries, Backoff
	CapLease         Capability = "lease"          // leases can be extended
	CapLimits        Capability = "limits"         // refuses over-limit messages by status
	CapMetadata      Capability = "metadata"       // partitions can be listed
	CapNack          Capability = "nack"           // messages can be given back
	CapNested        Capability = "nested"         // Object values
	CapOrderKey      Capability = "order-key"      // order per message key
	CapPartitions    Capability = "partitions"     // queues have partitions with offsets
	CapPersistent    Capability = "persistent"     // acknowledged sends and acks survive a restart
	CapPriority      Capability = "priority"       // prefers higher priorities
	CapFencing       Capability = "fencing"        // a producer with an id fences off earlier ones with it
	CapQoS1          Capability = "qos1"           // at most once
	CapQoS2          Capability = "qos2"           // exactly once
	CapRedrive       Capability = "redrive"        // dead letters can be moved back
	CapRequestReply  Capability = "request-reply"  // queues can expire, and by them requests get replies
	CapRouting       Capability = "routing"        // routes between queues
	CapSeek          Capability = "seek"           // receiving from a position
	CapStats         Capability = "stats"          // tells depths, lags, ages and rates
	CapStoreInfo     Capability = "store-info"     // tells when and where a message was stored
	CapStream        Capability = "stream"         // partitions can be read as streams
	CapTransacted    Capability = "transacted"     // messages to many queues and acknowledgements are stored as one
	CapTransaction   Capability = "txn"            // prepared messages with commit, rollback, check-back
)

// Capabilities is a set of capabilities.
type Capabilities []Capability

// Has reports whether the set holds c.
func (s Capabilities) Has(c Capability) bool { return slices.Contains(s, c) }
