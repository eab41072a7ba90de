package survival

import "github.com/faultctl/faultctl/faults"

// DefaultCases lists every reset cause of the catalogue, a case each, with
// settings for which a test has the time (faults.Verify).
func DefaultCases() (cases []Case) {
	for _, k := range faults.Catalog {
		if k.Group == "reset" {
			cases = append(cases, Case{Faults: []faults.Spec{k.VerifySpec()}})
		}
	}
	return cases
}

// planned is a fault with its settings. A bare name stands for the settings that
// the catalogue has for a test.
func planned(s faults.Spec) faults.Spec {
	if kind, err := faults.Find(s.Name); err == nil && len(s.Knobs) == 0 {
		return kind.VerifySpec()
	}
	return s
}

// momentOf says how to make a test bring a fault about; empty if there is
// nothing to say.
func momentOf(fault string) string {
	kind, err := faults.Find(fault)
	if err != nil {
		return ""
	}
	return kind.Verify.Moment
}
