package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// spec is a SPEC: the name of a fault with its knobs inline, as in
// idle-expire:after=300s,then=rst-next.
type spec struct {
	name  string
	knobs [][2]string // name, value, in the order given
}

// parseSpecs reads SPECs separated by commas. A piece name=value belongs to
// the SPEC before it. Names and values of knobs are right afterwards; whether
// they go together is for model to say.
func parseSpecs(text string) ([]spec, error) {
	var specs []spec
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
		if _, err := faults.Find(head); err != nil {
			return nil, err
		}
		s := spec{name: head}
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
func (s *spec) set(piece string) error {
	name, value, ok := strings.Cut(piece, "=")
	kind, err := faults.Find(s.name)
	if err != nil {
		return err
	}
	if !ok {
		if v, known := faults.Get(kind.New(), name); !known || v != "false" && v != "true" {
			return fmt.Errorf("%s: %q is not knob=value", s.name, piece)
		}
		value = "true"
	}
	if err := faults.Set(kind.New(), name, value); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.knobs = append(s.knobs, [2]string{name, value})
	return nil
}

// flags writes the knobs as flags.
func (s spec) flags() []string {
	var fs []string
	for _, k := range s.knobs {
		fs = append(fs, "--"+k[0]+"="+k[1])
	}
	return fs
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

// model makes the fault, validated.
func (s spec) model() (injector.NamedModel, error) {
	kind, err := faults.Find(s.name)
	if err != nil {
		return injector.NamedModel{}, err
	}
	m := kind.New()
	for _, k := range s.knobs {
		if err := faults.Set(m, k[0], k[1]); err != nil {
			return injector.NamedModel{}, fmt.Errorf("%s: --%w", s.name, err)
		}
	}
	if err := m.Validate(); err != nil {
		return injector.NamedModel{}, fmt.Errorf("%s: %w", s.name, err)
	}
	return injector.NamedModel{Name: s.name, Model: m}, nil
}

// chosenFaults reads the faults of a command: the one that it is for, with its
// flags, if any, and those of --fault. Specs and models belong together.
func chosenFaults(c *cli.Context, first string) (specs []spec, chosen []injector.NamedModel, err error) {
	if first != "" {
		specs = append(specs, flaggedSpec(c, first))
	}
	for _, text := range c.StringSlice("fault") {
		more, err := parseSpecs(text)
		if err != nil {
			return nil, nil, usageError("--fault %s: %w", text, err)
		}
		specs = append(specs, more...)
	}
	var names []string
	var models []faults.Model
	for _, s := range specs {
		m, err := s.model()
		if err != nil {
			return nil, nil, usageError("%w", err).hint("faultctl faults " + s.name + " explains every setting.")
		}
		chosen, names, models = append(chosen, m), append(names, m.Name), append(models, m.Model)
	}
	if err := faults.Contradiction(names, models); err != nil {
		return nil, nil, usageError("these faults contradict each other: %w", err)
	}
	return specs, chosen, nil
}

// flaggedSpec reads the knobs that were given as flags.
func flaggedSpec(c *cli.Context, name string) spec {
	s := spec{name: name}
	kind, err := faults.Find(name)
	if err != nil {
		return s
	}
	for _, k := range faults.Knobs(kind.New()) {
		if !c.IsSet(k.Name) {
			continue
		}
		value := c.String(k.Name)
		if k.Type == "bool" {
			value = strconv.FormatBool(c.Bool(k.Name))
		}
		s.knobs = append(s.knobs, [2]string{k.Name, value})
	}
	return s
}
