// Package wire is what the driver "oms" and the server say to each other: the
// protobuf files of folder openmessaging/v1, the Go code made of them in package
// wirepb, and what both sides need around it. docs/wire.md describes the protocol.
//
// After a change of the protobuf files run
//
//	go generate ./impl/wire
package wire

//go:generate go tool -modfile=../../internal/tools/buf.mod buf lint
//go:generate go tool -modfile=../../internal/tools/buf.mod buf generate

// SessionScheme goes before LoginResponse.session in the metadata "authorization"
// of calls.
const SessionScheme = "Session "

// Protocol is the newest version of the protocol that this code speaks.
const Protocol = 1
