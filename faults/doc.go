// Package faults says what goes wrong: every way in which a TCP connection
// dies in production, as a small state machine that looks at segments and
// decides their fate.
//
// The package is pure. Beside the standard library it imports only pure packages
// of this module, reads no clock, does no I/O, needs no root and builds on any
// operating system: time and chance come in through [Event], and everything a
// fault wants done to the world goes out through [Effects]. The same events
// therefore always lead to the same verdicts, and a fault is tested by playing a
// conversation against it (internal/trace).
//
// The language of faults is defined here, and package injector conforms to it.
// README.md beside this file says how to add a fault.
package faults
