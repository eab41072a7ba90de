// Package clients runs real programs against real servers under every reset
// cause of the catalogue, and records what they report: docs/CLIENTS.md.
//
// It also plays public bug reports with the command that repeats them, with and
// without the documented remedy of the client: docs/BUGS.md.
//
// Servers and clients run on the hosts of a lab, and the fault is injected on its
// router, or by faultctl run on the client's host. make deps installs the programs. If one is missing, the tests that need
// it are skipped and name it, or fail if FAULTCTL_REQUIRE is 1.
package clients
