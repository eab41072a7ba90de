// Package faultctl has a running faultctl strike TCP connections in Go tests.
//
//	func TestReset(t *testing.T) {
//		faultctl.Inject(t, "reset", faultctl.To("localhost:5432"))
//		…
//	}
//
// The fault is in force when Inject returns, and gone when the test ends. The test fails
// if the fault never fired, because it has then shown nothing.
//
// Package faulttest does the same inside of the test's own process, which has to have
// the rights for it. This package asks faultctl serve instead, which may have more rights
// than the test, or be in a network namespace of its own.
package faultctl
