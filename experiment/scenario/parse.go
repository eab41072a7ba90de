package scenario

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"time"
)

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
