// Package report is what is left of a run for those who were not there: the
// model of what happened, and its forms for CI systems, browsers and programs.
// It knows neither packets nor the command line.
package report

import "time"

// Report is one command that ran: inject, run, verify or scenario run.
type Report struct {
	Command string        `json:"command"` // one line that repeats it
	Tool    string        `json:"tool"`    // name and version of what wrote this
	Kernel  string        `json:"kernel"`  // release of the kernel it ran on
	Seed    uint64        `json:"seed"`    // effective seed
	Start   time.Time     `json:"start"`   // when the command began
	Took    time.Duration `json:"-"`       // until it had ended
	Code    int           `json:"code"`    // its exit code
	Cases   []Case        `json:"cases"`   // in the order in which they ran
	Flaws   []string      `json:"flaws"`   // what this report lacks, in whole sentences: what came too fast to be judged or told
}

// Case is one thing that was tried: a command under one fault, a fault on its
// own, a probe of a scenario.
type Case struct {
	Name   string `json:"name"`             // unique within the report: a SPEC, "no fault", a probe's name
	Fault  string `json:"fault,omitempty"`  // name in the catalogue; empty where no fault was active
	Base   bool   `json:"base,omitempty"`   // what the others are compared with: the command, untouched
	Target string `json:"target,omitempty"` // the connections it was about, in words; empty where that says nothing

	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"` // why, in one sentence; empty for what the verdict says alone
	Remedy  string  `json:"remedy,omitempty"` // of the catalogue, where the case failed

	Start time.Time     `json:"start"`
	Took  time.Duration `json:"-"`

	Exit   string `json:"exit,omitempty"`   // how the command ended, in words: "exit 1", "killed by SIGSEGV"; empty where there was none
	Output string `json:"output,omitempty"` // its last lines

	Faults  []FaultStats `json:"faults"`  // what each fault did
	Events  []Event      `json:"events"`  // what happened, in order; may be cut, see EventsCut
	Packets []Packet     `json:"packets"` // around each thing a fault did; may be empty

	EventsCut int `json:"events_cut,omitempty"` // how many events were left out

	CutShort bool `json:"-"` // it was under way when the process had to end; Reason is to say why
}

// Verdict is what a case showed.
type Verdict string

// The verdicts. NeverFired is no pass: it says that nothing was tried.
const (
	Survived   Verdict = "survived" // a fault was active, and the command did not fail
	Passed     Verdict = "passed"   // what no fault was meant for did not fail: the command untouched, a probe
	Failed     Verdict = "failed"
	NeverFired Verdict = "never fired"
	Broken     Verdict = "error"   // faultctl itself failed
	Skipped    Verdict = "skipped" // it was not tried; Reason says why
	Done       Verdict = "done"    // the fault did what it does, and nothing was asserted
)

// FaultStats counts what one fault did.
type FaultStats struct {
	Fault    string `json:"fault"`
	Flows    uint64 `json:"flows"`    // connections that matched
	Chosen   uint64 `json:"chosen"`   // of those, chosen
	Fired    uint64 `json:"fired"`    // of those, the fault acted on
	Acted    uint64 `json:"acted"`    // times it acted
	Diverted uint64 `json:"diverted"` // packets it was asked about
	Dropped  uint64 `json:"dropped"`
	Forged   uint64 `json:"forged"`
}

// Event is something that happened to a connection.
type Event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`             // ready, flow or fired
	Fault  string    `json:"fault,omitempty"`  // fired only
	Client string    `json:"client,omitempty"` // the connection's ends, where it is about one
	Server string    `json:"server,omitempty"`
	Action string    `json:"action,omitempty"` // fired only: drop, rst, fin, icmp, delay, rewrite, duplicate, hold
	To     string    `json:"to,omitempty"`     // fired only: client, server, both
	Reason string    `json:"reason,omitempty"`
}

// Packet is a segment near something that a fault did.
type Packet struct {
	At      time.Time `json:"at"`
	Client  string    `json:"client"` // the connection's ends
	Server  string    `json:"server"`
	From    string    `json:"from"`              // client or server
	Text    string    `json:"text"`              // flags, relative numbers, length, in tcpdump's words
	Comment string    `json:"comment,omitempty"` // what was done to it and why; empty if it passed
	Fate    string    `json:"fate"`              // passed, dropped, delayed, rewritten; replacement, late and forged are put on their way
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
