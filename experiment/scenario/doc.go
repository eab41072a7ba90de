// Package scenario is a game day as data: the file that describes it, its
// JSON Schema, its timeline, and what its probes' results mean. Nothing here
// touches a network, a process or a clock.
//
// The schema is the one source of truth for what a file may hold: it checks
// every file, is published, and is what the docs page is made from.
package scenario
