// Package clients runs real programs against real servers under every reset
// cause of the catalogue, and records what they report: docs/CLIENTS.md.
//
// Servers and clients run on the hosts of a lab, and the fault is injected on its
// router. make deps installs the programs. If one is missing, the tests that need
// it are skipped and name it, or fail if FAULTCTL_REQUIRE is 1.
package clients
