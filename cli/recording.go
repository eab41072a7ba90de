package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/faultctl/faultctl/injector"
)

// recording is the stream of events of an earlier run, and what a run that
// makes its decisions again has decided so far.
type recording struct {
	args []string // the command line that repeats the run, split into words
	lost uint64   // events that the stream lacks

	then decisions

	mu   sync.Mutex
	now  decisions
	seen bool // the run got as far as being ready
}

// decisions are what was decided in a run, by the ordinals of connections.
type decisions struct {
	made  map[uint64][]string // of each chosen connection, in order
	owner map[flowEnds]uint64 // the connection that has these ends now
}

func newDecisions() decisions {
	return decisions{made: map[uint64][]string{}, owner: map[flowEnds]uint64{}}
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

// readRecording reads the NDJSON of an inject or run. A last line that the end
// of its process cut short is left out.
func readRecording(r io.Reader) (*recording, error) {
	rec := &recording{then: newDecisions(), now: newDecisions()}
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // nothing, or a line cut short
			break
		}
		if err != nil {
			return nil, aboutFile(err)
		}
		if err := rec.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if rec.args == nil {
		return nil, fmt.Errorf("no event started: is it what faultctl inject -o json printed?")
	}
	return rec, nil
}

// add takes in one event.
func (r *recording) add(line []byte) error {
	var ev struct {
		Event, Repeat, Fault, Action, To, Reason string

		Flow    flowEnds `json:"flow"`
		Ordinal uint64   `json:"ordinal"`
		Lost    uint64   `json:"events_lost"`
	}
	// The numbers of other events may be of other kinds under these names.
	var kind struct{ Event string }
	if err := json.Unmarshal(line, &kind); err != nil {
		return fmt.Errorf("no JSON object: is it what faultctl inject -o json printed?")
	}
	if !slices.Contains([]string{"started", "flow", "fired", "ended"}, kind.Event) {
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
			return fmt.Errorf("a second event started: the decisions of one run at a time can be made again")
		case err != nil || len(args) < 3 || args[1] != "inject" && args[1] != "run":
			return fmt.Errorf("it is of %q; inject and run can be replayed, the others repeat with their seed", ev.Repeat)
		}
		r.args = args
	case "flow":
		r.then.chosen(ev.Flow, ev.Ordinal)
	case "fired":
		r.then.fired(ev.Flow, decision(ev.Fault, ev.Action, ev.To, ev.Reason))
	case "ended":
		r.lost = max(r.lost, ev.Lost)
	}
	return nil
}

// splitWords undoes quote for each word of a command line.
func splitWords(line string) (words []string, err error) {
	var b strings.Builder
	open, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\'':
			quoted = false
		case quoted:
			b.WriteByte(c)
		case c == '\'':
			quoted, open = true, true
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			open = true
		case c == ' ':
			if open {
				words = append(words, b.String())
			}
			b.Reset()
			open = false
		default:
			b.WriteByte(c)
			open = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quotation mark is missing")
	}
	if open {
		words = append(words, b.String())
	}
	return words, nil
}

// choose has a run choose the connections that were chosen then.
func (r *recording) choose(cfg *injector.Config) {
	if r == nil {
		return
	}
	for i := range cfg.Rules {
		cfg.Rules[i].Pick.Only = injector.NewOrdinals(slices.Collect(maps.Keys(r.then.made)))
	}
}

// attend takes down what a run decides, beside telling it.
func (r *recording) attend(tell teller) teller {
	if r == nil {
		return tell
	}
	return &replayed{tell, r}
}

type replayed struct {
	teller
	r *recording
}

func (t *replayed) event(ev injector.Event) {
	t.r.mu.Lock()
	switch flow := flowEnds(ev.Flow); ev.Kind {
	case injector.Ready:
		t.r.seen = true
	case injector.Chosen:
		t.r.now.chosen(flow, ev.Ordinal)
	case injector.Fired:
		t.r.now.fired(flow, decision(ev.Fault, ev.Action.String(), ev.To.String(), ev.Reason))
	}
	t.r.mu.Unlock()
	t.teller.event(ev)
}

// difference is a connection of which something else was decided than then.
type difference struct {
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
	if !d.Came {
		return fmt.Sprintf("connection %d did not come; then: %s", d.Ordinal, list(d.Then))
	}
	return fmt.Sprintf("connection %d: then %s; now %s", d.Ordinal, list(d.Then), list(d.Now))
}

// compare returns where the run differs from what was recorded, by ordinal.
func (r *recording) compare() []difference {
	r.mu.Lock()
	defer r.mu.Unlock()
	diffs := []difference{}
	for _, nth := range slices.Sorted(maps.Keys(r.then.made)) {
		then := r.then.made[nth]
		now, came := r.now.made[nth]
		if !came || !slices.Equal(then, now) {
			diffs = append(diffs, difference{nth, came, then, notNil(now)})
		}
	}
	return diffs
}
