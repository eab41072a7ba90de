package experiment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"go.yaml.in/yaml/v3"
)

// ParseSpec reads a Spec in JSON or YAML: the keys are fault, target with the
// words of a target below it, command, and the other Words.
//
//	fault: idle-expire:after=300s       # a SPEC, {name: {setting: value}}, or a list of these
//	target: {to: ":5432", percent: 10}
//	duration: 60s
//
// The error is event.Problems, all that is wrong with the text and with the Spec.
func ParseSpec(text []byte) (Spec, error) {
	var s Spec
	problems := s.parse(text)
	if len(problems) == 0 {
		problems = s.Validate()
	}
	return s, problems.Err()
}

// parse reads the text and reports only what it cannot read.
func (s *Spec) parse(text []byte) event.Problems {
	tree, err := readTree(text)
	if err != nil {
		return event.Problems{usage("", "this is neither JSON nor YAML: %w", err)}
	}
	return s.SetTree(tree)
}

// SetTree sets the Spec from the plain values of a JSON or YAML document. It
// does not check the Spec as a whole; Validate does.
func (s *Spec) SetTree(tree map[string]any) (problems event.Problems) {
	keep := func(err error) {
		if err != nil {
			problems = append(problems, problemOf(err))
		}
	}
	for _, key := range sortedKeys(tree) {
		value := tree[key]
		switch w, known := FindWord(key); {
		case key == "fault":
			problems = append(problems, s.setFaults(value)...)
		case key == "command":
			if e := s.setCommand(value); e != nil {
				problems = append(problems, e)
			}
		case key == "target":
			target, ok := mapping(value)
			if !ok {
				keep(usage("target", "%w", shapeError("it must be a mapping, such as {to: \":5432\"}")))
				continue
			}
			for _, word := range sortedKeys(target) {
				if w, known := FindWord(word); !known || w.Group != OfTarget {
					keep(unknownKey("target.", word, OfTarget))
					continue
				}
				keep(s.setValue(word, target[word]))
			}
		case !known || w.Group == OfTarget:
			keep(unknownKey("", key, OfRun, OfOutput, OfCommand))
		default:
			keep(s.setValue(key, value))
		}
	}
	return problems
}

// setValue sets a word to a plain value of a document.
func (s *Spec) setValue(word string, value any) error {
	w, _ := FindWord(word)
	if all, is := value.([]any); is && w.Kind == Many {
		for _, one := range all {
			if err := w.form.fits(one); err != nil {
				return usage(event.Field(word), "%w", err)
			}
		}
	} else if err := w.form.fits(value); err != nil {
		return usage(event.Field(word), "%w", err)
	}
	return s.Set(word, scalars(value)...)
}

// setCommand reads a list of words, or one word.
func (s *Spec) setCommand(value any) *event.Error {
	all, is := value.([]any)
	if !is {
		all = []any{value}
	}
	for _, one := range all {
		if err := scalarForm.fits(one); err != nil {
			return usage("command", "%w", err)
		}
	}
	if len(all) == 0 {
		return usage("command", "%w", shaped{errEmpty})
	}
	s.Command = scalars(value)
	return nil
}

// setFaults reads a SPEC, {name: {setting: value}}, or a list of these.
func (s *Spec) setFaults(value any) (problems event.Problems) {
	s.Faults = nil
	all, isList := value.([]any)
	if !isList {
		all = []any{value}
	}
	for _, one := range all {
		if text, is := one.(string); is {
			specs, err := faults.ParseSpecs(text)
			if text == "" {
				err = shaped{err}
			}
			if err != nil {
				problems = append(problems, faultError(faults.Spec{}, err))
			}
			s.Faults = append(s.Faults, specs...)
			continue
		}
		named, is := mapping(one)
		if !is || len(named) != 1 {
			problems = append(problems, usage("fault", "%w", shapeError("it must be a SPEC, such as idle-expire:after=300s, or one fault's name with its settings below it")))
			continue
		}
		for name, settings := range named {
			f, more := faultOf(name, settings)
			problems = append(problems, more...)
			s.Faults = append(s.Faults, f)
		}
	}
	return problems
}

// faultOf is the fault of that name with the settings of a document, in the
// catalogue's order.
func faultOf(name string, settings any) (f faults.Spec, problems event.Problems) {
	f.Name = name
	kind, err := faults.Find(name)
	if err != nil {
		e := faultError(f, shaped{err})
		return f, event.Problems{e}
	}
	values, ok := mapping(settings)
	if !ok && settings != nil {
		return f, event.Problems{usage("fault", "%w", shapeError("the settings of %s must be a mapping", name))}
	}
	model := kind.New()
	knobs := faults.Knobs(model)
	known := map[string]bool{}
	for _, k := range knobs {
		for _, spelled := range append(k.Aliases, k.Name) { // of two spellings the current one counts
			known[spelled] = true
			value, has := values[spelled]
			if !has {
				continue
			}
			text := scalar(value)
			err := error(nil)
			if shape := formOf(k).fits(value); shape != nil {
				err = &faults.SettingError{Fault: name, Knob: k.Name, Err: shape}
			} else if err = faults.Set(model, k.Name, text); err != nil && k.OneOf != nil {
				err = shaped{err}
			}
			if err != nil {
				problems = append(problems, faultError(f, err))
				continue
			}
			f.Knobs = append(f.Knobs, [2]string{k.Name, text})
		}
	}
	for _, key := range sortedKeys(values) {
		if !known[key] {
			problems = append(problems, faultError(f, shaped{faults.Set(model, key, "")}))
		}
	}
	return f, problems
}

func unknownKey(prefix, key string, groups ...WordGroup) *event.Error {
	var known []string
	if prefix == "" {
		known = []string{"fault", "target", "command"}
	}
	for _, w := range Words {
		if slices.Contains(groups, w.Group) {
			known = append(known, w.Name)
		}
	}
	return usage(event.Field(prefix+key), "%w", shapeError("unknown key%s", words.DidYouMean(key, known))).
		WithAdvice("There are " + strings.Join(known, ", ") + ".")
}

// MarshalJSON writes the Spec as ParseSpec reads it.
func (s Spec) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	field := func(name string, value any) {
		if b.Bytes()[b.Len()-1] != '{' {
			b.WriteByte(',')
		}
		text, _ := json.Marshal(value) // of texts and lists of them
		fmt.Fprintf(&b, "%q:%s", name, text)
	}
	if len(s.Faults) > 0 {
		field("fault", s.FaultNames())
	}
	inTarget := false
	for _, w := range Words {
		values := w.get(&s)
		if values == nil {
			continue
		}
		if w.Group == OfTarget && !inTarget {
			field("target", json.RawMessage("{}"))
			b.Truncate(b.Len() - 1)
			inTarget = true
		}
		if w.Group != OfTarget && inTarget {
			b.WriteByte('}')
			inTarget = false
		}
		switch {
		case w.Kind == Many:
			field(w.Name, values)
		case w.Kind == Switch:
			field(w.Name, true)
		default:
			field(w.Name, values[0])
		}
	}
	if inTarget {
		b.WriteByte('}')
	}
	if s.Command != nil {
		field("command", s.Command)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Data is the Spec as events have it.
func (s *Spec) Data() json.RawMessage {
	text, _ := s.MarshalJSON() // of texts and lists of them
	return text
}

// UnmarshalJSON reads what ParseSpec reads, without checking it as a whole.
func (s *Spec) UnmarshalJSON(text []byte) error {
	*s = Spec{}
	return s.parse(text).Err()
}

// MarshalYAML writes the Spec as ParseSpec reads it.
func (s Spec) MarshalYAML() ([]byte, error) {
	text, err := s.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	plainStyle(&doc)
	return yaml.Marshal(&doc)
}

// plainStyle has a node written without the brackets and quotes of JSON, where YAML
// needs none.
func plainStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plainStyle(c)
	}
}

// UnmarshalYAML reads what ParseSpec reads, without checking it as a whole.
func (s *Spec) UnmarshalYAML(text []byte) error { return s.UnmarshalJSON(text) }

// problemOf is an error as a problem.
func problemOf(err error) *event.Error {
	if e, is := err.(*event.Error); is {
		return e
	}
	return usage("", "%w", err)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// mapping reads a mapping of a document.
func mapping(v any) (map[string]any, bool) {
	m, is := v.(map[string]any)
	return m, is
}

// scalars are a scalar, or the scalars of a list, as people type them.
func scalars(v any) []string {
	all, is := v.([]any)
	if !is {
		all = []any{v}
	}
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = scalar(one)
	}
	return words
}

// scalar writes a plain value as people type it.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}
