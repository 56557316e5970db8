// Package tck is the conformance kit: it proves, requirement by requirement,
// whether a driver conforms to the OpenMessaging contract.
//
// A vendor calls it from a test, or runs the program omstck:
//
//	func TestConformance(t *testing.T) {
//		tck.Run(t, tck.Target{URL: "oms:mine://localhost/tck"})
//	}
//
// The requirements are the rows of a table, [Requirements]; each has one case.
// Cases use the portable client on top of the driver, as applications do. What
// a driver does not declare as a capability is not tested, but asked for once:
// it must say unsupported, quickly and without effect.
//
// The kit is itself proved able to fail: see package tck/mutant.
package tck
