package scenario

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/document"
)

// Parse reads a scenario and checks all that can be checked without the host: it
// looks up no names, namespaces or containers. The error is document.Problems
// with all that is wrong. file is the name in problems, and gives a scenario
// without a name its name.
func Parse(file string, text []byte) (*Scenario, error) {
	d, err := document.Read("scenario", file, text)
	if err != nil {
		return nil, err
	}
	s := &Scenario{doc: d}
	problems := language().schema.Check(d)
	shaped := len(problems) == 0
	if shaped {
		if err := decode(d.Tree, s); err != nil { // the schema is looser than the types: a test holds that it is not
			return nil, document.Problems{d.Problem(nil, "%v", err)}
		}
	}
	if !shaped {
		s.decodeParts(d)
	}
	problems = append(problems, s.readSpecs()...)
	s.complete()
	for _, p := range s.contradictions() {
		if shaped || s.sound(p, problems) {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return nil, problems.InOrder()
	}
	return s, nil
}

// decodeParts reads what can be read of a file that the schema refuses, so that all
// its problems are found at once. What cannot be read is left empty.
func (s *Scenario) decodeParts(d *document.Document) {
	tree, _ := d.Tree.(map[string]any)
	for key, value := range tree {
		list, is := value.([]any)
		if !is {
			part := Scenario{}
			if decode(map[string]any{key: value}, &part) == nil {
				_ = decode(map[string]any{key: value}, s)
			}
			continue
		}
		for _, one := range list {
			switch key {
			case "faults":
				s.Faults = append(s.Faults, part[Entry](one))
			case "probes":
				s.Probes = append(s.Probes, part[Probe](one))
			case "abort":
				s.Abort = append(s.Abort, part[Abort](one))
			}
		}
	}
}

// part is a value as a type: what of its keys can be read.
func part[T any](tree any) (t T) {
	if decode(tree, &t) == nil {
		return t
	}
	t = *new(T)
	keys, _ := tree.(map[string]any)
	for key, value := range keys {
		var alone T
		if decode(map[string]any{key: value}, &alone) == nil {
			_ = decode(map[string]any{key: value}, &t)
		}
	}
	return t
}

// sound reports whether a contradiction in a file that the schema refuses does not
// follow from what the schema refused: something that is missing or could not be
// read at that place, above or below it, or what the times of all are judged by.
func (s *Scenario) sound(p document.Problem, refused document.Problems) bool {
	for _, r := range refused {
		if strings.HasPrefix(r.Message, "unknown ") { // it may have been meant to be what is missing
			if strings.HasPrefix(p.Message, "nothing says") {
				return false
			}
			continue
		}
		switch {
		case r.Path == "duration" || r.Path == "deadline" || r.Path == "":
			return false
		case strings.HasPrefix(r.Path, p.Path) || strings.HasPrefix(p.Path, r.Path):
			return false
		case strings.Contains(p.Message, "there is no probe") && strings.HasPrefix(r.Path, "probes"):
			return false
		}
	}
	return true
}

// decode reads plain values into a type.
func decode(tree, into any) error {
	plain, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, into)
}

// problem reports something wrong with the value at a path, such as "faults",
// "0", "target", "to". A word of a target that came from that of the scenario
// is found there.
func (s *Scenario) problem(path []string, format string, args ...any) document.Problem {
	if len(path) == 4 && path[0] == "faults" && path[2] == "target" && !s.doc.Has(path) && s.doc.Has(path[2:]) {
		path = path[2:]
	}
	return s.doc.Problem(path, format, args...)
}

// complete fills in the defaults.
func (s *Scenario) complete() {
	if s.Name == "" {
		base := filepath.Base(s.doc.File)
		s.Name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	open := s.Duration == 0
	for i := range s.Faults {
		f := &s.Faults[i]
		if f.Name == "" {
			f.Name = s.asWritten(i)
		}
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

// longest is the longest time that the scenario can take according to its own
// settings.
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
