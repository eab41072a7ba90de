package injector

import "github.com/faultctl/faultctl/injector/internal/nft"

// Cleanup removes the tables that instances which are no longer alive left in the
// caller's network namespace, and returns their names. There are such tables only on
// kernels that do not remove a table with its owner (before Linux 5.12). The error
// wraps one of the package's errors where it can.
func Cleanup() ([]string, error) { return nft.Cleanup() }
