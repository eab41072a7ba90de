package injector

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors that a caller may want to tell apart, with errors.Is.
var (
	ErrConfig       = errors.New("bad configuration")
	ErrPermission   = errors.New("permission denied")
	ErrNotSupported = errors.New("not supported by this kernel")
	ErrNoNamespace  = errors.New("no such network namespace")
)

// errQueuesTaken says that no number is left. An instance takes one for each of
// its workers.
var errQueuesTaken = fmt.Errorf("bind netfilter queue: the numbers %d to %d are taken by other programs or too many instances in this network namespace "+
	"(/proc/net/netfilter/nfnetlink_queue lists them): end one of those first", firstQueue, lastUncut)

// explain turns the kernel's errno into one of the errors above where it says
// one of them, and keeps the original for the curious.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EPROTONOSUPPORT),
		errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrNotSupported, err)
	}
	return err
}
