package openmessaging

import "slices"

// Capability names an optional power that a driver declares. What is not
// declared answers unsupported, at once and without effect (R096, G40).
type Capability string

// The capabilities of the specification's optional parts.
const (
	CapAdmin         Capability = "admin"          // create, delete and list namespaces and queues
	CapAtomicBatch   Capability = "atomic-batch"   // a batch is stored whole or not at all
	CapAuth          Capability = "auth"           // checks who may do what
	CapBroadcast     Capability = "broadcast"      // every consumer of a broadcast gets every message
	CapCancelDelay   Capability = "cancel-delay"   // delayed messages can be cancelled
	CapCompression   Capability = "compression"    // compresses bodies on their way
	CapDelay         Capability = "delay"          // delayed first delivery
	CapDeadLetter    Capability = "dlq"            // dead-letter queues, MaxDeliveries, Reject
	CapDeliveryCount Capability = "delivery-count" // counts deliveries
	CapExpire        Capability = "expire"         // discards expired messages
	CapExtIDs        Capability = "ext-ids"        // carries correlation id, message key, trace id
	CapFilter        Capability = "filter"         // SQL and tag filters
	CapLease         Capability = "lease"          // leases can be extended
	CapLimits        Capability = "limits"         // refuses over-limit messages by status
	CapMetadata      Capability = "metadata"       // partitions can be listed
	CapNack          Capability = "nack"           // messages can be given back
	CapNested        Capability = "nested"         // Object values
	CapOrderKey      Capability = "order-key"      // order per message key
	CapPartitions    Capability = "partitions"     // queues have partitions with offsets
	CapPersistent    Capability = "persistent"     // acknowledged sends and acks survive a restart
	CapPriority      Capability = "priority"       // prefers higher priorities
	CapQoS1          Capability = "qos1"           // at most once
	CapQoS2          Capability = "qos2"           // exactly once
	CapRequestReply  Capability = "request-reply"  // request and reply through the broker
	CapRouting       Capability = "routing"        // routes between queues
	CapSeek          Capability = "seek"           // receiving from a position
	CapStoreInfo     Capability = "store-info"     // tells when and where a message was stored
	CapStream        Capability = "stream"         // partitions can be read as streams
	CapTransaction   Capability = "txn"            // prepared messages with commit, rollback, check-back
)

// Capabilities is a set of capabilities.
type Capabilities []Capability

// Has reports whether the set holds c.
func (s Capabilities) Has(c Capability) bool { return slices.Contains(s, c) }
