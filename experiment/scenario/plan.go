package scenario

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
)

// Options are settings for playing a scenario that are not in its file.
type Options struct {
	Seed      *uint64 // overrides the file's; nil: the file's, or a random one
	AllowIdle bool    // a fault that never fired is no failure
	File      string  // what the line that repeats the run calls the file; empty: as Parse was told
}

// A Plan is a Scenario that was resolved on this host. It holds network
// namespaces open and must be closed; nothing else was touched. It is for one
// goroutine, and can be played once.
type Plan struct {
	Scenario  *Scenario
	Entries   []*experiment.Plan // one for each of the Scenario's Faults, in their order
	Seed      uint64             // of the first start of each entry
	AllowIdle bool
	File      string

	sys *experiment.System
}

// NewPlan resolves a scenario on a system. The error is an *event.Error whose
// message begins with the place in the file.
func NewPlan(ctx context.Context, sys *experiment.System, s *Scenario, o Options) (*Plan, error) {
	p := &Plan{Scenario: s, AllowIdle: o.AllowIdle, File: o.File, sys: sys}
	if p.File == "" && s.doc != nil {
		p.File = s.doc.File
	}
	switch seed := cmp.Or(o.Seed, s.Seed); seed {
	case nil:
		p.Seed = sys.Seed()
	default:
		p.Seed = *seed
	}
	for i := range s.Faults {
		spec := s.Faults[i].Spec.Clone()
		spec.Seed = new(p.Seed)
		e, err := sys.Plan(ctx, spec)
		if err != nil {
			p.Close()
			return nil, s.inFile(i, err)
		}
		e.Name = s.Faults[i].Name
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

// inFile adds the position in the file to an error about an entry, and keeps its
// code and advice.
func (s *Scenario) inFile(entry int, err error) error {
	all := []error{err}
	if ps, several := err.(event.Problems); several {
		all = ps.Unwrap()
	}
	var problems document.Problems
	for _, e := range all {
		problems = append(problems, s.about(entry, e))
	}
	return &event.Error{Code: experiment.CodeOf(err), Field: "", Err: problems.InOrder(), Advice: experiment.AdviceOf(err)}
}

// Close closes what the plan holds open. Play must have returned.
func (p *Plan) Close() error {
	var first error
	for _, e := range p.Entries {
		first = cmp.Or(first, e.Close())
	}
	return first
}

// Preflight checks in advance that every entry can start, because some start
// minutes after the others.
func (p *Plan) Preflight() error {
	for i, e := range p.Entries {
		cfg := e.Config()
		if err := cfg.Validate(); err != nil {
			return p.Scenario.inFile(i, err)
		}
		if err := e.Preflight(); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	return nil
}

// Timeline lists what will happen when, in order.
func (p *Plan) Timeline() []Step { return p.Scenario.Timeline() }

// Repeat is one command line that repeats the run.
func (p *Plan) Repeat() string { return Repeat(p.File, p.Seed, p.AllowIdle) }

// Repeat is one command line that plays a file with that seed.
func Repeat(file string, seed uint64, allowIdle bool) string {
	line := fmt.Sprintf("faultctl scenario run %s --seed %d", place.Quote(file), seed)
	if allowIdle {
		line += " --allow-idle"
	}
	return line
}

// Protected lists the connections that none of the entries touches.
func (p *Plan) Protected() (all []event.Pair) {
	for _, e := range p.Entries {
		for _, c := range e.Protected {
			if pair := (event.Pair{A: c.A.String(), B: c.B.String()}); !slices.Contains(all, pair) {
				all = append(all, pair)
			}
		}
	}
	return all
}
