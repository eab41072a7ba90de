package outcome

// Verdict is what is said of a command under a fault, or of a fault that ran by
// itself.
type Verdict uint8

// The verdicts. The zero value is the one that claims least.
const (
	Unknown      Verdict = iota // a step cannot be known from here
	NeverFired                  // no connection that matched met the fault's moment
	Unaccepted                  // it was not sent, or the TCP that it was meant for took no notice
	Unfelt                      // nothing was at stake on the struck connections
	Prevented                   // the client's own behaviour, or TCP itself, kept it from doing harm
	Survived                    // sent, accepted and felt, and the command succeeded
	Failed                      // the command failed
	TimedOut                    // the command did not end in time
	Fired                       // sent and not refused, without a command that could tell more
	Inconclusive                // packets waited, or passed, because faultctl did not keep up
	numVerdicts  = iota
)

func (v Verdict) String() string {
	return [...]string{
		"not known", "never fired", "not accepted", "unfelt", "prevented", "survived", "FAILED", "timeout", "fired", "not conclusive",
	}[min(v, numVerdicts-1)]
}

// Exit is the exit code of a verdict, as verify has it: 0 it passes, 3 the
// command failed, 4 nothing was learnt.
func (v Verdict) Exit() int {
	switch v {
	case Survived, Prevented, Fired:
		return 0
	case Failed, TimedOut:
		return 3
	}
	return 4
}

// Command is how the command of a case ended.
type Command uint8

// The ends of a command.
const (
	NoCommand Command = iota // there is none: inject
	Succeeded
	CommandFailed
	CommandTimedOut
)

func (c Command) String() string {
	return [...]string{"none", "succeeded", "failed", "timed out"}[min(c, CommandTimedOut)]
}

// Case is what a verdict follows from.
type Case struct {
	Outcome   Outcome // of all connections, see [Further]
	Command   Command
	Prevented bool // the ends did something that kept the cause from arising, and nothing was struck
	Overload  bool // packets were judged too late, or not at all
	Control   bool // what is sent must be ignored by a TCP that follows the RFCs, see [faults.BadSeq]
}

// Row is one line of the table. A row matches if each of its conditions does; an
// empty condition always does.
type Row struct {
	Command  []Command // one of them
	Overload Cond
	Struck   Cond
	Sent     Cond
	Accepted Cond
	Felt     Cond
	Prevents Cond
	Control  Cond
	Verdict  Verdict
	Meaning  string // what it says, in words for people
}

// Cond is a set of answers. The empty set is met by all of them.
type Cond uint8

// Is is the condition that the answer is one of those.
func Is(answers ...Answer) (c Cond) {
	for _, a := range answers {
		c |= 1 << a
	}
	return c
}

func (c Cond) holds(a Answer) bool { return c == 0 || c&(1<<a) != 0 }

// Text is the condition in words: "yes", "no or not known"; empty if there is
// none.
func (c Cond) Text() (text string) {
	for _, a := range []Answer{Yes, No, NotKnown} {
		if c&(1<<a) == 0 {
			continue
		}
		if text != "" {
			text += " or "
		}
		text += a.String()
	}
	return text
}

// Table says what follows from the steps: the first row that matches counts, and
// the last one always does.
var Table = []Row{
	{Command: []Command{CommandFailed}, Verdict: Failed,
		Meaning: "The command failed. If nothing was struck, the fault is not the reason: run the command without one."},
	{Command: []Command{CommandTimedOut}, Verdict: TimedOut,
		Meaning: "The command did not end in time."},
	{Overload: Is(Yes), Verdict: Inconclusive,
		Meaning: "Verdicts on packets were too late, or packets passed unjudged, because faultctl did not keep up: what happened is not the fault's doing alone."},
	{Struck: Is(No), Prevents: Is(Yes), Verdict: Prevented,
		Meaning: "The client's own behaviour kept the cause from arising: a heartbeat, keepalives, or closing first."},
	{Struck: Is(No), Verdict: NeverFired,
		Meaning: "No connection that matched met the fault's moment, or it was closed before."},
	{Sent: Is(No), Verdict: Unaccepted,
		Meaning: "It did not leave this host: a firewall, no route, no address."},
	{Command: []Command{NoCommand, Succeeded}, Sent: Is(Yes), Accepted: Is(No), Control: Is(Yes), Verdict: Prevented,
		Meaning: "A control experiment: a TCP that follows RFC 5961 must take no notice of it, and this one took none."},
	{Accepted: Is(No), Verdict: Unaccepted,
		Meaning: "The TCP that it was meant for took no notice: a firewall or NAT before it, or an option such as TCP-MD5."},
	{Command: []Command{NoCommand}, Sent: Is(NotKnown), Verdict: Unknown,
		Meaning: "Whether it left this host is not known from here."},
	{Command: []Command{NoCommand}, Verdict: Fired,
		Meaning: "It was sent, and nothing says that it was not accepted. Whether anybody felt it, nobody was there to ask."},
	{Felt: Is(No), Verdict: Unfelt,
		Meaning: "Nothing was at stake on the struck connections: the command has survived nothing."},
	{Sent: Is(Yes), Accepted: Is(Yes), Felt: Is(Yes), Verdict: Survived,
		Meaning: "The cause arrived, the application had something at stake, and the command succeeded."},
	{Verdict: Unknown,
		Meaning: "A step cannot be known from here."},
}

// Judge returns the verdict on a case, by the table.
func Judge(c Case) Verdict {
	for i := range Table {
		if Table[i].matches(c) {
			return Table[i].Verdict
		}
	}
	return Unknown // unreachable: the last row always matches
}

func (r *Row) matches(c Case) bool {
	if len(r.Command) > 0 && !contains(r.Command, c.Command) {
		return false
	}
	o := &c.Outcome
	return r.Overload.holds(yesNo(c.Overload)) && r.Struck.holds(yesNo(o.Struck)) && r.Sent.holds(o.Sent.Answer) && r.Accepted.holds(o.Accepted.Answer) &&
		r.Felt.holds(o.Felt.Answer) && r.Prevents.holds(yesNo(c.Prevented)) && r.Control.holds(yesNo(c.Control))
}

func contains(cs []Command, c Command) bool {
	for _, x := range cs {
		if x == c {
			return true
		}
	}
	return false
}

func yesNo(b bool) Answer {
	if b {
		return Yes
	}
	return No
}
