// Package replay reads the event stream of an earlier command, and compares the
// decisions in it with those of a new run.
package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/words"
)

// Kind is which command was recorded.
type Kind string

// The commands whose events are recordings.
const (
	Inject   Kind = "inject"
	Command  Kind = "run"
	Verify   Kind = "verify"
	Scenario Kind = "scenario run"
)

// A Recording is the event stream of an earlier command, together with the
// decisions of the command that repeats it. Once it is read, any goroutine may
// use it.
type Recording struct {
	Kind Kind

	// Spec is that of an inject or run, or what all cases of a verify have in
	// common. Output files and the command are not part of it: a recording is data,
	// and names neither what is written nor what is executed.
	Spec    experiment.Spec
	Command []string     // what a run or verify ran
	Cases   []event.Rule // of a verify: the faults of each case
	Runs    int          // of a verify: how often each case ran

	File      string // of a scenario
	Seed      uint64 // likewise
	AllowIdle bool   // likewise

	Lost uint64 // events that the stream lacks

	// An inject that follows a container counts connections anew in each of its
	// namespaces, and begins each with another event ready. Only the decisions in
	// the first are compared, because the container cannot be restarted at the
	// same moments again.
	readies    int // in the record
	readyAgain int // while its decisions are made again

	then map[stretch]*decisions
	made []stretch // the recorded ones, in order

	at     stretch                     // while reading: where events belong
	rules  []stretch                   // likewise, of a scenario: where those of each entry belong
	alone  map[stretch]json.RawMessage // the Spec of each run of a case of a verify
	starts map[string]int              // how often each name has begun

	mu   sync.Mutex
	now  map[stretch]*decisions
	seen bool // the run became ready
}

// stretch is a part of a command in which connections are counted from 0: all of
// an inject or run, one run under a case of a verify, the time between a start
// and a stop of an entry of a scenario.
type stretch struct {
	name string // of the case or entry; empty for an inject or run
	nth  int    // from 0, of that name
}

func (s stretch) String() string {
	switch {
	case s.nth > 0:
		return fmt.Sprintf(" of %s, the %d. time", s.name, s.nth+1)
	case s.name != "":
		return " of " + s.name
	}
	return ""
}

// decisions are the decisions in a stretch, by connection ordinal.
type decisions struct {
	made  map[uint64][]string   // of each chosen connection, in order
	owner map[event.Ends]uint64 // the present connection with these ends
}

func newDecisions() *decisions {
	return &decisions{made: map[uint64][]string{}, owner: map[event.Ends]uint64{}}
}

func (d *decisions) chosen(flow event.Ends, nth uint64) {
	d.owner[flow] = nth
	if d.made[nth] == nil {
		d.made[nth] = []string{}
	}
}

// fired adds an action of a fault. A repeated action counts once, because the
// number of repetitions depends on the peers.
func (d *decisions) fired(flow event.Ends, what string) {
	nth, known := d.owner[flow]
	if made := d.made[nth]; known && !slices.Contains(made, what) {
		d.made[nth] = append(made, what)
	}
}

func decision(e event.Fired) string {
	return fmt.Sprintf("%s: %s to %s, %s", e.Fault, e.Action, e.To, e.Reason)
}

// Read reads the events of an inject, run, verify or scenario run. An incomplete
// last line is ignored. Lines that Read does not need may be of a later version.
func Read(r io.Reader) (*Recording, error) {
	rec := &Recording{
		then: map[stretch]*decisions{}, now: map[stretch]*decisions{}, alone: map[stretch]json.RawMessage{}, starts: map[string]int{},
	}
	lines := event.NewReader(r)
	for {
		e, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			if rec.Kind == "" {
				return nil, fmt.Errorf("no event started: is it what faultctl inject -o json printed?")
			}
			return rec, nil
		case errors.Is(err, event.ErrTooLong), errors.Is(err, event.ErrNotJSON):
			return nil, fmt.Errorf("%w: is it what faultctl inject -o json printed?", err)
		case err != nil:
			return nil, err
		}
		if err := rec.add(e); err != nil {
			return nil, &event.LineError{Line: lines.Line(), Err: err}
		}
	}
}

// add adds one event.
func (r *Recording) add(e event.Event) error {
	switch e := e.(type) {
	case event.Started:
		kind := Inject
		if err := r.begins(kind, e.Spec, e.Repeat); err != nil {
			return err
		}
		if len(r.Command) > 0 {
			r.Kind = Command
		}
		r.begin("")
	case event.VerifyStarted:
		r.Cases, r.Runs = e.Rules, e.Runs
		return r.begins(Verify, e.Spec, e.Repeat)
	case event.ScenarioStarted:
		r.File, r.Seed, r.AllowIdle = e.File, e.Seed, e.AllowIdle
		if r.Kind != "" {
			return errSecond
		}
		r.Kind = Scenario
	case event.Case:
		r.begin(e.Case)
		r.alone[r.at] = e.Spec
	case event.Step:
		if e.Do == "start" && e.Note == "" { // with a note it did not begin
			if e.Rule < 0 || e.Rule >= mostEntries {
				return fmt.Errorf("event step: no scenario has a fault of the number %d", e.Rule)
			}
			r.begin(e.Entry)
			r.rules = append(r.rules, make([]stretch, max(0, e.Rule+1-len(r.rules)))...)
			r.rules[e.Rule] = r.at
		}
	case event.Ready:
		r.readies++
	case event.Flow:
		d, err := r.of(e.Name(), e.Rule)
		if d != nil {
			d.chosen(e.Flow, e.Ordinal)
		}
		return err
	case event.Fired:
		d, err := r.of(e.Name(), e.Rule)
		if d != nil {
			d.fired(e.Flow, decision(e))
		}
		return err
	case event.Ended:
		r.Lost = max(r.Lost, e.Lost)
	case event.ScenarioEnded:
		r.Lost = max(r.Lost, e.Lost)
	}
	return nil
}

var errSecond = errors.New("a second event started: the decisions of one command at a time can be made again")

// begins reads the event that says what the command does.
func (r *Recording) begins(kind Kind, spec json.RawMessage, repeat string) error {
	switch {
	case r.Kind != "":
		return errSecond
	case spec == nil:
		return fmt.Errorf("it is of %q, which cannot be made again: its event started has no spec", repeat)
	}
	if err := r.read(spec); err != nil {
		return fmt.Errorf("event started: the spec: %w", err)
	}
	r.Kind = kind
	return nil
}

// read reads a recorded Spec.
func (r *Recording) read(spec json.RawMessage) error {
	if err := json.Unmarshal(spec, &r.Spec); err != nil {
		return err
	}
	r.Command, r.Spec.Command = r.Spec.Command, nil
	r.Spec.Pcap, r.Spec.Reports, r.Spec.Metrics = "", nil, ""
	r.Spec.While, r.Spec.WhileEvery, r.Spec.WhileFails = "", nil, 0
	return nil
}

// WithoutCommand makes what a run or a case of a verify decided the decisions of an
// inject: about any connections of the target, whoever opens them.
func (r *Recording) WithoutCommand() {
	r.Kind = Inject
	r.Spec.Timeout, r.Spec.Isolate = nil, false
}

// of returns the decisions that an event belongs to; nil if it must not be
// compared.
func (r *Recording) of(name string, rule int) (*decisions, error) {
	if r.moved(r.readies) {
		return nil, nil
	}
	at := r.at
	if len(r.rules) > 0 {
		at = r.rules[min(max(rule, 0), len(r.rules)-1)]
	}
	if d := r.then[at]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("event %s: before anything has begun", name)
}

// moved reports whether decisions after that many ready events must not be
// compared.
func (r *Recording) moved(readies int) bool { return r.Kind == Inject && readies > 1 }

// Restarts is how often the container of an inject was restarted.
func (r *Recording) Restarts() int {
	if !r.moved(r.readies) {
		return 0
	}
	return r.readies - 1
}

// mostEntries limits the faults of a scenario; a file of 1 MiB cannot have
// more.
const mostEntries = 1 << 20

// begin says that a stretch of that name begins in the record.
func (r *Recording) begin(name string) {
	r.at = stretch{name, r.starts[name]}
	r.starts[name]++
	r.then[r.at] = newDecisions()
	r.made = append(r.made, r.at)
}

// Only narrows the record of a verify down to the last run under a case, which
// decided about it. name is the case's, or its fault's.
func (r *Recording) Only(name string) error {
	if r.Kind != Verify {
		return fmt.Errorf("only what faultctl verify recorded has cases")
	}
	var found []stretch
	var names []string
	for _, s := range r.made {
		fault, _, _ := strings.Cut(s.name, ":")
		if s.name == name || fault == name {
			found = append(found, s)
		}
		if s.nth == 0 {
			names = append(names, s.name)
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("there is no case %q in it%s", name, words.DidYouMean(name, names))
	}
	s := found[len(found)-1]
	if found[0].name != s.name {
		return fmt.Errorf("several cases are of the fault %s: name one as a whole, such as %s", name, s.name)
	}
	if r.alone[s] == nil {
		return fmt.Errorf("the event of the case %s has no spec", s.name)
	}
	if err := r.read(r.alone[s]); err != nil {
		return fmt.Errorf("the spec of the case %s: %w", s.name, err)
	}
	r.Kind = Command
	r.then, r.made = map[stretch]*decisions{{}: r.then[s]}, []stretch{{}}
	return nil
}

// Chosen is how many connections were chosen in all.
func (r *Recording) Chosen() (n int) {
	for _, d := range r.then {
		n += len(d.made)
	}
	return n
}

// Attend makes the next run of the plan choose the recorded connections, found
// by the plan's name, and records its decisions. If the recording has no such
// run, the run chooses by itself. A nil Recording does nothing.
func (r *Recording) Attend(p *experiment.Plan) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := stretch{name: p.Name}
	for r.now[s] != nil {
		s.nth++
	}
	r.now[s] = newDecisions()
	if then := r.then[s]; then != nil {
		p.Choose(target.NewOrdinals(slices.Collect(maps.Keys(then.made))))
	}
	p.Observe(experiment.Observer{Event: func(_ time.Time, e event.Event) { r.saw(s, e) }})
}

// saw records an event of a stretch.
func (r *Recording) saw(at stretch, e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, is := e.(event.Ready); is {
		r.seen = true
		r.readyAgain++
	}
	if r.moved(r.readyAgain) {
		return
	}
	switch e := e.(type) {
	case event.Flow:
		r.now[at].chosen(e.Flow, e.Ordinal)
	case event.Fired:
		r.now[at].fired(e.Flow, decision(e))
	}
}

// Seen reports whether the repeated run became ready.
func (r *Recording) Seen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}
