// Package stdio is a driver whose system is a child process: it speaks a small
// protocol of JSON lines over the child's standard input and output, so that a
// binding or driver in any language can be tested by the conformance kit.
//
// PROTOCOL.md, beside this file, is the protocol. A driver in Python that keeps
// messages in memory is in examples/pydriver.
//
//	spi.Register(stdio.Driver("python", stdio.Command{
//		Path: "python3", Args: []string{"examples/pydriver/driver.py"}, Share: true,
//	}))
//	ap, err := oms.Open(ctx, "oms:python://local/test")
//
// What the child does wrong in its own matter, such as too many messages or a
// wrong code, is handed on for the kit to judge. What breaks the protocol ends
// the connection: each call that waits and each later one fails with
// openmessaging.CodeServiceUnavailable and a text that says what came and how
// the child's error output ends.
package stdio
