// Package report is what is left of a run for those who were not there: the
// model of what happened, and its forms for CI systems, browsers and programs.
// It knows neither packets nor the command line.
package report

import "time"

// Report is one command that ran: inject, run, verify or scenario run.
type Report struct {
	Command string        // one line that repeats it
	Tool    string        // name and version of what wrote this
	Kernel  string        // release of the kernel it ran on
	Seed    uint64        // effective seed
	Start   time.Time     // when the command began
	Took    time.Duration // until it had ended
	Code    int           // its exit code
	Cases   []Case        // in the order in which they ran
}

// Case is one thing that was tried: a command under one fault, a fault on its
// own, a probe of a scenario.
type Case struct {
	Name   string // unique within the report: a SPEC, "no fault", a probe's name
	Fault  string // name in the catalogue; empty where no fault was at work
	Target string // the connections it was about, in words; empty where that says nothing

	Verdict Verdict
	Reason  string // why, in one sentence; empty for what Survived says alone
	Remedy  string // of the catalogue, where the case failed

	Start time.Time
	Took  time.Duration

	Exit   string // how the command ended, in words: "exit 1", "killed by SIGSEGV"; empty where there was none
	Output string // its last lines

	Faults  []FaultStats // what each fault did
	Events  []Event      // what happened, in order; may be cut, see EventsCut
	Packets []Packet     // around each thing a fault did; may be empty

	EventsCut int // how many events were left out
}

// Verdict is what a case showed.
type Verdict string

// The verdicts. NeverFired is no pass: it says that nothing was tried.
const (
	Survived   Verdict = "survived"
	Failed     Verdict = "failed"
	NeverFired Verdict = "never fired"
	Broken     Verdict = "error"   // faultctl itself failed
	Skipped    Verdict = "skipped" // it was not tried; Reason says why
	Done       Verdict = "done"    // the fault did what it does, and nothing was asserted
)

// FaultStats counts what one fault did.
type FaultStats struct {
	Fault    string
	Flows    uint64 // connections that matched
	Chosen   uint64 // of those, chosen
	Fired    uint64 // of those, the fault acted on
	Acted    uint64 // times it acted
	Diverted uint64 // packets it was asked about
	Dropped  uint64
	Forged   uint64
}

// Event is something that happened to a connection.
type Event struct {
	At     time.Time
	Kind   string // ready, flow, fired, probe, phase, error
	Fault  string // fired only
	Client string // the connection's ends, where it is about one
	Server string
	Action string // fired only: drop, rst, fin, icmp, delay, rewrite, duplicate, hold
	To     string // fired only: client, server, both
	Reason string
}

// Packet is a segment near something that a fault did.
type Packet struct {
	At      time.Time
	Client  string // the connection's ends
	Server  string
	From    string // client or server
	Text    string // flags, relative numbers, length, in tcpdump's words
	Comment string // what was done to it and why; empty if it passed
	Forged  bool   // of our own making
}

// Passed reports whether nothing in r speaks against the service: no case
// failed, broke, or was about a fault that never fired.
func (r *Report) Passed() bool {
	for i := range r.Cases {
		switch r.Cases[i].Verdict {
		case Failed, NeverFired, Broken:
			return false
		}
	}
	return true
}
