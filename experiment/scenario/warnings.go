package scenario

import (
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
)

// Warnings says what a valid scenario sets out to do that cannot happen.
func (s *Scenario) Warnings() (ps document.Problems) {
	warn := func(advice, format string, args []any, path ...string) {
		p := s.problem(path, format, args...)
		p.Advice = advice
		ps = append(ps, p)
	}
	short := func(d time.Duration) string { return words.ShortDuration(d) }
	for i := range s.Faults {
		f, at := &s.Faults[i], strconv.Itoa(i)
		active := time.Duration(f.Duration)
		if f.Pulse != nil {
			active = min(active, time.Duration(f.Pulse.On))
		}
		for _, spec := range f.Spec.Faults {
			if wait := waitsFor(spec); wait >= active && active > 0 {
				warn("Have it last longer, or give a shorter time: idle-expire:after=2s has the same effect on a connection as hours have.",
					"%s waits for %s, and is active for %s at a time: it cannot fire", []any{spec.Name, short(wait), short(active)}, "faults", at, "fault")
			}
		}
		most := f.Spec.Target.MaxConnections
		if first := f.Spec.Target.First; first > 0 && (most == 0 || first < most) {
			most = first
		}
		if n := f.MustFire.N; most > 0 && n > most {
			warn("Lower must-fire, or have it strike more connections.", "it must fire on %s, and strikes %d at most",
				[]any{words.Plural(n, "connection"), most}, "faults", at, "must-fire")
		}
	}
	for i := range s.Probes {
		p, at := &s.Probes[i], strconv.Itoa(i)
		if p.In(During) && p.Interval >= s.Duration {
			warn("Ask more often, such as each 2s.", "it is asked every %s, and the timeline lasts %s: it is asked once",
				[]any{short(time.Duration(p.Interval)), short(time.Duration(s.Duration))}, "probes", at, "interval")
		}
	}
	for i, a := range s.Abort {
		if d := time.Duration(a.FailingFor); d >= time.Duration(s.Duration) {
			warn("Give a shorter time.", "nothing can fail for %s in a timeline of %s", []any{short(d), short(time.Duration(s.Duration))}, "abort", strconv.Itoa(i), "failing-for")
		}
	}
	return ps.InOrder()
}

// waitsFor is how long a connection must exist or be silent before a fault acts; zero
// if that does not follow from its settings.
func waitsFor(spec faults.Spec) time.Duration {
	for _, knob := range spec.Knobs {
		switch name, value := knob[0], knob[1]; name {
		case "preset":
			if p, err := faults.FindPreset(value); err == nil {
				return p.After
			}
		case "after", "at":
			if _, time, has := strings.Cut(value, "="); has {
				value = time
			}
			if d, err := words.ParseDuration(value); err == nil {
				return d
			}
		}
	}
	return 0
}
