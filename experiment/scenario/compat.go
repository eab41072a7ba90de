package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/faults"
)

// This file keeps what package cli still uses of the time when it spelled an
// entry as flags. It goes with that, and with it the fields written and
// writtenEntry and the call of spellOut.

type (
	// Problem is document.Problem.
	Problem = document.Problem
	// Problems are document.Problems.
	Problems = document.Problems
	// Fault is Entry.
	Fault = Entry
)

// written is what a scenario says of targets, as typed.
type written struct {
	Target Target `json:"target"`
}

// writtenEntry is an entry's faults and target, as typed.
type writtenEntry struct {
	Fault  Spec   `json:"fault"`
	Target Target `json:"target"`
}

// spellOut merges the targets as typed.
func (s *Scenario) spellOut() {
	for i := range s.Faults {
		merged := Target{}
		for _, t := range []Target{s.Target, s.Faults[i].Target} {
			for w, v := range t {
				merged[w] = v
			}
		}
		s.Faults[i].Target = merged
	}
}

// Problem is problem.
func (s *Scenario) Problem(path []string, format string, args ...any) Problem {
	return s.problem(path, format, args...)
}

// Word is a word of a target.
type Word struct {
	Name, Help string
	Kind       int
}

// The kinds of words.
const (
	One = iota
	Many
	Switch
)

// Language is what scenario files are written in.
type Language struct{}

// NewLanguage returns the language, whose words are experiment.Words.
func NewLanguage([]Word) *Language { return &Language{} }

// Parse reads a file without judging its Specs.
func (*Language) Parse(file string, text []byte) (*Scenario, error) { return parse(file, text, false) }

// JSON is Schema.
func (*Language) JSON() []byte { return Schema() }

// Page is Page.
func (*Language) Page(w io.Writer, example string) { Page(w, example) }

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

// Words are the values of a word of a target.
type Words []string

// UnmarshalJSON reads one value or a list of them.
func (w *Words) UnmarshalJSON(b []byte) error {
	list := []scalar{""}
	var err error
	if len(b) > 0 && b[0] == '[' {
		err = json.Unmarshal(b, &list)
	} else {
		err = json.Unmarshal(b, &list[0])
	}
	*w = Words{} // an empty list is not the same as nothing said
	for _, s := range list {
		*w = append(*w, string(s))
	}
	return err
}

// UnmarshalJSON reads a SPEC, or {name: {knob: value}}.
func (s *Spec) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &s.Text)
	}
	var m map[string]map[string]scalar
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for name, knobs := range m {
		kind, err := faults.Find(name)
		if err != nil {
			return err
		}
		s.Name = name
		for _, k := range faults.Knobs(kind.New()) {
			if v, said := knobs[k.Name]; said {
				s.Knobs = append(s.Knobs, [2]string{k.Name, string(v)})
			}
		}
	}
	return nil
}
