// Package clients runs real programs against real servers under every reset
// cause of the catalogue, and records what they report: docs/CLIENTS.md.
//
// Servers and clients live in the hosts of a lab, the fault at its router.
// make deps installs the programs. Without one, what needs it is skipped by name,
// or fails if FAULTCTL_REQUIRE is 1.
package clients
