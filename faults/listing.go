package faults

import (
	"strings"

	"github.com/faultctl/faultctl/internal/words"
)

// A Listing is what the catalogue says of a fault, as programs read it.
type Listing struct {
	Name    string         `json:"name"`
	Group   string         `json:"group"`
	Cause   string         `json:"cause"`
	Symptom string         `json:"symptom"`
	Remedy  string         `json:"remedy"`
	Example string         `json:"example"`
	Knobs   []Knob         `json:"knobs"`
	Presets []PresetValues `json:"presets,omitempty"`
}

// PresetValues are the settings that a preset stands for.
type PresetValues struct {
	Name       string `json:"name"`
	After      string `json:"after"`
	Then       string `json:"then"`
	Keepalives string `json:"keepalives"`
	Source     string `json:"source"`
}

// Listing describes the fault. The empty value is not among those that a setting may
// have: leaving the setting out means it.
func (k Kind) Listing() Listing {
	l := Listing{k.Name, k.Group, k.Cause, k.Symptom, k.Remedy, k.Example, Knobs(k.New()), k.PresetValues()}
	for i := range l.Knobs {
		knob := &l.Knobs[i]
		knob.Type = strings.TrimPrefix(knob.Type, "|")
		if len(knob.OneOf) > 0 && knob.OneOf[0] == "" {
			knob.OneOf = knob.OneOf[1:]
		}
	}
	return l
}

// PresetValues lists the devices that the fault knows by name; nil if it knows none.
func (k Kind) PresetValues() (all []PresetValues) {
	if _, has := Get(k.New(), "preset"); !has {
		return nil
	}
	for _, p := range Presets {
		all = append(all, PresetValues{p.Name, words.ShortDuration(p.After), p.Then, p.Keepalives, p.Source})
	}
	return all
}
