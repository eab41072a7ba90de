package faults

import (
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/internal/words"
)

// A Kind is one fault of the catalogue and what it says about itself. The
// command line's flags and help, scenario files, shell completion, the
// demonstration, the plan of verify and the documents are all made from it. It
// stands in the fault's own file.
type Kind struct {
	Name    string
	Group   string // "reset", "link" or "control"
	Cause   string // what happens in the real world
	Symptom string // what the application sees: calls and errno
	Remedy  string // what helps
	Example string // a command line
	Demo    Demo
	Ignored bool     // a control experiment: a TCP that follows the RFCs takes no notice of it
	Verify  []Verify // how verify tries it, a case each; nil: once, with the defaults

	// Shows is what a capture shows of it: a prediction for each way in which it
	// happens. Any of them may hold; nil: it ends no connection, so explain does not
	// name it.
	Shows []clue.Prediction

	// New returns a fresh model of the fault. All its fields are zero, which means
	// the defaults.
	New func() Model
}

// Demo is how a demonstration shows a fault within seconds: a client connects,
// sends a request and gets an answer, pauses, and sends a second request.
type Demo struct {
	Settings  string        // as in a SPEC, such as "after=1s"; empty: the defaults
	Quiet     time.Duration // the least pause between the two requests; 0: whatever the demonstration takes
	Answer    []string      // the answer to the second request, one send each; nil: any short one
	Keepalive bool          // the client has TCP keepalive on, with short times
	HalfClose bool          // the client shuts down its sending side behind the second request
}

// Verify is how a fault is tried on a test command. A fault of an open connection is
// tried on its first exchange, and on one that has been used and is used again: the
// first request of a pool's connection is often its login or its TLS handshake, and
// the pool then never comes to use the connection.
type Verify struct {
	Settings string // as in a SPEC, with times that a test has; empty: the defaults
	Moment   string // how to bring the fault about, if few tests do so by themselves
}

// Catalog lists the faults, in the order in which help and documents show them.
var Catalog = []Kind{
	resetKind,
	synDropKind,
	idleExpireKind,
	halfOpenKind,
	closedSocketKind,
	lingerResetKind,
	unreadCloseKind,
	rstCloseKind,
	halfCloseKind,
	acceptOverflowKind,
	refuseKind,
	unreachableKind,
	connectStallKind,
	synChallengeKind,
	pawsRejectKind,
	natLeakKind,
	keepaliveDropKind,
	badSeqKind,
	stallKind,
	hangKind,
	observeKind,
	lossKind,
	delayKind,
	duplicateKind,
	reorderKind,
	corruptKind,
	throttleKind,
	mtuHoleKind,
	partitionKind,
	sliceKind,
}

// DemoSpec is the fault as a demonstration shows it.
func (k Kind) DemoSpec() Spec { return k.spec(k.Demo.Settings) }

// VerifySpecs is the fault as verify tries it, a case each. There is at least one,
// and the first is what a bare name means to verify.
func (k Kind) VerifySpecs() []Spec {
	if len(k.Verify) == 0 {
		return []Spec{k.spec("")}
	}
	specs := make([]Spec, len(k.Verify))
	for i, v := range k.Verify {
		specs[i] = k.spec(v.Settings)
	}
	return specs
}

// VerifyMoment says how a test command brings the fault about with the settings of
// s, or with those of its first try; empty if there is nothing to say.
func (k Kind) VerifyMoment(s Spec) string {
	moment := ""
	for i, tried := range k.VerifySpecs() {
		if i < len(k.Verify) && (i == 0 || tried.String() == s.String()) {
			moment = k.Verify[i].Moment
		}
	}
	return moment
}

// readyMoment is the Moment of the trigger ready.
const readyMoment = "Have the command use a connection again that has not been used for 50ms, as pools and keep-alive connections do."

// spec reads settings that stand in the catalogue. A test holds that they are right.
func (k Kind) spec(settings string) Spec {
	s := Spec{Name: k.Name}
	for _, kv := range strings.FieldsFunc(settings, func(r rune) bool { return r == ',' }) {
		knob, value, _ := strings.Cut(kv, "=")
		s.Knobs = append(s.Knobs, [2]string{knob, value})
	}
	return s
}

// Names lists the faults in the order of the catalogue.
func Names() []string {
	names := make([]string, len(Catalog))
	for i, k := range Catalog {
		names[i] = k.Name
	}
	return names
}

// Find returns the fault of that name. The error is an [*UnknownFaultError].
func Find(name string) (Kind, error) {
	i := slices.IndexFunc(Catalog, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, &UnknownFaultError{name, words.Nearest(name, Names())}
	}
	return Catalog[i], nil
}
