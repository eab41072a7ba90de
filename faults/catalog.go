package faults

import (
	"fmt"
	"slices"
)

// A Kind is one fault of the catalogue and what it says about itself. The
// command line's flags and help, scenario files, shell completion and the
// docs all come from here.
type Kind struct {
	Name    string
	Group   string // "reset" or "link"
	Cause   string // one sentence of the real world
	Symptom string // what the application sees: calls and errno
	Remedy  string
	Example string

	// Whole says that the fault decides every SYN, so that no fault behind it
	// that waits for a connection can ever act.
	defaults func() Model
}

// New returns a fresh model with the default settings.
func (k Kind) New() Model { return k.defaults() }

// kind completes an entry with its defaults, which are copied for each New.
func kind[M any, P interface {
	*M
	Model
}](k Kind, defaults M) Kind {
	k.defaults = func() Model {
		m := defaults
		return P(&m)
	}
	return k
}

// Names lists the faults in the order of the catalogue.
func Names() []string {
	names := make([]string, len(Catalog))
	for i, k := range Catalog {
		names[i] = k.Name
	}
	return names
}

// Find returns the fault of that name. The error suggests the nearest one.
func Find(name string) (Kind, error) {
	i := slices.IndexFunc(Catalog, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, fmt.Errorf("unknown fault %q%s", name, DidYouMean(name, Names()))
	}
	return Catalog[i], nil
}
