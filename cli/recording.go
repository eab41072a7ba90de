package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// recording is the stream of events of an earlier command, and what one that
// makes its decisions again has decided so far.
type recording struct {
	args []string // the command line that repeats it, split into words
	lost uint64   // events that the stream lacks

	// An inject that follows a container counts connections anew in each of its
	// namespaces, and begins each with another event ready. Its decisions are
	// those in the first: nobody could restart the container at the same moments.
	readies    int // in the record
	readyAgain int // while its decisions are made again

	then map[stretch]*decisions
	made []stretch // those of then, in their order

	at     stretch            // while it is read: where events belong
	rules  []stretch          // likewise, of a scenario: where those of each entry belong
	alone  map[stretch]string // the command line of each case of a verify
	starts map[string]int     // how often each name has begun

	mu   sync.Mutex
	now  map[stretch]*decisions
	seen bool // it got as far as being ready
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

// decisions are what was decided in a stretch, by the ordinals of connections.
type decisions struct {
	made  map[uint64][]string // of each chosen connection, in order
	owner map[flowEnds]uint64 // the connection that has these ends now
}

func newDecisions() *decisions {
	return &decisions{made: map[uint64][]string{}, owner: map[flowEnds]uint64{}}
}

func (d *decisions) chosen(flow flowEnds, nth uint64) {
	d.owner[flow] = nth
	if d.made[nth] == nil {
		d.made[nth] = []string{}
	}
}

// fired adds what a fault did. The same thing done again counts once: how often
// it comes to it is the peers' doing.
func (d *decisions) fired(flow flowEnds, what string) {
	nth, known := d.owner[flow]
	if made := d.made[nth]; known && !slices.Contains(made, what) {
		d.made[nth] = append(made, what)
	}
}

func decision(fault, action, to, reason string) string {
	return fmt.Sprintf("%s: %s to %s, %s", fault, action, to, reason)
}

// readRecording reads the NDJSON of an inject, run, verify or scenario run. A
// last line that the end of its process cut short is left out.
func readRecording(r io.Reader) (*recording, error) {
	rec := &recording{
		then: map[stretch]*decisions{}, now: map[stretch]*decisions{}, alone: map[stretch]string{}, starts: map[string]int{},
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestEvent)
	lines.Split(wholeLines)
	n := 1
	for ; lines.Scan(); n++ {
		if err := rec.add(lines.Bytes()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than 1 MiB: is it what faultctl inject -o json printed?", n)
	case err != nil:
		return nil, aboutFile(err)
	}
	if rec.args == nil {
		return nil, fmt.Errorf("no event started: is it what faultctl inject -o json printed?")
	}
	return rec, nil
}

// longestEvent is how long a line of events may be.
const longestEvent = 1 << 20

// wholeLines is a bufio.SplitFunc of lines, without a last one that has no end.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// add takes in one event.
func (r *recording) add(line []byte) error {
	var ev struct {
		Event, Repeat, Fault, Action, Reason string

		To any // a string in fired, a list in started

		Case, Name, Do, Note string
		Rule                 int

		Flow    flowEnds `json:"flow"`
		Ordinal uint64   `json:"ordinal"`
		Lost    uint64   `json:"events_lost"`
	}
	// The numbers of other events may be of other kinds under these names.
	var kind struct{ Event string }
	if err := json.Unmarshal(line, &kind); err != nil {
		return fmt.Errorf("no JSON object: is it what faultctl inject -o json printed?")
	}
	if !slices.Contains([]string{"started", "case", "step", "ready", "flow", "fired", "ended"}, kind.Event) {
		return nil
	}
	if err := json.Unmarshal(line, &ev); err != nil {
		return fmt.Errorf("event %s: %w", kind.Event, err)
	}
	switch ev.Event {
	case "started":
		args, err := splitWords(ev.Repeat)
		switch {
		case r.args != nil:
			return fmt.Errorf("a second event started: the decisions of one command at a time can be made again")
		case err != nil || !runsFaults(args):
			return fmt.Errorf("it is of %q, which cannot be made again", ev.Repeat)
		}
		r.args = args
		if args[1] == "inject" || args[1] == "run" {
			r.begin("")
		}
	case "case":
		r.begin(ev.Case)
		r.alone[r.at] = ev.Repeat
	case "step":
		if ev.Do == "start" && ev.Note == "" { // with a note it did not begin
			if ev.Rule < 0 || ev.Rule >= mostEntries {
				return fmt.Errorf("event step: no scenario has a fault of the number %d", ev.Rule)
			}
			r.begin(ev.Name)
			r.rules = append(r.rules, make([]stretch, max(0, ev.Rule+1-len(r.rules)))...)
			r.rules[ev.Rule] = r.at
		}
	case "ready":
		r.readies++
	case "flow", "fired":
		if r.moved(r.readies) {
			return nil
		}
		at := r.at
		if len(r.rules) > 0 {
			at = r.rules[min(max(ev.Rule, 0), len(r.rules)-1)]
		}
		d := r.then[at]
		switch {
		case d == nil:
			return fmt.Errorf("event %s: before anything has begun", kind.Event)
		case ev.Event == "flow":
			d.chosen(ev.Flow, ev.Ordinal)
		default:
			d.fired(ev.Flow, decision(ev.Fault, ev.Action, fmt.Sprint(ev.To), ev.Reason))
		}
	case "ended":
		r.lost = max(r.lost, ev.Lost)
	}
	return nil
}

// moved reports whether what a run decides after so many events ready is not to
// be compared.
func (r *recording) moved(readies int) bool {
	return r.args != nil && r.args[1] == "inject" && readies > 1
}

// restarts is how often the container of an inject was restarted.
func (r *recording) restarts() int {
	if !r.moved(r.readies) {
		return 0
	}
	return r.readies - 1
}

// mostEntries bounds the faults of a scenario: a file of 1 MiB has no room for
// more.
const mostEntries = 1 << 20

// runsFaults reports whether a command line is one of those that are recorded.
func runsFaults(args []string) bool {
	switch {
	case len(args) < 3:
		return false
	case args[1] == "scenario":
		return args[2] == "run"
	}
	return slices.Contains([]string{"inject", "run", "verify"}, args[1])
}

// begin says that a stretch of that name begins in the record.
func (r *recording) begin(name string) {
	r.at = stretch{name, r.starts[name]}
	r.starts[name]++
	r.then[r.at] = newDecisions()
	r.made = append(r.made, r.at)
}

// only narrows the record of a verify down to the last run under a case, which
// decided about it. name is the case's, or its fault's.
func (r *recording) only(name string) error {
	if r.args[1] != "verify" {
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
	args, err := splitWords(r.alone[s])
	if err != nil || len(args) < 3 {
		return fmt.Errorf("the event of the case %s does not say how it is repeated", s.name)
	}
	r.args = args
	r.then, r.made = map[stretch]*decisions{{}: r.then[s]}, []stretch{{}}
	return nil
}

// chosen is how many connections were chosen in all.
func (r *recording) chosen() (n int) {
	for _, d := range r.then {
		n += len(d.made)
	}
	return n
}

// again says that a stretch of that name begins while the decisions are made
// again, and has it choose the connections that were chosen then. One that the
// record does not have chooses its own.
func (r *recording) again(name string, cfg *injector.Config) stretch {
	if r == nil {
		return stretch{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := stretch{name: name}
	for r.now[s] != nil {
		s.nth++
	}
	r.now[s] = newDecisions()
	if then := r.then[s]; then != nil {
		for i := range cfg.Rules {
			cfg.Rules[i].Pick.Only = target.NewOrdinals(slices.Collect(maps.Keys(then.made)))
		}
	}
	return s
}

// attend takes down what is decided in a stretch, beside telling it.
func (r *recording) attend(at stretch, tell teller) teller {
	if r == nil {
		return tell
	}
	return &replayed{tell, r, at}
}

type replayed struct {
	teller
	r  *recording
	at stretch
}

func (t *replayed) event(ev injector.Event) {
	t.r.saw(t.at, ev)
	t.teller.event(ev)
}

// saw takes down an event of a stretch.
func (r *recording) saw(at stretch, ev injector.Event) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	flow := flowEnds(ev.Flow)
	if ev.Kind == injector.Ready {
		r.seen = true
		r.readyAgain++
	}
	if r.moved(r.readyAgain) {
		return
	}
	switch ev.Kind {
	case injector.Chosen:
		r.now[at].chosen(flow, ev.Ordinal)
	case injector.Fired:
		r.now[at].fired(flow, decision(ev.Fault, ev.Action.String(), ev.To.String(), ev.Reason))
	}
}

// difference is a connection of which something else was decided than then.
type difference struct {
	Of      string   `json:"of,omitempty"`   // the case of a verify, the entry of a scenario
	Time    int      `json:"time,omitempty"` // how often that had run or begun before
	Ordinal uint64   `json:"ordinal"`
	Came    bool     `json:"came"` // there was such a connection
	Then    []string `json:"then"`
	Now     []string `json:"now"`
}

func (d difference) String() string {
	list := func(s []string) string {
		if len(s) == 0 {
			return "nothing"
		}
		return strings.Join(s, "; ")
	}
	which := fmt.Sprintf("connection %d%s", d.Ordinal, stretch{d.Of, d.Time})
	if !d.Came {
		return fmt.Sprintf("%s did not come; then: %s", which, list(d.Then))
	}
	return fmt.Sprintf("%s: then %s; now %s", which, list(d.Then), list(d.Now))
}

// compare returns where the decisions differ from what was recorded, in the
// record's order. In which order a connection met with them does not count: which
// of its ends closes first is their doing.
func (r *recording) compare() []difference {
	r.mu.Lock()
	defer r.mu.Unlock()
	diffs := []difference{}
	for _, s := range r.made {
		for _, nth := range slices.Sorted(maps.Keys(r.then[s].made)) {
			then := r.then[s].made[nth]
			var now []string
			came := false
			if d := r.now[s]; d != nil {
				now, came = d.made[nth]
			}
			if !came || !slices.Equal(slices.Sorted(slices.Values(then)), slices.Sorted(slices.Values(now))) {
				diffs = append(diffs, difference{s.name, s.nth, nth, came, then, notNil(now)})
			}
		}
	}
	return diffs
}
