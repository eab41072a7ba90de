package cli

import (
	"os"
	"slices"
	"strconv"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/spf13/pflag"
)

// spec reads what the flags of a command say into a Spec. The error is
// event.Problems, all that is wrong with any flag.
func (inv *invocation) spec(c *call) (s experiment.Spec, err error) {
	var problems event.Problems
	s.Faults = faultSpecs(c, func(err error) { problems = append(problems, problemsOf(err)...) })
	problems = append(problems, emptyFlags(c)...)
	problems = append(problems, readWords(c, &s)...)
	if takesCommand(c.Command) {
		if s.Command = inv.command; len(s.Command) == 0 {
			problems = append(problems, noCommand(c))
		}
	}
	if len(problems) == 0 {
		problems = s.Validate()
	}
	return s, problems.Err()
}

// readWords reads the words of a Spec among the flags of a command, but for some.
func readWords(c *call, s *experiment.Spec, but ...string) (problems event.Problems) {
	for _, w := range experiment.Words {
		if c.Flag(w.Name) == nil || !c.IsSet(w.Name) || slices.Contains(but, w.Name) {
			continue
		}
		var values []string
		switch w.Kind {
		case experiment.Many:
			values = c.StringSlice(w.Name)
		case experiment.Switch:
			values = []string{strconv.FormatBool(c.Bool(w.Name))}
		default:
			values = []string{c.String(w.Name)}
		}
		if w.Kind == experiment.One && values[0] == "" {
			continue // see emptyFlags
		}
		if err := s.Set(w.Name, values...); err != nil {
			problems = append(problems, problemsOf(err)...)
		}
	}
	if c.IsSet("expect-fired") && !s.ExpectFired {
		s.AllowIdle = true
	}
	return problems
}

// emptyFlag refuses a flag that was given without a value, as "$N" of a shell is
// where it is not set.
func emptyFlag(name string) *event.Error {
	f := event.Field(name)
	return event.Usagef(f, "%s is empty", f).WithAdvice("Leave it out if you do not need it, or unset " + envVar(name) + " if it comes from there.")
}

// emptyFlags refuses the flags of a command that were given without a value.
func emptyFlags(c *call) (problems event.Problems) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if _, list := f.Value.(*listValue); !list && f.Value.String() == "" {
			problems = append(problems, emptyFlag(f.Name))
		}
	})
	return problems
}

// flaggedSpec reads the settings of a fault that were given as flags.
func flaggedSpec(c *call, name string) faults.Spec {
	s := faults.Spec{Name: name}
	kind, err := faults.Find(name)
	if err != nil {
		return s
	}
	for _, k := range faults.Knobs(kind.New()) {
		if c.IsSet(k.Name) {
			s.Knobs = append(s.Knobs, [2]string{k.Name, c.String(k.Name)})
		}
	}
	return s
}

// system returns the system on which a command plans its runs.
func (inv *invocation) system() *experiment.System {
	sys := *inv.sys
	sys.Logger, sys.ShowSecrets = inv.logger, inv.showSecrets
	if inv.audit != nil && !sys.Caged {
		sys.Audit = func(line string) {
			if err := inv.audit(line); err != nil {
				inv.logger.Info("not in the host's log", "line", line, "error", err)
			}
		}
	}
	sys.MakeCage = func(ns *os.File) (cage.Cage, error) {
		switch {
		case inv.keeper == nil:
			return inv.sys.MakeCage(ns)
		case sys.Caged:
			return inv.keeper.NewNetns()
		}
		return inv.keeper.New(ns)
	}
	sys.LooseCage = func() (cage.Cage, error) {
		if inv.keeper == nil {
			return inv.sys.LooseCage()
		}
		return inv.keeper.NewLoose()
	}
	return &sys
}

// noCommand is the error of run and verify without a command.
func noCommand(c *call) *event.Error {
	return usageError("%s: which command? Put it after --, such as: %s -- go test ./...", c.Name(), helpName(c.Command)).
		WithAdvice("Flags go before the --.")
}
