package injector

import (
	"fmt"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// Errors that a caller may want to tell apart, with errors.Is.
var (
	ErrConfig       = kerror.ErrConfig
	ErrPermission   = kerror.ErrPermission
	ErrNotSupported = kerror.ErrNotSupported
	ErrNoNamespace  = kerror.ErrNoNamespace
)

// errQueuesTaken says that no number is left. An instance takes one for each of
// its workers.
var errQueuesTaken = fmt.Errorf("bind netfilter queue: the numbers %d to %d are taken by other programs or too many instances in this network namespace "+
	"(/proc/net/netfilter/nfnetlink_queue lists them): end one of those first", nfqueue.First, nfqueue.LastGSO)
