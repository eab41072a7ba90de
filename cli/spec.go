package cli

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	urfave "github.com/urfave/cli/v2"
)

// spec reads what the flags of a command say into a Spec. first is the FAULT
// whose settings are flags of c; empty if there is none. The error is
// event.Problems, all that is wrong with any flag.
func (inv *invocation) spec(c *urfave.Context, first string) (experiment.Spec, error) {
	var s experiment.Spec
	var problems event.Problems
	if first != "" {
		s.Faults = append(s.Faults, flaggedSpec(c, first))
	}
	for _, text := range c.StringSlice("fault") {
		more, err := faults.ParseSpecs(text)
		if err != nil {
			problems = append(problems, event.Usagef("fault", "--fault %s: %w", text, err).WithAdvice(specAdvice(err)))
			continue
		}
		s.Faults = append(s.Faults, more...)
	}
	problems = append(problems, emptyFlags(c)...)
	problems = append(problems, readWords(c, &s)...)
	if takesCommand(strings.Fields(c.Command.HelpName)) {
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
func readWords(c *urfave.Context, s *experiment.Spec, but ...string) (problems event.Problems) {
	for _, w := range experiment.Words {
		if findFlag(c.Command.Flags, w.Name) == nil || !c.IsSet(w.Name) || slices.Contains(but, w.Name) {
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
func emptyFlags(c *urfave.Context) (problems event.Problems) {
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if _, is := f.(*urfave.StringFlag); is && c.IsSet(name) && c.String(name) == "" {
			problems = append(problems, emptyFlag(name))
		}
	}
	return problems
}

// flaggedSpec reads the settings of a fault that were given as flags.
func flaggedSpec(c *urfave.Context, name string) faults.Spec {
	s := faults.Spec{Name: name}
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

// system returns the system on which a command plans its runs.
func (inv *invocation) system() *experiment.System {
	sys := *inv.sys
	sys.Logger = inv.logger
	return &sys
}

// newLogger returns the logger for a value of --log-level, which may be empty. It
// writes to stderr.
func (inv *invocation) newLogger(level string) (*slog.Logger, error) {
	levels := map[string]slog.Level{"": slog.LevelWarn, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	least, ok := levels[strings.ToLower(level)]
	if !ok {
		return nil, usageError("--log-level %s: it is debug, info, warn or error%s", level,
			words.DidYouMean(level, []string{"debug", "info", "warn", "error"}))
	}
	return slog.New(slog.NewTextHandler(inv.stderr, &slog.HandlerOptions{Level: least})), nil
}
