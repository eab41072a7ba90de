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
	Late    string        `json:"late"`    // how late packets were judged, in words; empty if none was
	Flaws   []string      `json:"flaws"`   // what this report lacks, in whole sentences: what came too fast to be judged or told

	Interrupted bool      `json:"interrupted,omitempty"` // it was ended before what it set out to do was done
	Timeline    *Timeline `json:"timeline,omitempty"`    // of a scenario
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

	Connections []string `json:"connections,omitempty"` // what connections went through that a fault acted on, in the words of explain; only where the case failed
	Others      []string `json:"others,omitempty"`      // likewise, connections that something else struck

	Exit   string `json:"exit,omitempty"`   // how the command ended, in words: "exit 1", "killed by SIGSEGV"; empty where there was none
	Output string `json:"output,omitempty"` // its last lines

	Faults  []FaultStats `json:"faults"`  // what each fault did
	Events  []Event      `json:"events"`  // what happened, in order; may be cut, see EventsCut
	Packets []Packet     `json:"packets"` // around each thing a fault did; may be empty

	EventsCut int `json:"events_cut,omitempty"` // how many events were left out

	// Requests that reached the service whole and whose answer was lost, and those
	// of them whose bytes came again.
	AnswersLost uint64 `json:"answers_lost,omitempty"`
	SentAgain   uint64 `json:"sent_again,omitempty"`

	MayIdle  bool `json:"-"` // a verdict by which nothing was learnt is no failure, as was asked for
	Optional bool `json:"-"` // or as the default plan has it

	OpenEnd  bool `json:"-"` // it had no end of its own: whoever wanted it to end ended it
	CutShort bool `json:"-"` // it was under way when the process had to end; Reason is to say why
}

// Verdict is what a case showed.
type Verdict string

// The verdicts. docs/VERDICTS.md says what each follows from.
const (
	Survived    Verdict = "survived"  // the fault arrived and was felt, and the command did not fail
	Prevented   Verdict = "prevented" // the client's own behaviour kept the cause from arising
	Passed      Verdict = "passed"    // what no fault was meant for did not fail: the command untouched, a probe
	Failed      Verdict = "failed"
	Timeout     Verdict = "timeout" // the command did not end in time
	NeverFired  Verdict = "never fired"
	NotAccepted Verdict = "not accepted"
	Unfelt      Verdict = "unfelt"
	NotKnown    Verdict = "not known"
	Unclear     Verdict = "not conclusive" // faultctl did not keep up
	Broken      Verdict = "error"          // faultctl itself failed
	Skipped     Verdict = "skipped"        // it was not tried; Reason says why
	Done        Verdict = "done"           // the fault did what it does, and nothing was asserted
	Interrupted Verdict = "interrupted"
)

// Fails reports whether the verdict speaks against the service.
func (v Verdict) Fails() bool { return v == Failed || v == Timeout }

// Idle reports whether nothing was learnt: that is no pass.
func (v Verdict) Idle() bool {
	return v == NeverFired || v == NotAccepted || v == Unfelt || v == NotKnown || v == Unclear
}

// Verdicts lists all of them in the order in which sums have them.
var Verdicts = []Verdict{Failed, Timeout, NeverFired, NotAccepted, Unfelt, NotKnown, Unclear, Broken, Survived, Prevented, Passed, Done, Interrupted, Skipped}

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

	Struck       uint64 `json:"struck,omitempty"`        // connections that were there when the fault acted on them
	Unsent       uint64 `json:"unsent,omitempty"`        // of those, it did not leave this host
	Unaccepted   uint64 `json:"unaccepted,omitempty"`    // of those, the TCP that it was meant for took no notice
	Unfelt       uint64 `json:"unfelt,omitempty"`        // of those, the application had nothing at stake
	Felt         uint64 `json:"felt,omitempty"`          // of those, it was sent, accepted and felt
	Unknown      uint64 `json:"unknown,omitempty"`       // of those, a step is not known
	ClosedBefore uint64 `json:"closed_before,omitempty"` // closed when the fault acted
	AnswersLost  uint64 `json:"answers_lost,omitempty"`  // requests whose answer was lost
	SentAgain    uint64 `json:"sent_again,omitempty"`    // of those, requests that came again
}

// Event is something that happened to a connection.
type Event struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`             // ready, flow, fired or outcome
	Fault  string    `json:"fault,omitempty"`  // fired and outcome only
	Client string    `json:"client,omitempty"` // the connection's ends, where it is about one
	Server string    `json:"server,omitempty"`
	Action string    `json:"action,omitempty"` // fired only: drop, rst, fin, icmp, delay, rewrite, duplicate, hold
	To     string    `json:"to,omitempty"`     // fired only: client, server, both
	Reason string    `json:"reason,omitempty"` // of an outcome: the steps in words
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
// failed, broke, or taught nothing of its fault, and it was not interrupted.
func (r *Report) Passed() bool {
	if r.Interrupted {
		return false
	}
	for i := range r.Cases {
		if v := r.Cases[i].Verdict; v.Fails() || v.Idle() || v == Broken {
			return false
		}
	}
	return true
}
