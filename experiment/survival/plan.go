package survival

import (
	"context"
	"slices"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/internal/words"
)

// A Plan is a Spec that was understood on this host. Nothing has been touched. It
// is for one goroutine and one Run, and must be closed.
type Plan struct {
	Spec Spec // as given, with its cases and their settings, and with the seed that every run will use

	// Base has what all cases have in common: where the command runs, and which of
	// its connections are struck. Its faults are those of the first case.
	Base *experiment.Plan

	// Picked says that the Spec's target chooses which connections are struck. If
	// it does not, each Every-th one is, and the others where these never met the
	// fault's moment.
	Picked bool

	sys    *experiment.System
	names  []string      // of the cases
	limit  time.Duration // of a run of the command; 0: none, or not known yet
	repeat string        // see CommandLine
}

// NewPlan understands a Spec on a system and touches nothing. The error is
// event.Problems, or one of experiment.NewPlan.
func NewPlan(ctx context.Context, sys *experiment.System, s Spec) (*Plan, error) {
	if problems := s.Validate(); len(problems) > 0 {
		return nil, problems
	}
	p := &Plan{Spec: s, sys: sys, Picked: s.chooses(), names: s.Names()}
	p.Spec.Cases, p.Spec.Typed = nil, slices.Clone(s.Typed)
	for _, c := range s.cases() {
		p.Spec.Cases = append(p.Spec.Cases, c.complete())
	}
	base := s.Base.Clone()
	base.Faults, base.Timeout = p.Spec.Cases[0].Faults, s.Timeout
	if !p.Picked {
		base.Target.Every = Every
	}
	var err error
	if p.Base, err = sys.Plan(ctx, base); err != nil {
		return nil, err
	}
	s.Base = s.Base.Clone()
	s.Base.Seed, s.Base.Command = p.Base.Spec.Seed, p.Base.Spec.Command
	p.Spec.Base = s.Base
	s.Base.Command = p.Base.ShownCommand()
	p.repeat = s.CommandLine()
	if s.Timeout != nil {
		p.limit = *s.Timeout
	}
	return p, nil
}

// Close gives back what the plan holds open. Its Run must be over.
func (p *Plan) Close() error { return p.Base.Close() }

// Names are the names of the cases, in the order in which they are tried.
func (p *Plan) Names() []string { return p.names }

// CommandLine is one line that repeats the whole, if nothing had to be left out of it.
func (p *Plan) CommandLine() string { return p.repeat }

// LimitText is the time limit of a run of the command, in words.
func (p *Plan) LimitText() string {
	switch t := p.Spec.Timeout; {
	case t == nil:
		return "ten times the healthy run, at least 30s"
	case *t == 0:
		return "none"
	default:
		return words.ShortDuration(*t)
	}
}

// foundLimit is the limit of the runs under faults, where the longest run
// without one took so long.
func foundLimit(longest time.Duration) time.Duration {
	return max(30*time.Second, (10 * longest).Round(time.Second))
}

// of is the plan of a run under a case. second takes the connections that the
// first attempt left alone.
func (p *Plan) of(nth int, second bool) (*experiment.Plan, error) {
	return p.Base.Variant(p.names[nth], func(s *experiment.Spec) {
		s.Faults = p.Spec.Cases[nth].Faults
		if second {
			s.Target.Skip = 1
		}
	})
}

// Code is the exit code for cases that Run returned without an error, if it was
// not interrupted: CodeProbe if the command failed in one or did not end in time,
// CodeNeverFired if nothing was learnt of a fault and neither the Spec nor the case allows that, else
// CodeOK.
func (p *Plan) Code(cases []report.Case) event.Code {
	code := event.CodeOK
	for i := range cases {
		switch c := &cases[i]; {
		case c.Verdict.Fails():
			return event.CodeProbe
		case c.Verdict.Idle() && !c.MayIdle:
			code = event.CodeNeverFired
		}
	}
	return code
}

func count(cases []report.Case, v report.Verdict) (n int) {
	for i := range cases {
		if cases[i].Verdict == v {
			n++
		}
	}
	return n
}
