package faults

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Spec is a SPEC: the name of a fault with its knobs inline, as in
// idle-expire:after=300s,then=rst-next.
type Spec struct {
	Name  string
	Knobs [][2]string // name, value, in the order given; the last of a name holds; ParseSpecs writes no old spellings
}

// ParseSpecs reads SPECs separated by commas. A piece name=value belongs to
// the SPEC before it. Names and values of knobs are right afterwards; whether
// they go together is for Model to say. The error is an [*UnknownFaultError], a
// [*SettingError], or about a setting that stands before any fault.
func ParseSpecs(text string) ([]Spec, error) {
	var specs []Spec
	for _, piece := range strings.Split(text, ",") {
		head, knob, has := strings.Cut(piece, ":")
		if eq := strings.IndexByte(head, '='); eq >= 0 || has && len(specs) > 0 && head == "" {
			if len(specs) == 0 {
				return nil, fmt.Errorf("%q is a setting and no fault stands before it: write NAME:%s", piece, piece)
			}
			last := &specs[len(specs)-1]
			if err := last.set(piece); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := Find(head); err != nil {
			return nil, err
		}
		s := Spec{Name: head}
		if has && knob != "" {
			if err := s.set(knob); err != nil {
				return nil, err
			}
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// set adds name=value. A bare name is a switch that is turned on.
func (s *Spec) set(piece string) error {
	name, value, ok := strings.Cut(piece, "=")
	kind, err := Find(s.Name)
	if err != nil {
		return err
	}
	if !ok {
		if v, known := Get(kind.New(), name); !known || v != "false" && v != "true" {
			return &SettingError{s.Name, name, fmt.Errorf("%q is not knob=value", piece)}
		}
		value = "true"
	}
	if err := Set(kind.New(), name, value); err != nil {
		return err
	}
	s.Knobs = append(s.Knobs, [2]string{canonical(kind.New(), name), value})
	return nil
}

// Canonical is the SPEC with no old spelling of a knob. Names that the fault does
// not have are left.
func (s Spec) Canonical() Spec {
	kind, err := Find(s.Name)
	if err != nil {
		return s
	}
	m, knobs := kind.New(), slices.Clone(s.Knobs)
	for i := range knobs {
		knobs[i][0] = canonical(m, knobs[i][0])
	}
	return Spec{s.Name, knobs}
}

// canonical is the present name of a knob that may be spelled as it was before.
func canonical(m Model, name string) string {
	for _, k := range Knobs(m) {
		if k.is(name) {
			return k.Name
		}
	}
	return name
}

// Flags writes the knobs as flags: --after=300s.
func (s Spec) Flags() []string {
	var fs []string
	for _, k := range s.Knobs {
		fs = append(fs, "--"+k[0]+"="+k[1])
	}
	return fs
}

// String writes the SPEC as people type it.
func (s Spec) String() string {
	parts := make([]string, len(s.Knobs))
	for i, k := range s.Knobs {
		parts[i] = k[0] + "=" + k[1]
	}
	if len(parts) == 0 {
		return s.Name
	}
	return s.Name + ":" + strings.Join(parts, ",")
}

// Model makes the fault, validated. The error is an [*UnknownFaultError] or a
// [*SettingError].
func (s Spec) Model() (Model, error) {
	kind, err := Find(s.Name)
	if err != nil {
		return nil, err
	}
	m := kind.New()
	for _, k := range s.Knobs {
		if err := Set(m, k[0], k[1]); err != nil {
			return nil, err
		}
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// SpecOf is the SPEC of a model of the catalogue: its fault's name, and each knob
// that is set, in the order of its fields. A field that is zero means its default
// and is left out, so that the SPEC of Kind.New() is the bare name. Model makes an
// equal model of the SPEC, provided that the model is valid, which SpecOf does not
// judge as a whole.
//
// The error says that the model is of no fault of the catalogue, or is a
// [*SettingError] of a field that no SPEC can say, such as a negative duration.
func SpecOf(m Model) (Spec, error) {
	s := Spec{Name: nameOf(m)}
	if s.Name == "" {
		return Spec{}, fmt.Errorf("%T is the model of no fault of the catalogue", m)
	}
	v := reflect.ValueOf(m)
	if v.IsNil() {
		return Spec{}, fmt.Errorf("the %T is nil", m)
	}
	again := reflect.New(v.Type().Elem())
	for _, k := range Knobs(m) {
		field := v.Elem().Field(k.field)
		if field.IsZero() {
			continue
		}
		value := show(field)
		if err := Set(again.Interface().(Model), k.Name, value); err != nil {
			return Spec{}, err
		}
		if !reflect.DeepEqual(again.Elem().Field(k.field).Interface(), field.Interface()) {
			return Spec{}, wrong(m, k.Name, "no SPEC can say this value: %q is another", value)
		}
		s.Knobs = append(s.Knobs, [2]string{k.Name, value})
	}
	return s, nil
}
