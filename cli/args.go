package cli

import (
	"errors"
	"os/exec"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// faultFirst rewrites the arguments of a command that takes a FAULT into the
// one form that the flag parser knows: command, fault, flags. People may write
// flags before and after the FAULT, a SPEC with knobs inside instead of it, a
// list of SPECs, or a single --fault and nothing else.
func faultFirst(app *urfave.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	cmd := app.Command(args[1])
	if err := dashesMissing(cmd, args); err != nil {
		return nil, err
	}
	if cmd == nil || !takesFault(cmd) {
		return flagsFirst(cmd, args)
	}
	flags, words, tail, err := sortArgs(cmd, args[2:])
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		flags, words = promote(flags)
	}
	out := append([]string{}, args[:2]...)
	if len(words) > 0 {
		specs, err := faults.ParseSpecs(words[0])
		if err != nil {
			return nil, usageErrorf(cmd, err)
		}
		out = append(out, specs[0].Name)
		if cmd.Name != "faults" { // which explains a fault, whatever its settings
			out = append(out, specs[0].Flags()...)
		}
		several := findFlag(cmd.Flags, "fault") != nil
		if len(specs) > 1 && !several {
			return nil, usageError("%s %s: it takes one fault at a time", cmd.Name, words[0])
		}
		for _, s := range specs[1:] {
			flags = append(flags, "--fault", s.String())
		}
		if len(words) > 1 {
			return nil, unexpected(cmd, args, words[1], several)
		}
	}
	if len(tail) > 1 {
		return nil, usageError("%s: unexpected argument %q", cmd.Name, tail[1]).WithAdvice("A command is run under a fault by faultctl run and faultctl verify.")
	}
	return append(append(out, flags...), tail...), nil
}

// unexpected is the error of a word behind the FAULT. several says that the
// command takes more faults than one.
func unexpected(cmd *urfave.Command, args []string, word string, several bool) error {
	e := usageError("%s: unexpected argument %q", cmd.Name, word)
	_, notFault := faults.Find(word)
	switch {
	case notFault == nil && several:
		return e.WithAdvice("More faults on the same connections are given with --fault " + word + ".")
	case takesCommand(args):
		return e.WithAdvice("The command to run stands behind --.")
	}
	return e.WithAdvice("One FAULT, and flags that begin with --, are all that " + cmd.HelpName + " takes.")
}

// dashesMissing is the error of a command to run that does not stand behind --,
// as it would not with time, env or timeout. Its own flags are not faultctl's.
func dashesMissing(cmd *urfave.Command, args []string) error {
	if !takesCommand(args) || slices.Contains(args, "--") {
		return nil
	}
	words, named := 0, false
	if cmd.Name == "verify" {
		words = 1 // it takes no FAULT
	}
	for i := 2; i < len(args); i++ {
		a := args[i]
		if len(a) > 1 && a[0] == '-' {
			name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
			f := anyFlag(cmd, name)
			switch {
			case f == nil: // unknown, or --help
				return nil
			case takesValue(f) && !joined:
				i++
			}
			named = named || name == "fault"
			continue
		}
		_, notFault := faults.ParseSpecs(a)
		_, notCommand := exec.LookPath(a)
		switch words++; {
		case notFault == nil && words == 2, words == 1 && (notFault == nil || notCommand != nil):
			continue // it is the FAULT, or one too many
		}
		between := []string{"--"}
		if words == 1 && !named {
			between = []string{"reset", "--"}
		}
		line := slices.Concat(args[:i:i], between, args[i:])
		for n := range line {
			line[n] = place.Quote(line[n])
		}
		line[0] = "faultctl"
		return usageError("%s: the command to run stands behind --", cmd.Name).WithAdvice("Did you mean " + strings.Join(line, " ") + "?")
	}
	return nil
}

// flagsFirst puts the flags of replay, or of a command's subcommand, before its
// other words.
func flagsFirst(cmd *urfave.Command, args []string) ([]string, error) {
	if cmd != nil && cmd.Name == "replay" {
		flags, words, tail, err := sortArgs(cmd, args[2:])
		return slices.Concat(args[:2], flags, words, tail), err
	}
	if cmd == nil || len(args) < 3 || cmd.Command(args[2]) == nil {
		return args, nil
	}
	flags, words, tail, err := sortArgs(cmd.Command(args[2]), args[3:])
	if err != nil {
		return nil, err
	}
	return slices.Concat(args[:3], flags, words, tail), nil
}

// takesFault reports whether a command is followed by a FAULT: its subcommands
// are the faults of the catalogue.
func takesFault(cmd *urfave.Command) bool { return cmd.Command(faults.Catalog[0].Name) != nil }

func usageErrorf(cmd *urfave.Command, err error) error {
	return usageError("%s: %w", cmd.Name, err).WithAdvice(specAdvice(err))
}

// specAdvice says what helps against an error of faults.ParseSpecs.
func specAdvice(err error) string {
	if setting := (*faults.SettingError)(nil); errors.As(err, &setting) {
		return "faultctl faults " + setting.Fault + " explains every setting."
	}
	return "There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults NAME explains one."
}

// sortArgs separates flags, each with its value, from other words. What stands
// behind -- is the tail, -- included.
func sortArgs(cmd *urfave.Command, args []string) (flags, words, tail []string, err error) {
	owner := likelyOwner(cmd, args)
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return flags, words, args[i:], nil
		case len(a) < 2 || a[0] != '-':
			words = append(words, a)
			continue
		}
		flags = append(flags, a)
		name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		f := findFlag(owner.Flags, name)
		if f != nil && len(name) > 1 && f.Names()[0] != name { // an old spelling
			flags[len(flags)-1] = strings.Replace(a, name, f.Names()[0], 1)
		}
		if f == nil {
			f = anyFlag(cmd, name)
		}
		switch {
		case f == nil && name != "help" && name != "h":
			return nil, nil, nil, unknownFlag(owner, name)
		case f != nil && takesValue(f) && !joined && i+1 < len(args):
			i++
			flags = append(flags, args[i])
		}
	}
	return flags, words, nil, nil
}

// likelyOwner is the fault among the arguments, or else the command.
func likelyOwner(cmd *urfave.Command, args []string) *urfave.Command {
	for _, a := range args {
		if sub := cmd.Command(strings.SplitN(a, ":", 2)[0]); sub != nil {
			return sub
		}
	}
	return cmd
}

// anyFlag finds a flag of the command or of one of its faults.
func anyFlag(cmd *urfave.Command, name string) urfave.Flag {
	if f := findFlag(cmd.Flags, name); f != nil {
		return f
	}
	for _, sub := range cmd.Subcommands {
		if f := findFlag(sub.Flags, name); f != nil {
			return f
		}
	}
	return nil
}

// promote makes the value of the only --fault the FAULT of the command, so
// that its knobs may be given as flags.
func promote(flags []string) (rest, words []string) {
	for i, f := range flags {
		if strings.TrimLeft(f, "-") == "fault" && i+1 < len(flags) {
			words = append(words, flags[i+1])
			rest = slices.Delete(slices.Clone(flags), i, i+2)
		} else if v, ok := strings.CutPrefix(strings.TrimLeft(f, "-"), "fault="); ok {
			words = append(words, v)
			rest = slices.Delete(slices.Clone(flags), i, i+1)
		}
	}
	if len(words) != 1 {
		return flags, nil
	}
	return rest, words
}

// wantsEvents reports whether the command line asks for a stream of events,
// even if it cannot be parsed.
func wantsEvents(args []string, getenv func(string) string) bool {
	if len(args) < 2 || !slices.Contains([]string{"inject", "run", "verify", "scenario", "replay"}, args[1]) {
		return false
	}
	args, _ = cutCommand(args)
	for i, a := range args {
		name, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if a[:min(1, len(a))] != "-" || name != "o" && name != "output" {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		return value == "json"
	}
	return getenv(envVar("output")) == "json"
}
