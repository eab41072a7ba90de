package survival

import (
	"slices"

	"github.com/faultctl/faultctl/faults"
)

// DefaultCases lists every reset cause of the catalogue with settings for which a
// test has the time (faults.Verify): a case each, or several that strike at
// different moments. Those that few commands bring about by themselves are Optional.
func DefaultCases() (cases []Case) {
	for _, k := range faults.Catalog {
		if k.Group == "reset" {
			for _, s := range k.VerifySpecs() {
				cases = append(cases, Case{Faults: []faults.Spec{s}, Optional: k.VerifyMoment(s) != ""})
			}
		}
	}
	return cases
}

// planned is a fault with its settings. A bare name stands for the settings that
// the catalogue has for a test, the first of them if there are several.
func planned(s faults.Spec) faults.Spec {
	if kind, err := faults.Find(s.Name); err == nil && len(s.Knobs) == 0 {
		return kind.VerifySpecs()[0]
	}
	return s
}

// momentOf says how to make a test bring about the first of these faults that has
// the name; empty if there is nothing to say.
func momentOf(specs []faults.Spec, fault string) string {
	kind, err := faults.Find(fault)
	i := slices.IndexFunc(specs, func(s faults.Spec) bool { return s.Name == fault })
	if err != nil || i < 0 {
		return ""
	}
	return kind.VerifyMoment(specs[i])
}
