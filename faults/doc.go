// Package faults says what goes wrong: every way in which a TCP connection
// dies in production, as a small state machine that looks at segments and
// decides their fate.
//
// The package is pure. It imports the standard library only, reads no clock,
// does no I/O, needs no root and builds on any operating system: time and
// chance come in through [Event], and everything a fault wants done to the
// world goes out through [Effects]. The same events therefore always lead to
// the same verdicts, and a fault is tested by playing a conversation against
// it (package faulttest).
//
// Package injector conforms to the language defined here, not the other way
// round. README.md beside this file says how to add a fault.
package faults
