package cli

import (
	"errors"
	"strconv"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// spec is a SPEC: the name of a fault with its knobs inline.
type spec = faults.Spec

// model makes the fault of a SPEC, validated.
func model(s spec) (injector.NamedModel, error) {
	m, err := s.Model()
	if setting := (*faults.SettingError)(nil); errors.As(err, &setting) {
		err = flagError{setting}
	}
	return injector.NamedModel{Name: s.Name, Model: m}, err
}

// flagError is what is wrong with a setting that was given as a flag.
type flagError struct{ *faults.SettingError }

func (e flagError) Error() string { return e.Fault + ": --" + e.Knob + ": " + e.Err.Error() }
func (e flagError) Unwrap() error { return e.SettingError }

// chosenFaults reads the faults of a command: the one that it is for, with its
// flags, if any, and those of --fault. Specs and models belong together.
func chosenFaults(c *cli.Context, first string) (specs []spec, chosen []injector.NamedModel, err error) {
	if first != "" {
		specs = append(specs, flaggedSpec(c, first))
	}
	for _, text := range c.StringSlice("fault") {
		more, err := faults.ParseSpecs(text)
		if err != nil {
			return nil, nil, usageError("--fault %s: %w", text, err).hint(specAdvice(err))
		}
		specs = append(specs, more...)
	}
	var names []string
	var models []faults.Model
	for _, s := range specs {
		m, err := model(s)
		if err != nil {
			return nil, nil, usageError("%w", err).hint("faultctl faults " + s.Name + " explains every setting.")
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
	s := spec{Name: name}
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
		s.Knobs = append(s.Knobs, [2]string{k.Name, value})
	}
	return s
}
