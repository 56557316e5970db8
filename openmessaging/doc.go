// Package openmessaging is the contract of OpenMessaging for Go: the types and
// interfaces that portable producers and consumers are written against.
//
// It imports the standard library only and opens nothing by itself. Programs
// open an [AccessPoint] with oms.Open, which finds the driver named in the URL:
//
//	ap, err := oms.Open(ctx, "oms:badger://local/default?path=./data")
//	producer, err := ap.NewProducer(ctx)
//	result, err := producer.Send(ctx, openmessaging.NewMessage("orders", body))
//	err = ap.Close(ctx)
//
// # Stability
//
// [Sender], [Receiver] and [Acker] are small and will not grow: let functions
// of your own accept these. The larger interfaces ([AccessPoint], [Producer],
// [PushConsumer], [PullConsumer], [StreamConsumer], [Resources]) are
// implemented by package oms only and may gain methods; unit tests use the
// mocks in package omsmock. Vendors implement package spi, not this one.
//
// # Sources
//
// The names and rules follow the OpenMessaging specification (2019-03-01) and
// its Java API 1.0.0-alpha. R and G numbers in comments are the requirements
// that the TCK checks; C numbers are decisions in docs/rationale.md.
package openmessaging

// SpecVersion is the version of the OpenMessaging specification that this
// package follows, as X.Y.Z or X.Y.Z-pre.
const SpecVersion = "1.0.0-alpha"
