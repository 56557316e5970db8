// Package broker is the reference broker: namespaces, queues with partitions,
// consumer groups with leases, on a [store.Store]. It knows no network and no
// protocol; drivers and protocol servers call a [Broker].
//
// # State machine
//
// Everything that changes durable state is a command. Callers make commands
// with all that must not be decided twice (times, ids, receipts that were
// checked); one goroutine, the committer, gathers the commands that wait,
// applies them in order, writes what they change in one commit of the store,
// and only then answers. Applying reads no clock, no random source and no
// network. The number of the commit is a cut through all partitions.
//
// Leases are not durable: they live in memory beside the durable progress of a
// group, and end with the process. What they leave behind is: a lease that ends
// without acknowledgement is a command that counts the delivery.
//
// # Locks
//
// Broker.mu guards the catalogue of namespaces and queues, Queue.mu everything
// inside a queue. Broker.mu is taken first. Only the committer changes what
// commands change, under these locks.
package broker
