// Package spi is what a vendor implements: a [Driver] that opens a [Conn],
// which makes a [Sender] and a [Receiver]. These eleven methods are mandatory.
// Batching, retry, futures, push consumers, interceptors, lease extension and
// lifecycle come from package oms on top of them, for nothing.
//
// What a system can do beyond that it declares as [openmessaging.Capabilities]
// and offers by the optional interfaces of this package, which are found with
// [As], through wrappers too. What is not declared is never called.
//
// # Rules for all methods
//
//   - They may be called concurrently unless their comment says otherwise.
//   - A context that has ended already makes them return its error at once and
//     without effect; one that ends while they block unblocks them (G03, G04).
//     A context bounds its call only and is not kept (G05).
//   - Errors are *[openmessaging.Error] with a status code, or the driver's own
//     errors that its [Classifier] gives a code. The driver does not retry what
//     is retryable: the portable client does, by [openmessaging.Retryable].
//   - Slices and messages given to a method belong to the caller: the driver
//     must neither change nor keep them after it returned (G01). What a method
//     returns belongs to the caller from then on.
//   - A panic in a driver is a bug of the driver; the portable client does not
//     hide it.
//   - Close may be called more than once and while other methods block: it
//     unblocks them. After Close every method gives the closed class (G11).
package spi
