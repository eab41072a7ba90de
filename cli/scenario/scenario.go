package scenario

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// Scenario is a file, understood: every default is filled in.
type Scenario struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Seed        *uint64  `json:"seed"` // nil: to be drawn
	Duration    Duration `json:"duration"`
	Deadline    Duration `json:"deadline"`
	Target      Target   `json:"target"`
	Faults      []Fault  `json:"faults"`
	Probes      []Probe  `json:"probes"`
	Abort       []Abort  `json:"abort"`

	doc *document
}

// Fault is one entry of faults.
type Fault struct {
	Name     string   `json:"name"`
	Fault    Spec     `json:"fault"`
	Target   Target   `json:"target"` // that of the scenario included
	Start    Duration `json:"start"`
	Duration Duration `json:"duration"`
	Pulse    *Pulse   `json:"pulse"`
	Ramp     *Ramp    `json:"ramp"`
	MustFire Count    `json:"must-fire"`
}

// Spec is a fault with its settings: a SPEC as it was written, which may name
// several, or else a name and its settings in the catalogue's order.
type Spec struct {
	Text  string
	Name  string
	Knobs [][2]string
}

// String writes the faults as a SPEC.
func (s Spec) String() string {
	if s.Text != "" {
		return s.Text
	}
	parts := make([]string, len(s.Knobs))
	for i, k := range s.Knobs {
		parts[i] = k[0] + "=" + k[1]
	}
	if len(parts) == 0 {
		return s.Name
	}
	return s.Name + ":" + strings.Join(parts, ",")
}

// Target holds the words of a target with their values as people type them.
type Target map[string]Words

// Pulse says how long a fault is on and off in turn.
type Pulse struct {
	On  Duration `json:"on"`
	Off Duration `json:"off"`
}

// Ramp is a share of the connections that changes.
type Ramp struct {
	From  Percent  `json:"from"`
	To    Percent  `json:"to"`
	Over  Duration `json:"over"`
	Steps int      `json:"steps"`
}

// Probe says whether the service holds. One of HTTP, TCP and Command is set.
type Probe struct {
	Name      string    `json:"name"`
	HTTP      *HTTP     `json:"http"`
	TCP       *TCP      `json:"tcp"`
	Command   Command   `json:"command"`
	When      []Phase   `json:"when"`
	Interval  Duration  `json:"interval"`
	Timeout   Duration  `json:"timeout"`
	Tolerance Tolerance `json:"tolerance"`
	Recovery  *Duration `json:"recovery"` // never nil
}

// Phase is a part of a run.
type Phase string

// The phases, in their order.
const (
	Before Phase = "before"
	During Phase = "during"
	After  Phase = "after"
)

// In reports whether the probe is asked in a phase.
func (p *Probe) In(ph Phase) bool { return slices.Contains(p.When, ph) }

// HTTP is a request.
type HTTP struct {
	URL       string            `json:"url"`
	Method    string            `json:"method"`
	Headers   map[string]scalar `json:"headers"`
	Body      string            `json:"body"`
	Status    Status            `json:"status"`
	Contains  string            `json:"contains"`
	Insecure  bool              `json:"insecure"`
	Keepalive bool              `json:"keepalive"`
}

// TCP is a connection.
type TCP struct {
	Address string `json:"address"`
	Send    string `json:"send"`
	Expect  string `json:"expect"`
}

// Abort ends everything at once.
type Abort struct {
	Probe      string   `json:"probe"`
	Failures   int      `json:"failures"`    // in a row; 0: not by their number
	FailingFor Duration `json:"failing-for"` // 0: not by time
}

// Parse reads a file. The error is Problems, all that could be found. file
// stands in them.
func (l *Language) Parse(file string, text []byte) (*Scenario, error) {
	d, err := read(file, text)
	if err != nil {
		return nil, err
	}
	if ps := l.check(d); ps != nil {
		return nil, ps
	}
	s := &Scenario{doc: d}
	plain, err := json.Marshal(d.tree)
	if err == nil {
		err = json.Unmarshal(plain, s)
	}
	if err != nil { // the schema is looser than the types: a test holds that it is not
		return nil, Problems{d.problem(place{1, 1}, "", "%v", err)}
	}
	s.complete()
	if ps := s.contradictions(); ps != nil {
		return nil, ps.sorted()
	}
	return s, nil
}

// Problem reports something wrong with the value at a path, such as "faults",
// "0", "target", "to". A word of a target that came from that of the scenario
// is found there.
func (s *Scenario) Problem(path []string, format string, args ...any) Problem {
	if len(path) == 4 && path[0] == "faults" && path[2] == "target" {
		if _, ok := s.doc.values[join(path)]; !ok {
			path = path[2:]
		}
	}
	return s.doc.problem(s.doc.at(path), display(path), format, args...)
}

// complete fills in the defaults.
func (s *Scenario) complete() {
	if s.Name == "" {
		base := filepath.Base(s.doc.file)
		s.Name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	open := s.Duration == 0
	for i := range s.Faults {
		f := &s.Faults[i]
		if f.Name == "" {
			f.Name = f.Fault.String()
		}
		merged := Target{}
		for _, t := range []Target{s.Target, f.Target} {
			for w, v := range t {
				merged[w] = v
			}
		}
		f.Target = merged
		if open {
			s.Duration = max(s.Duration, f.Start+f.Duration)
		}
		if f.Ramp != nil && f.Ramp.Steps == 0 {
			f.Ramp.Steps = 20
		}
		if !f.MustFire.said {
			f.MustFire.N = 1
		}
	}
	for i := range s.Probes {
		s.Probes[i].complete()
	}
	for i := range s.Abort {
		if s.Abort[i].Failures == 0 && s.Abort[i].FailingFor == 0 {
			s.Abort[i].Failures = 1
		}
	}
	for i := range s.Faults {
		if f := &s.Faults[i]; f.Duration == 0 {
			f.Duration = max(0, s.Duration-f.Start)
		}
	}
	if s.Deadline == 0 {
		s.Deadline = s.longest() + Duration(30*time.Second)
	}
}

func (p *Probe) complete() {
	if p.When == nil {
		p.When = []Phase{Before, During, After}
	}
	if p.Interval == 0 {
		p.Interval = Duration(2 * time.Second)
	}
	if p.Timeout == 0 {
		p.Timeout = Duration(2 * time.Second)
	}
	if p.Recovery == nil {
		ten := Duration(10 * time.Second)
		p.Recovery = &ten
	}
	if h := p.HTTP; h != nil {
		if h.Method == "" {
			h.Method = "GET"
		}
		if h.Status == (Status{}) {
			h.Status = Status{200, 299}
		}
	}
}

// longest is how long the scenario may take by its own numbers.
func (s *Scenario) longest() Duration {
	var before, after Duration
	for i := range s.Probes {
		p := &s.Probes[i]
		if p.In(Before) {
			before = max(before, p.Timeout)
		}
		if p.In(After) {
			after = max(after, *p.Recovery+p.Timeout)
		}
	}
	return before + s.Duration + after
}

// mostPulses bounds the timeline.
const mostPulses = 10_000

// mostAtOnce is how many faults may be at work at the same moment: the kernel's
// hooks have room for so many runs of the injector, and some for others.
const mostAtOnce = 20

// crowded reports a moment at which too many faults are at work.
func (s *Scenario) crowded() (ps Problems) {
	at := 0
	for _, step := range s.Timeline() {
		switch step.Do {
		case Start:
			at++
		case Stop:
			at--
		}
		if at > mostAtOnce {
			return Problems{s.Problem([]string{"faults", strconv.Itoa(step.Fault)}, "more than %d faults would be at work at the same time", mostAtOnce)}
		}
	}
	return nil
}

// contradictions reports what a schema cannot see.
func (s *Scenario) contradictions() (ps Problems) {
	bad := func(format string, args []any, path ...string) {
		ps = append(ps, s.Problem(path, format, args...))
	}
	names := map[string]bool{}
	for i := range s.Faults {
		f, at := &s.Faults[i], strconv.Itoa(i)
		short := func(d Duration) string { return faults.ShortDuration(time.Duration(d)) }
		switch {
		case s.Duration == 0:
			bad("nothing says how long it lasts: give it a duration, or the scenario", nil, "faults", at)
		case f.Start >= s.Duration:
			bad("it would begin after %s, when the scenario's duration of %s is over", []any{short(f.Start), short(s.Duration)}, "faults", at, "start")
		case f.Start+f.Duration > s.Duration:
			bad("it would last until %s, longer than the scenario's duration of %s", []any{short(f.Start + f.Duration), short(s.Duration)}, "faults", at, "duration")
		}
		if names[f.Name] {
			bad("there are two faults of the name %q: give each a name", []any{f.Name}, "faults", at)
		}
		names[f.Name] = true
		if p := f.Pulse; p != nil {
			switch {
			case p.On == 0 || p.Off == 0:
				bad("on and off must be longer than nothing", nil, "faults", at, "pulse")
			case f.Duration/(p.On+p.Off) > mostPulses:
				bad("these would be more than %d pulses", []any{mostPulses}, "faults", at, "pulse")
			}
		}
		if r := f.Ramp; r != nil {
			if f.Target["percent"] != nil {
				bad("ramp and percent both say which share is struck: leave one out", nil, "faults", at, "ramp")
			}
			if r.Over == 0 || r.Over > f.Duration {
				bad("it must be longer than nothing, and at most as long as the fault lasts, %s", []any{short(f.Duration)}, "faults", at, "ramp", "over")
			}
		}
	}
	ps = append(ps, s.probeContradictions()...)
	ps = append(ps, s.noughts()...)
	if least := s.Duration; s.Deadline < least {
		bad("it comes before the timeline is over, which takes %s", []any{faults.ShortDuration(time.Duration(least))}, "deadline")
	}
	if ps == nil {
		ps = s.crowded()
	}
	return ps
}

// noughts reports times that are given as nothing, where nothing makes no sense.
func (s *Scenario) noughts() (ps Problems) {
	check := func(path ...string) {
		if v, said := s.doc.look(path).(string); said {
			if d, err := faults.ParseDuration(v); err == nil && d == 0 {
				ps = append(ps, s.Problem(path, "it must be longer than nothing"))
			}
		}
	}
	check("duration")
	check("deadline")
	for i := range s.Faults {
		check("faults", strconv.Itoa(i), "duration")
	}
	for i := range s.Probes {
		check("probes", strconv.Itoa(i), "interval")
		check("probes", strconv.Itoa(i), "timeout")
	}
	for i := range s.Abort {
		check("abort", strconv.Itoa(i), "failing-for")
	}
	return ps
}

func (s *Scenario) probeContradictions() (ps Problems) {
	bad := func(format string, args []any, path ...string) {
		ps = append(ps, s.Problem(path, format, args...))
	}
	during := map[string]bool{}
	var names []string
	for i := range s.Probes {
		p, at := &s.Probes[i], strconv.Itoa(i)
		if slices.Contains(names, p.Name) {
			bad("there are two probes of the name %q", []any{p.Name}, "probes", at, "name")
		}
		names = append(names, p.Name)
		during[p.Name] = p.In(During)
		ps = append(ps, s.addresses(p, at)...)
	}
	for i, a := range s.Abort {
		at := strconv.Itoa(i)
		if !slices.Contains(names, a.Probe) {
			bad("there is no probe %q%s", []any{a.Probe, faults.DidYouMean(a.Probe, names)}, "abort", at, "probe")
		} else if !during[a.Probe] {
			bad("the probe %q is not asked during the timeline: add during to its when", []any{a.Probe}, "abort", at, "probe")
		}
	}
	return ps
}

// addresses checks where a probe goes.
func (s *Scenario) addresses(p *Probe, at string) (ps Problems) {
	if p.HTTP != nil {
		if err := checkURL(p.HTTP.URL); err != nil {
			ps = append(ps, s.Problem([]string{"probes", at, "http", "url"}, "%v", err))
		}
	}
	if p.TCP != nil {
		if err := checkAddress(p.TCP.Address); err != nil {
			ps = append(ps, s.Problem([]string{"probes", at, "tcp", "address"}, "%v", err))
		}
	}
	return ps
}

// Arguments writes the target as flags.
func (t Target) Arguments() []string {
	var words, args []string
	for w := range t {
		words = append(words, w)
	}
	slices.Sort(words)
	for _, w := range words {
		for _, v := range t[w] {
			args = append(args, fmt.Sprintf("--%s=%s", w, v))
		}
	}
	return args
}
