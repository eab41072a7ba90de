package scenario

import (
	"slices"
	"strconv"
	"time"

	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/internal/words"
)

// mostPulses limits the length of the timeline.
const mostPulses = 10_000

// mostAtOnce is how many faults may be active at the same moment: the kernel's
// hooks have room for that many runs of the injector, and for some of other
// programs.
const mostAtOnce = 20

// crowded reports a moment at which too many faults are active.
func (s *Scenario) crowded() (ps document.Problems) {
	at := 0
	for _, step := range s.Timeline() {
		switch step.Do {
		case Start:
			at++
		case Stop:
			at--
		}
		if at > mostAtOnce {
			return document.Problems{s.problem([]string{"faults", strconv.Itoa(step.Fault)}, "more than %d faults would be active at the same time", mostAtOnce)}
		}
	}
	return nil
}

// contradictions reports problems that a schema cannot express.
func (s *Scenario) contradictions() (ps document.Problems) {
	bad := func(format string, args []any, path ...string) {
		ps = append(ps, s.problem(path, format, args...))
	}
	names := map[string]bool{}
	for i := range s.Faults {
		f, at := &s.Faults[i], strconv.Itoa(i)
		short := func(d Duration) string { return words.ShortDuration(time.Duration(d)) }
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
			if f.Spec.Target.Percent != nil {
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
		bad("it comes before the timeline is over, which takes %s", []any{words.ShortDuration(time.Duration(least))}, "deadline")
	}
	if ps == nil {
		ps = s.crowded()
	}
	return ps
}

// noughts reports times that are zero but must not be.
func (s *Scenario) noughts() (ps document.Problems) {
	check := func(path ...string) {
		if v, said := s.doc.Look(path).(string); said {
			if d, err := words.ParseDuration(v); err == nil && d == 0 {
				ps = append(ps, s.problem(path, "it must be longer than nothing"))
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

func (s *Scenario) probeContradictions() (ps document.Problems) {
	bad := func(format string, args []any, path ...string) {
		ps = append(ps, s.problem(path, format, args...))
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
			bad("there is no probe %q%s", []any{a.Probe, words.DidYouMean(a.Probe, names)}, "abort", at, "probe")
		} else if !during[a.Probe] {
			bad("the probe %q is not asked during the timeline: add during to its when", []any{a.Probe}, "abort", at, "probe")
		}
	}
	return ps
}

// addresses checks the address of a probe.
func (s *Scenario) addresses(p *Probe, at string) (ps document.Problems) {
	if p.HTTP != nil {
		if err := checkURL(p.HTTP.URL); err != nil {
			ps = append(ps, s.problem([]string{"probes", at, "http", "url"}, "%v", err))
		}
	}
	if p.TCP != nil {
		if err := checkAddress(p.TCP.Address); err != nil {
			ps = append(ps, s.problem([]string{"probes", at, "tcp", "address"}, "%v", err))
		}
	}
	return ps
}
