package scenario

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
)

// readSpecs reads and validates the Spec of each entry of the document. It also
// accepts a document that the schema refuses; then it may return fewer entries
// than the document has, or none.
func (s *Scenario) readSpecs() (problems document.Problems) {
	all, _ := s.doc.Look([]string{"faults"}).([]any)
	for i := range all {
		tree, is := all[i].(map[string]any)
		if !is {
			continue
		}
		spec := experiment.Spec{}
		wrong := judge(&spec, s.specTree(tree))
		for _, e := range wrong {
			problems = append(problems, s.about(i, e))
		}
		if i < len(s.Faults) {
			s.Faults[i].Spec = spec
		}
	}
	return problems
}

// judge reads a Spec and returns what is wrong with it, except what the schema
// refuses.
func judge(spec *experiment.Spec, tree map[string]any) (problems event.Problems) {
	_, said := tree["fault"]
	known := map[event.Field]bool{"fault": !said} // the schema says that it is missing
	for _, e := range spec.SetTree(tree) {
		known[whole(e.Field)] = true
		if !errors.Is(e, experiment.ErrShape) {
			problems = append(problems, e)
		}
	}
	for _, e := range spec.Validate() {
		if !known[whole(e.Field)] { // what could not be read cannot be judged
			problems = append(problems, e)
		}
	}
	return problems
}

// whole is the word of a Spec that a field is part of; all settings of a fault
// are one word.
func whole(f event.Field) event.Field {
	if strings.HasPrefix(string(f), "fault") {
		return "fault"
	}
	return f
}

// specTree is the part of an entry that is its Spec. Words of its target
// override those of the scenario's target.
func (s *Scenario) specTree(entry map[string]any) map[string]any {
	tree, target := map[string]any{}, map[string]any{}
	for _, from := range []any{s.doc.Look([]string{"target"}), entry["target"]} {
		words, _ := from.(map[string]any) // the schema says what else there is
		maps.Copy(target, words)
	}
	if len(target) > 0 {
		tree["target"] = target
	}
	if fault, said := entry["fault"]; said {
		tree["fault"] = fault
	}
	return tree
}

// spelling is how the words of a Spec are spelled in a scenario.
func spelling(f event.Field) string {
	if w, known := experiment.FindWord(string(f)); known && w.Group == experiment.OfTarget {
		return "target." + w.Name
	}
	return strings.TrimPrefix(string(f), "fault.")
}

// about puts an error about the Spec of an entry in its place in the file.
func (s *Scenario) about(entry int, err error) document.Problem {
	at := []string{"faults", strconv.Itoa(entry)}
	message, path := event.Render(err, spelling), append(at, "fault")
	var e *event.Error
	if errors.As(err, &e) && e.Field != "" {
		if to := s.place(at, e.Field); to != nil {
			message, path = e.Message(spelling), to
		}
	}
	p := s.problem(path, "%s", message)
	p.Advice = experiment.AdviceOf(err)
	return p
}

// place is the path in the file of a field of an entry's Spec; nil if the file
// does not have it.
func (s *Scenario) place(entry []string, f event.Field) []string {
	knob, isKnob := strings.CutPrefix(string(f), "fault.")
	word := strings.TrimPrefix(string(f), "target.") // of an unknown key
	switch {
	case f == "fault":
		return slices.Concat(entry, []string{"fault"})
	case f == "target" || isKnob && s.fault(entry) == "":
		return nil
	case isKnob:
		return s.placeOfKnob(slices.Concat(entry, []string{"fault", s.fault(entry)}), knob)
	}
	path := slices.Concat(entry, []string{"target", word})
	if s.doc.Has(path) || s.doc.Has(path[2:]) {
		return path
	}
	return nil
}

// placeOfKnob is the path of a setting of a fault, as the file spells it.
func (s *Scenario) placeOfKnob(fault []string, knob string) []string {
	kind, _ := faults.Find(fault[len(fault)-1]) // the settings of an unknown fault are not checked
	for _, k := range faults.Knobs(kind.New()) {
		for _, old := range k.Aliases {
			if at := slices.Concat(fault, []string{old}); k.Name == knob && s.doc.Has(at) {
				return at
			}
		}
	}
	return slices.Concat(fault, []string{knob})
}

// fault is the fault whose settings an entry has below its name; empty if it has
// a SPEC.
func (s *Scenario) fault(entry []string) string {
	named, _ := s.doc.Look(slices.Concat(entry, []string{"fault"})).(map[string]any)
	for name := range named { // there is one
		return name
	}
	return ""
}

// asWritten is the fault of an entry as it was written.
func (s *Scenario) asWritten(entry int) string {
	if text, is := s.doc.Look([]string{"faults", strconv.Itoa(entry), "fault"}).(string); is {
		return text
	}
	return strings.Join(s.Faults[entry].Spec.FaultNames(), ",")
}
