package experiment

import (
	"slices"

	"github.com/faultctl/faultctl/injector"
)

// Variant is a plan that differs from p in its faults, its seed, its duration and
// in how its target chooses connections. change makes the changes in a copy of the
// Spec, and must change nothing else, such as which connections match. Events and
// reports use the name for its run. It excludes the connections that p excludes.
// Its observers are those of p, and those that are added to it.
//
// The variant uses the host names that p has looked up and the network namespace
// that p has opened. p must stay open until all runs of the variant have ended;
// the variant itself is not closed. Runs of several variants may overlap if each
// carries out its command in a cage of its own, see RunCommand; other runs must not.
//
// The error is event.Problems about the Spec as it was changed.
func (p *Plan) Variant(name string, change func(*Spec)) (*Plan, error) {
	s := p.Spec.Clone()
	change(&s)
	if problems := s.Validate(); len(problems) > 0 {
		return nil, problems
	}
	models, problems := s.models()
	if len(problems) > 0 {
		return nil, problems
	}
	v := *p
	v.Spec, v.Name, v.observers = s, name, slices.Clone(p.observers)
	pick := p.pickOf(&s)
	pick.Only = p.cfg.Rules[0].Pick.Only
	v.cfg.Rules = []injector.Rule{{Match: p.cfg.Rules[0].Match, Pick: pick, Faults: models}}
	if s.Seed != nil {
		v.cfg.Seed = *s.Seed
	}
	return &v, nil
}
