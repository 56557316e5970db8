// Package oms opens access points and holds the portable client: everything
// that producers and consumers do on top of a driver, the same for every one.
//
//	ap, err := oms.Open(ctx, "oms:badger://local/default?path=./data")
//	defer ap.Close(ctx)
//
// A driver (package spi) sends and receives; this package adds validation,
// batching, back-pressure, retry, futures, interceptors, push consumers,
// prefetching, automatic acknowledgement, lease extension and lifecycle.
//
// # Sending
//
// Send, SendAsync, SendOneway and their batch forms with a future or without
// an answer pass one ordered buffer per producer. One goroutine takes what
// waits there, up to a batch, and calls the driver with one call at a time:
// while the driver is idle nothing waits, and what comes while it is busy
// shares the next call. The buffer holds copies, so that a call may return when
// its context ends although the driver still works. SendBatch calls the driver
// from the caller's goroutine and, unless there are interceptors, without
// copies, slice by slice, after what was handed to the buffer before it has
// been answered; interceptors change copies only. SendBatch relies on the
// driver's promise to return when its context ends. SendTimeout bounds each of
// its slices.
//
// Retries keep their place: nothing overtakes a message that is being retried,
// except what shared its first call. Messages with QoS AtMostOnce are not tried
// again after a failure that leaves open whether they were stored. Where a
// driver declares CapAtomicBatch, one call of SendBatch sends nothing when one
// of its messages is refused before the driver is called, and each slice of
// BatchMessages and BatchBytes is atomic by itself.
//
// Interceptors, OnDone functions of futures and transaction checkers run in
// goroutines that others wait for: they must not block, and must not send
// synchronously by the same producer.
//
// # Asking
//
// The first Request of a producer makes its reply queue and a receiver of it; one
// goroutine hands replies to the requests that wait, another acknowledges them. A
// reply queue that is gone, because the connection was away for longer than it
// expires or somebody deleted it, ends what waits with the timeout class, and the
// next request makes another. [Answer] is the other side.
//
// # Receiving
//
// A push consumer has, for each bound queue, one goroutine that fetches, as
// many as Concurrency that call the handler, one that gathers acknowledgements
// into few calls of the driver, and one that extends leases. While it is
// suspended it fetches nothing and lets the leases of prefetched messages end,
// so that other consumers of the group get them.
//
// Stop, Close and Unbind wait for running handlers. Called by a handler, with
// the context it was given or one derived from it, they begin their work and
// return at once, because they cannot wait for their caller; with another
// context they wait until it ends.
//
// After Unbind or Stop of a consumer the deliveries it handed out and that are
// not settled have become stale: they are delivered again.
package oms
