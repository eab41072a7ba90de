package injector

import "github.com/faultctl/faultctl/injector/internal/nft"

// Cleanup removes the tables that instances which are no longer alive left in
// the caller's network namespace, and returns their names. Only kernels that
// do not let a table die with its owner (before Linux 5.12) leave any. The error wraps
// one of the package's errors where it can.
func Cleanup() ([]string, error) { return nft.Cleanup() }
