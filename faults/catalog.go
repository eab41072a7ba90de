package faults

import (
	"fmt"
	"slices"
)

// A Kind is one fault of the catalogue and what it says about itself. The
// command line's flags and help, scenario files, shell completion and the
// docs all come from here.
type Kind struct {
	Name    string
	Group   string // "reset" or "link"
	Cause   string // one sentence of the real world
	Symptom string // what the application sees: calls and errno
	Remedy  string
	Example string

	defaults func() Model
}

// Catalog is the one list of faults.
var Catalog = slices.Concat(resetCauses, closeCauses, linkFaults)

// resetCauses are the ways in which a connection dies.
var resetCauses = []Kind{
	kind(Kind{
		Name: "reset", Group: "reset",
		Cause:   "An unexpected RST, once or now and then: a crashing middlebox, a firewall that changes its mind, an operator's ss -K, a bug nobody finds.",
		Symptom: "The call in progress fails with ECONNRESET: recv if the application was reading (Java: Connection reset), send if it was writing (Java: Connection reset by peer). After that recv returns 0 and send fails with EPIPE (Broken pipe). In SYN_SENT connect fails with ECONNREFUSED.",
		Remedy:  "Treat ECONNRESET as one failed attempt: reconnect, and retry only what is idempotent. Give a pool validation on borrow and a maximum lifetime.",
		Example: "faultctl inject reset --at request --percent 10 --to :8080",
	}, Reset{Shape: shapeAuto, Other: "auto"}),
	kind(Kind{
		Name: "syn-drop", Group: "reset",
		Cause:   "The listener's backlog is full: Linux drops the SYN silently, whatever tcp_abort_on_overflow says, and answers nothing.",
		Symptom: "connect hangs while the kernel sends the SYN again after 1, 2, 3, 4, 5, 7, 11 s and so on, and fails with ETIMEDOUT after some two minutes (Java: Connection timed out, or connect timed out with a limit of its own). Nothing that is established notices.",
		Remedy:  "Set a connect timeout of a few seconds and retry with backoff; accept faster, or give the listener a larger backlog (and raise net.core.somaxconn).",
		Example: "faultctl inject syn-drop --attempts 1 --to :5432",
	}, SYNDrop{}),
	kind(Kind{
		Name: "idle-expire", Group: "reset",
		Cause:   "A NAT, load balancer, firewall or mobile network forgets a flow that was idle for too long, often telling nobody; only the next packet finds out.",
		Symptom: "The first write after the pause succeeds, the RST comes back one round trip later, the next read fails with ECONNRESET (Java: Connection reset), the next write with EPIPE (Broken pipe). With then=silent writes succeed until ETIMEDOUT, a quarter of an hour later.",
		Remedy:  "Heartbeat, or TCP keepalive, below the shortest idle timer on the path; validate a pooled connection on borrow, or retire it before the timer; set TCP_USER_TIMEOUT against silence.",
		Example: "faultctl inject idle-expire --after 300s --to :5432",
	}, IdleExpire{Refresh: "all", Keepalives: "count", DeviceTTL: 64}),
	kind(Kind{
		Name: "half-open", Group: "reset",
		Cause:   "One end is gone and the other does not know: it crashed, lost power, was restarted, or its FIN was lost on the way.",
		Symptom: "A reader notices nothing, for ever. A writer's first write succeeds; if the peer is back its RST makes the next call fail with ECONNRESET, then EPIPE; if it is not, the kernel sends again and again until ETIMEDOUT.",
		Remedy:  "Send heartbeats at the application's level, or enable TCP keepalive with short times; set TCP_USER_TIMEOUT; give every read a deadline.",
		Example: "faultctl inject half-open --peer rebooted --at now --to :6379",
	}, HalfOpen{At: At("request"), Peer: "rebooted", Side: Server}),
}

// New returns a fresh model with the default settings.
func (k Kind) New() Model { return k.defaults() }

// kind completes an entry with its defaults, which are copied for each New.
func kind[M any, P interface {
	*M
	Model
}](k Kind, defaults M) Kind {
	k.defaults = func() Model {
		m := defaults
		return P(&m)
	}
	return k
}

// Names lists the faults in the order of the catalogue.
func Names() []string {
	names := make([]string, len(Catalog))
	for i, k := range Catalog {
		names[i] = k.Name
	}
	return names
}

// Find returns the fault of that name. The error suggests the nearest one.
func Find(name string) (Kind, error) {
	i := slices.IndexFunc(Catalog, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, fmt.Errorf("unknown fault %q%s", name, DidYouMean(name, Names()))
	}
	return Catalog[i], nil
}
