package cli

import (
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// spec is a SPEC: the name of a fault with its knobs inline, as in
// idle-expire:after=300s,then=rst-next.
type spec struct {
	name  string
	knobs [][2]string
}

func parseSpec(text string) (spec, error) {
	name, rest, has := strings.Cut(text, ":")
	s := spec{name: name}
	if !has || rest == "" {
		return s, nil
	}
	for _, piece := range strings.Split(rest, ",") {
		knob, value, ok := strings.Cut(piece, "=")
		if !ok {
			return s, usageError("SPEC %q: %q is not name=value", text, piece)
		}
		s.knobs = append(s.knobs, [2]string{knob, value})
	}
	return s, nil
}

func (s spec) flags() []string {
	var fs []string
	for _, k := range s.knobs {
		fs = append(fs, "--"+k[0]+"="+k[1])
	}
	return fs
}

// model makes the fault of a SPEC, validated.
func (s spec) model() (injector.NamedModel, error) {
	kind, err := faults.Find(s.name)
	if err != nil {
		return injector.NamedModel{}, usageError("%w; faultctl faults lists them", err)
	}
	m := kind.New()
	for _, k := range s.knobs {
		if err := faults.Set(m, k[0], k[1]); err != nil {
			return injector.NamedModel{}, usageError("%s: %w", s.name, err)
		}
	}
	if err := m.Validate(); err != nil {
		return injector.NamedModel{}, usageError("%s: %w", s.name, err)
	}
	return injector.NamedModel{Name: s.name, Model: m}, nil
}

// String writes the SPEC as people type it.
func (s spec) String() string {
	parts := make([]string, len(s.knobs))
	for i, k := range s.knobs {
		parts[i] = k[0] + "=" + k[1]
	}
	if len(parts) == 0 {
		return s.name
	}
	return s.name + ":" + strings.Join(parts, ",")
}
