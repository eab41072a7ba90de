// Package event has what a run says of itself: every event as a named type, the
// one writer and the one reader of their lines, and errors as values.
//
// A line is one JSON object with Head's fields first. docs/EVENTS.md is the
// contract, and is made from the types here: a doc tag says what a field means.
//
// It imports the standard library only, so that every part of faultctl, and
// programs that read what it wrote, can import it.
package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is one of the types of this package that embed Head: a pointer to one
// is no Event. The types with the same Name are the shapes of one event; which
// one a line has, the Reader tells by its fields.
type Event interface {
	// Name is what the line has as its event.
	Name() string
	// When is the time of the line. It is the zero time in an event that was
	// not read: Encode and Writer are given the time.
	When() time.Time

	with(Head) Event
}

// Head begins every event. Encode fills it; what a caller put there is replaced.
type Head struct {
	Time  Time   `json:"time"`
	Event string `json:"event"`
}

// When is the time of the event.
func (h Head) When() time.Time { return h.Time.Time }

// Time is a time as events write it: RFC 3339 with all nine digits of the
// nanoseconds, in the time zone of the value.
type Time struct{ time.Time }

const nanos = "2006-01-02T15:04:05.000000000Z07:00"

// MarshalJSON writes nine digits of nanoseconds, so that lines sort as text.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(t.Format(`"` + nanos + `"`)), nil }

// UnmarshalJSON reads RFC 3339 with any number of digits.
func (t *Time) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is not a time as RFC 3339 has it", s)
	}
	t.Time = at
	return nil
}

// List is a list that JSON always has as a list: [] if it is nil or empty.
type List[T any] []T

// MarshalJSON writes [] for an empty list.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if len(l) == 0 {
		return []byte("[]"), nil
	}
	return compact([]T(l))
}

// compact is v in JSON without a line's end, and with <, > and & as they are.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Encode is the line of an event that happened at that time, with its newline.
// Of an Unknown it is what was read, and at does not count. It panics if a
// number is infinite or NaN, which no event may have.
func Encode(at time.Time, e Event) []byte {
	if u, is := e.(Unknown); is && u.Raw != nil {
		return append(bytes.Clone(u.Raw), '\n')
	}
	line, err := compact(e.with(Head{Time{at}, e.Name()}))
	if err != nil {
		panic(fmt.Sprintf("event %s: %v", e.Name(), err))
	}
	return append(line, '\n')
}

// Ends are the two ends of a connection.
type Ends struct {
	Client string `json:"client" doc:"the address and port of the client"`
	Server string `json:"server" doc:"the address and port of the service"`
}

// Pair is a connection of which nobody knows which end is the client.
type Pair struct {
	A string `json:"a" doc:"the address and port of one end"`
	B string `json:"b" doc:"the address and port of the other end"`
}

// Rule is which connections a list of faults is for.
type Rule struct {
	To     List[string] `json:"to" doc:"the services, as typed; ! excludes; none means every service"`
	From   List[string] `json:"from" doc:"the clients, as typed; none means every client"`
	Faults List[string] `json:"faults" doc:"the faults with their settings"`
}

// Started is the first event of inject and run.
type Started struct {
	Head
	Faults    List[string] `json:"faults" doc:"the names of the faults, in order"`
	Seed      uint64       `json:"seed" doc:"repeats the choice of connections"`
	Version   string       `json:"version" doc:"the version of faultctl"`
	NetNS     string       `json:"netns" doc:"the network namespace: \"self\" (the caller's own), \"isolated\" (made for the command, with loopback only), or what --netns, --pid or --container names"`
	Rules     List[Rule]   `json:"rules" doc:"which connections the faults are for"`
	Protected List[Pair]   `json:"protected" doc:"connections that are never touched, even if they match"`
	Duration  string       `json:"duration" doc:"how long the run lasts; \"0s\": it does not end by itself"`
	Repeat    string       `json:"repeat" doc:"the command line that repeats the run"`

	Spec json.RawMessage `json:"spec,omitempty" doc:"the run as data, with the words of its flags: what replay starts again"`
}

// Ready says that the rules are in.
type Ready struct{ Head }

// Flow says that a connection was chosen.
type Flow struct {
	Head
	Flow       Ends   `json:"flow" doc:"the ends of the connection"`
	Rule       int    `json:"rule" doc:"which of the rules chose it, counted from 0"`
	Ordinal    uint64 `json:"ordinal" doc:"which of the rule's connections it is, counted from 0"`
	OpenBefore bool   `json:"open_before" doc:"whether it was open before the run"`
}

// Fired says that a fault acted. What it does to a connection again for the same
// reason is counted, and not told.
type Fired struct {
	Head
	Fault   string `json:"fault" doc:"the name of the fault"`
	Flow    Ends   `json:"flow" doc:"the ends of the connection"`
	Rule    int    `json:"rule" doc:"as in the connection's flow event"`
	Ordinal uint64 `json:"ordinal" doc:"as in the connection's flow event"`
	Action  string `json:"action" doc:"what it did: \"drop\", \"rst\", \"fin\", \"icmp\", \"delay\", \"rewrite\", \"duplicate\" or \"hold\" (the fault goes on silently, because an end is gone, for example)"`
	To      string `json:"to" doc:"the receiver to whom it was done: \"client\", \"server\", or \"both\" at once (idle-expire, when it must tell both ends and knows no sequence numbers of theirs)"`
	Reason  string `json:"reason" doc:"why, in words"`
}

// Text is what the fault did and why, in words. Taking a connection over is nothing
// but its reason.
func (e Fired) Text() string {
	to := " to the " + e.To + ", "
	if e.To == "both" {
		to = " to both, "
	}
	switch e.Action {
	case "drop":
		return "dropped a segment" + to + e.Reason
	case "rst":
		return "RST" + to + e.Reason
	case "fin":
		return "FIN" + to + e.Reason
	case "icmp":
		return "ICMP error" + to + e.Reason
	case "delay":
		return "delayed a segment" + to + e.Reason
	case "rewrite":
		return "rewrote a segment" + to + e.Reason
	case "duplicate":
		return "sent a segment twice" + to + e.Reason
	}
	return e.Reason
}

// Target says that what a name stands for has changed.
type Target struct {
	Head
	Target string `json:"target" doc:"the host name or container, as given"`
	Says   string `json:"says" doc:"what became of it, in words"`
}

// Totals are the counts of one fault at the end of a run. Durations are Go's, as
// time.Duration.String writes them.
type Totals struct {
	Fault    string `json:"fault" doc:"the name of the fault"`
	Flows    uint64 `json:"flows" doc:"connections that matched"`
	Chosen   uint64 `json:"chosen" doc:"connections that were chosen"`
	Fired    uint64 `json:"fired" doc:"connections on which the fault acted"`
	Acted    uint64 `json:"acted" doc:"how often it acted"`
	Diverted uint64 `json:"packets_diverted" doc:"packets of chosen connections that were judged here"`
	Dropped  uint64 `json:"packets_dropped" doc:"packets of chosen connections that were dropped"`
	Forged   uint64 `json:"packets_forged" doc:"packets that were forged on chosen connections"`
	Outcomes
	Flaws
	Lateness
	Duration string `json:"duration" doc:"how long the run lasted, from the moment it was ready"`
}

// Flaws count what a run could not judge, follow, change or tell. Where one is
// not 0, what the run shows is not the whole of what happened.
type Flaws struct {
	Overruns    uint64 `json:"queue_overruns" doc:"packets that passed without being judged, because the queue was full"`
	Shed        uint64 `json:"packets_shed,omitempty" doc:"packets that passed without being judged, because faultctl did not keep up"`
	Foreign     uint64 `json:"packets_foreign,omitempty" doc:"packets that passed without being judged: fragments, or not whole TCP segments"`
	Cut         uint64 `json:"packets_cut,omitempty" doc:"packets that stayed unchanged, because they were larger than the queue hands over"`
	Forgotten   uint64 `json:"connections_forgotten,omitempty" doc:"connections that were forgotten early, because there were too many (docs/SAFETY.md)"`
	Early       uint64 `json:"outcomes_settled_early,omitempty" doc:"outcomes that were settled before all was known, because too many connections were struck at once"`
	SetFull     uint64 `json:"idle_set_full,omitempty" doc:"packets that found the kernel's set of idle connections full"`
	CaptureFull uint64 `json:"captured_set_full,omitempty" doc:"packets that found the kernel's set of captured connections full"`
	ReleaseFull uint64 `json:"released_set_full,omitempty" doc:"packets that found the kernel's set of released connections full"`
	OwnerFull   uint64 `json:"owned_set_full,omitempty" doc:"connections that found the kernel's set of the target's own connections full"`
	Unsent      uint64 `json:"packets_unsent,omitempty" doc:"packets that could not be sent on their way again"`
	Signed      uint64 `json:"connections_signed,omitempty" doc:"connections that were left alone because their segments are signed (TCP-MD5 or TCP-AO)"`
	Lost        uint64 `json:"events_lost" doc:"events that came too fast to be told; the counts include them"`
	Unseen      uint64 `json:"packets_unseen,omitempty" doc:"packets that came too fast for --pcap or --report"`
}

// Lateness is how late the verdicts on packets were: how long packets waited for them, or
// waited for longer than a fault wanted.
type Lateness struct {
	Most         string `json:"verdicts_late_p99,omitempty" doc:"99 in 100 verdicts on packets were no later than this; a bound of faultctl_verdict_latency_seconds, or less"`
	Worst        string `json:"verdicts_late_worst,omitempty" doc:"the latest verdict; absent if there was none, as the former"`
	Late         uint64 `json:"verdicts_late,omitempty" doc:"verdicts that were more than 200ms late"`
	Inconclusive string `json:"not_conclusive,omitempty" doc:"why the run is not conclusive, in words: packets passed unjudged, or verdicts were too late (docs/VERDICTS.md)"`
}

// Ended sums up one fault of an inject, of a run or of a case of verify.
type Ended struct {
	Head
	Totals
}

// Command says that run has started its command.
type Command struct {
	Head
	Command List[string] `json:"command" doc:"the command and its arguments"`
}

// Exited says that the command of run has ended.
type Exited struct {
	Head
	Status int    `json:"status" doc:"its exit status; 128 and the signal's number if a signal ended it"`
	How    string `json:"how" doc:"how it ended, in words"`
}

// VerifyStarted is the first event of verify.
type VerifyStarted struct {
	Head
	Faults  List[string] `json:"faults" doc:"the names of the cases, in order"`
	Seed    uint64       `json:"seed" doc:"repeats the choice of connections"`
	Version string       `json:"version" doc:"the version of faultctl"`
	NetNS   string       `json:"netns" doc:"the network namespace, as in the started event of inject"`
	Rules   List[Rule]   `json:"rules" doc:"which connections the faults of each case are for, one rule for each case"`
	Command List[string] `json:"command" doc:"the command and its arguments"`
	To      List[string] `json:"to" doc:"the services, as typed"`
	From    List[string] `json:"from" doc:"the clients, as typed"`
	Runs    int          `json:"runs" doc:"how often the command runs in each case"`
	Repeat  string       `json:"repeat" doc:"the command line that repeats the whole"`

	Spec json.RawMessage `json:"spec,omitempty" doc:"what all cases have in common, as data"`
}

// Case says that a run under a case of verify begins.
type Case struct {
	Head
	Case   string `json:"case" doc:"the name of the case"`
	Repeat string `json:"repeat" doc:"the command line that repeats this run alone"`

	Spec json.RawMessage `json:"spec,omitempty" doc:"the run under this case as data: what replay starts again"`
}

// VerifyResult says what became of a case of verify.
type VerifyResult struct {
	Head
	Case    string `json:"case" doc:"the name of the case"`
	Fault   string `json:"fault" doc:"the name of its first fault; empty for the run without a fault"`
	Verdict string `json:"verdict" doc:"\"passed\" (without a fault), \"survived\", \"failed\", \"timeout\", \"prevented\", \"unfelt\", \"not accepted\", \"not known\", \"not conclusive\", \"never fired\", \"error\" (faultctl itself failed) or \"skipped\""`
	Exit    string `json:"exit" doc:"how the command ended, in words: exit 1, killed by SIGSEGV; empty if it was not run"`
	Reason  string `json:"reason,omitempty" doc:"why it is so, in words"`
	Remedy  string `json:"remedy,omitempty" doc:"what helps against the fault"`
	Output  string `json:"output,omitempty" doc:"the last of what the command printed"`

	Connections List[string] `json:"connections,omitempty" doc:"if it failed: what the connections went through that the fault acted on, in the words of explain"`
	Others      List[string] `json:"others,omitempty" doc:"connections that something else struck than a fault of the case, likewise"`

	Took string `json:"duration" doc:"how long the command ran"`

	AnswersLost uint64 `json:"answers_lost,omitempty" doc:"requests that reached the service whole, and whose answer was lost"`
	SentAgain   uint64 `json:"sent_again,omitempty" doc:"of those, requests whose bytes came again"`

	Repeat string `json:"repeat,omitempty" doc:"the command line that repeats this case alone"`
}

// Verified is the last event of verify.
type Verified struct {
	Head
	Survived   int  `json:"survived" doc:"cases that the command survived"`
	Failed     int  `json:"failed" doc:"cases in which it failed"`
	NeverFired int  `json:"never_fired" doc:"cases in which a fault never fired"`
	Timeout    int  `json:"timeout,omitempty" doc:"cases in which the command did not end in time"`
	Prevented  int  `json:"prevented,omitempty" doc:"cases in which the client's own behaviour kept the cause from arising"`
	Unfelt     int  `json:"unfelt,omitempty" doc:"cases in which nothing was at stake on the struck connections"`
	Unaccepted int  `json:"not_accepted,omitempty" doc:"cases in which it did not reach the TCP that it was meant for, or that took no notice"`
	Unknown    int  `json:"not_known,omitempty" doc:"cases in which a step cannot be known"`
	Unclear    int  `json:"not_conclusive,omitempty" doc:"cases in which faultctl did not keep up with the packets"`
	Broken     int  `json:"could_not_be_tried" doc:"cases in which faultctl itself failed"`
	Skipped    int  `json:"skipped" doc:"cases that were not tried"`
	Healthy    bool `json:"healthy" doc:"whether the command succeeded without a fault"`
}

// Replayed is the last event of replay.
type Replayed struct {
	Head
	Connections int              `json:"connections" doc:"connections that were chosen in the recording"`
	Same        int              `json:"same" doc:"how many of them met with the same decisions again"`
	Differences List[Difference] `json:"differences" doc:"the others"`
	Lost        uint64           `json:"events_lost" doc:"events that the recording lacks, so that connections may be missing here"`
	Restarts    int              `json:"restarts,omitempty" doc:"how often the container was restarted in the recording; what came after the first restart is left out"`
}

// Difference is a connection that met with other decisions than recorded.
type Difference struct {
	Of      string       `json:"of,omitempty" doc:"the case of verify, or the fault's name in a scenario"`
	Time    int          `json:"time,omitempty" doc:"how often that had begun before"`
	Ordinal uint64       `json:"ordinal" doc:"which connection it is, counted from 0"`
	Came    bool         `json:"came" doc:"whether there was such a connection again"`
	Then    List[string] `json:"then" doc:"what was decided in the recording, in words"`
	Now     List[string] `json:"now" doc:"what was decided now, in words"`
}

// ErrorEvent says that faultctl failed.
type ErrorEvent struct {
	Head
	Code    Code   `json:"code" doc:"the exit code; under run, which then exits with 125, the code that it would be otherwise"`
	Message string `json:"message" doc:"what was tried, and what went wrong"`
	Advice  string `json:"advice,omitempty" doc:"what to do about it"`
	Field   Field  `json:"field,omitempty" doc:"what the error is about: the word of the flag or of the key in a file, such as to, percent or fault.after"`
}

// Unknown is an event that this version does not know, or a JSON object that is
// no event. Encode gives back the line as it was read.
type Unknown struct {
	Head
	Raw json.RawMessage `json:"-"` // the whole line without its newline; nil: Head only
}

func (Started) Name() string       { return "started" }
func (Ready) Name() string         { return "ready" }
func (Flow) Name() string          { return "flow" }
func (Fired) Name() string         { return "fired" }
func (Target) Name() string        { return "target" }
func (Ended) Name() string         { return "ended" }
func (Command) Name() string       { return "command" }
func (Exited) Name() string        { return "exited" }
func (VerifyStarted) Name() string { return "started" }
func (Case) Name() string          { return "case" }
func (VerifyResult) Name() string  { return "result" }
func (Verified) Name() string      { return "verified" }
func (Replayed) Name() string      { return "replayed" }
func (ErrorEvent) Name() string    { return "error" }
func (u Unknown) Name() string     { return u.Event } // empty if the line has no event

func (e Started) with(h Head) Event       { e.Head = h; return e }
func (e Ready) with(h Head) Event         { e.Head = h; return e }
func (e Flow) with(h Head) Event          { e.Head = h; return e }
func (e Fired) with(h Head) Event         { e.Head = h; return e }
func (e Target) with(h Head) Event        { e.Head = h; return e }
func (e Ended) with(h Head) Event         { e.Head = h; return e }
func (e Command) with(h Head) Event       { e.Head = h; return e }
func (e Exited) with(h Head) Event        { e.Head = h; return e }
func (e VerifyStarted) with(h Head) Event { e.Head = h; return e }
func (e Case) with(h Head) Event          { e.Head = h; return e }
func (e VerifyResult) with(h Head) Event  { e.Head = h; return e }
func (e Verified) with(h Head) Event      { e.Head = h; return e }
func (e Replayed) with(h Head) Event      { e.Head = h; return e }
func (e ErrorEvent) with(h Head) Event    { e.Head = h; return e }
func (e Unknown) with(h Head) Event       { e.Head = h; return e }
