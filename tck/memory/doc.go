// Package memory is a complete messaging system in memory, behind package spi.
// It is the yardstick of the conformance kit: it does what the contract says,
// in the plainest way, and mutants are made by wrapping it.
//
// # What it decides where the contract leaves room
//
//   - All messages stay stored until their queue is deleted.
//   - A delayed message, and a prepared one, gets its offset when it becomes
//     visible. Until then its offset is -1 in send results.
//   - Ready messages are handed out by priority; equal ones of a partition
//     ascend. Each eighth time the oldest go first, so that none waits for
//     ever. Messages of one key never overtake each other.
//   - A filter holds messages back and settles nothing: they come out when it
//     is removed. Filters look at properties first and else at the header
//     fields by their names in the specification, such as priority. Tags are
//     in the property [PropertyTags].
//   - Copies that routes make, and dead letters, keep the message's id.
//   - At most once: a message is settled when it is handed out. Ack and Extend
//     of such a delivery do nothing, Nack and Reject give CodeStaleReceipt.
//   - Exactly once: a call that fails has stored nothing, so repeating it stores
//     the message once, and exactly one delivery settles it. The contract has no
//     id that outlives a retry of the producer, so a send whose answer was lost
//     on its way is not recognised when it is repeated.
//   - A queue with Expires goes at the instant, to be seen by the next call. Reply
//     queues are queues like others.
//   - The contract has no place for MaxDeliveries: see [WithMaxDeliveries]. A
//     delivery counts when it is handed out.
//   - The checker of a transaction is that of the sender that prepared it.
//     When that sender is gone the transaction waits for a Commit or Rollback
//     by anyone who knows its id.
//   - A broadcast is a group for each consumer.
//
// Leases, delays and expiry need no goroutine: every call first does what time
// has brought since the last one. A System that is used inside a bubble of
// testing/synctest must be used there only.
package memory
