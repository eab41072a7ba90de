package injector

import (
	"fmt"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
)

// Errors for callers to tell apart with errors.Is.
var (
	ErrConfig       = kerror.ErrConfig
	ErrPermission   = kerror.ErrPermission
	ErrNotSupported = kerror.ErrNotSupported
	ErrNoNamespace  = kerror.ErrNoNamespace
)

// errQueuesTaken says that no queue number is free. A run takes one for each worker,
// and the first one gives its place in the order of runs.
var errQueuesTaken = fmt.Errorf("bind netfilter queue: the numbers %d to %d are taken by other programs or too many runs in this network namespace, "+
	"of which there may be %d at a time (/proc/net/netfilter/nfnetlink_queue lists the numbers): end one of those first",
	nfqueue.First, nfqueue.LastGSO, nfqueue.Last-nfqueue.First+1)
