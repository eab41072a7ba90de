package experiment

import (
	"slices"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
)

// Spec says which faults strike which connections, for how long, and what the
// run leaves behind. It is plain data: its JSON and YAML keys, the command
// line's flags and the keys of scenario files are the same words (see [Words]).
// The zero Spec lacks a fault and is not valid.
type Spec struct {
	Faults []faults.Spec // asked in order; at least one
	Target Target

	// Duration is how long the run lasts, from the moment at which its rules are
	// in. Nil means until it is stopped, or 15 minutes if the target is every
	// connection of the host. Zero means until it is stopped.
	Duration *time.Duration

	StartAfter   time.Duration  // wait before the rules go in
	ResolveEvery *time.Duration // look host names up again so often; nil means 30 s, zero never
	Seed         *uint64        // the same seed makes the same choices; nil: one is drawn
	Queues       int            // netfilter queues and threads, 1 to 16; zero means 1

	// While is what must hold as long as the run goes on: the address of an HTTP
	// server, which must answer with a status below 400, or else a line for /bin/sh,
	// which must exit with 0, each within 5 s. It is checked once before the rules go
	// in and then every WhileEvery (nil means 1 s); when it has failed WhileFails times
	// in a row (0 means 3), the run ends with the cause *Unsteady. Empty: nothing is
	// checked. Not with a Command.
	While      string
	WhileEvery *time.Duration
	WhileFails uint64

	ExpectFired bool // a fault that never fired is a failure; always so where there is a Command
	AllowIdle   bool // never so

	// MayIdle names faults of which nothing need be learnt, as AllowIdle says of
	// all: one that never fires, or is not accepted or felt, is no failure.
	MayIdle []string

	// Command is run under the faults, which strike its connections only and
	// last as long as it does. Nil strikes what the target says.
	Command []string
	Timeout *time.Duration // ends the command; nil means the door's default, zero never
	Isolate bool           // in a network namespace of its own, with loopback only

	// User runs the command, by name or number. Empty is the user who called sudo,
	// if that is how this process was started, and otherwise its own user.
	User string

	Pcap    string   // write what was done to packets to this file, as pcapng
	Reports []string // write reports to these files; their endings say in which form
	Metrics string   // serve counters to Prometheus at this address
}

// Target says which connections are struck. The zero Target is every TCP
// connection of the network namespace, except the protected ones.
type Target struct {
	To   []string // [HOST|CIDR]:PORTS of the service end; a ! before it excludes
	From []string // HOST or CIDR of the client end

	NetNS     string // name or path of the network namespace to work in
	PID       int    // a process in that namespace, instead
	Container string // a container in it, instead; it is followed when it is restarted
	Cgroup    string // only connections of local processes in that cgroup v2
	UID       string // only connections of local processes of that user, by name or number

	Percent        *float64      // share of the connections, 0 to 100; nil means all
	PercentEvery   time.Duration // how often its lots are drawn again; 0 means once a connection
	Every          uint64        // every Every-th connection; 0 means each
	First          uint64        // only the first First connections; 0 means all
	Skip           uint64        // after the first Skip connections
	MaxConnections uint64        // stop choosing after so many; 0 means no end
	NewOnly        bool          // leave alone what was open before
}

// Pick is how the target chooses among the connections that match.
func (t *Target) Pick() target.Pick {
	p := target.Pick{Skip: t.Skip, First: t.First, Every: t.Every, Max: t.MaxConnections, NewOnly: t.NewOnly}
	if t.Percent != nil {
		p.Share = target.ShareEvery(*t.Percent/100, t.PercentEvery)
	}
	return p
}

// elsewhere reports whether the target names a network namespace.
func (t *Target) elsewhere() bool { return t.NetNS != "" || t.PID != 0 || t.Container != "" }

// Clone is a copy of the Spec that shares nothing with it.
func (s *Spec) Clone() Spec {
	c := *s
	c.Faults = make([]faults.Spec, len(s.Faults))
	for i, f := range s.Faults {
		c.Faults[i] = faults.Spec{Name: f.Name, Knobs: slices.Clone(f.Knobs)}
	}
	c.Target.To, c.Target.From = slices.Clone(s.Target.To), slices.Clone(s.Target.From)
	c.MayIdle = slices.Clone(s.MayIdle)
	c.Command, c.Reports = slices.Clone(s.Command), slices.Clone(s.Reports)
	return c
}

// FaultNames lists the faults as SPECs, each as people type it.
func (s *Spec) FaultNames() []string {
	names := make([]string, len(s.Faults))
	for i, f := range s.Faults {
		names[i] = f.String()
	}
	return names
}
