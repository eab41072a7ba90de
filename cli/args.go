package cli

import (
	"cmp"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/pflag"
	urfave "github.com/urfave/cli/v2"
)

// arrange rewrites a command line into the one form that urfave/cli knows:
// command, fault or subcommand, flags, other words. People may write flags
// before and after other words, a SPEC with settings inside instead of a FAULT,
// a list of SPECs, or a single --fault and no FAULT. Errors are about unknown
// flags, flags without a value, toggles that are neither true nor false, and
// words that the command does not take.
func arrange(app *urfave.App, args []string, getenv func(string) string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	if args[1] == "help" {
		return helpFlag(app, args, getenv)
	}
	if strings.HasPrefix(args[1], "-") {
		root := &urfave.Command{Name: "faultctl", HelpName: "faultctl", Flags: app.Flags}
		_, _, err := parseFlags(root, app.Flags, args[1:], false)
		return args, err
	}
	cmd := app.Command(args[1])
	if cmd == nil || cmd.SkipFlagParsing {
		return args, nil
	}
	if err := dashesMissing(cmd, args); err != nil {
		return nil, err
	}
	before := args[:2:2]
	args, behind := cutDashes(args)
	if takesFault(cmd) {
		return faultFirst(cmd, args, behind, getenv)
	}
	if len(args) > 2 && cmd.Command(args[2]) != nil {
		cmd, before = cmd.Command(args[2]), args[:3:3]
	}
	flags, words, err := parseFlags(cmd, cmd.Flags, args[len(before):], true)
	if err != nil {
		return nil, err
	}
	spelled, err := spell(cmd, flags, getenv)
	return slices.Concat(before, spelled, words, behind), err
}

// cutDashes cuts arguments before --.
func cutDashes(args []string) (before, behind []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i:i], args[i:]
	}
	return args, nil
}

// faultFirst is arrange for a command that takes a FAULT. behind are the
// arguments from -- on.
func faultFirst(cmd *urfave.Command, args, behind []string, getenv func(string) string) ([]string, error) {
	owner := likelyOwner(cmd, args[2:])
	flags, words, err := parseFlags(owner, allFlags(owner, cmd), args[2:], true)
	if err != nil {
		return nil, err
	}
	several := findFlag(cmd.Flags, "fault") != nil
	if len(words) == 0 {
		flags, words = promote(flags)
	}
	out := args[:2:2]
	if len(words) > 0 {
		specs, err := faults.ParseSpecs(words[0])
		switch {
		case err != nil:
			return nil, usageErrorf(cmd, err)
		case len(specs) > 1 && !several:
			return nil, usageError("%s %s: it takes one fault at a time", cmd.Name, words[0])
		case len(words) > 1:
			return nil, unexpected(cmd, args, words[1], several)
		}
		owner = cmd.Command(specs[0].Name)
		out = append(out, owner.Name)
		if cmd.Name != "faults" { // which explains a fault, whatever its settings
			out = append(out, specs[0].Flags()...)
		}
		for _, s := range specs[1:] {
			flags = append(flags, given{"fault", s.String()})
		}
	}
	spelled, err := spell(owner, flags, getenv)
	if err != nil {
		return nil, err
	}
	if len(behind) > 1 {
		return nil, usageError("%s: unexpected argument %q", cmd.Name, behind[1]).WithAdvice("To run a command under a fault, use faultctl run or faultctl verify.")
	}
	return slices.Concat(out, spelled, behind), nil
}

// unexpected is the error of a word behind the FAULT. several says that the
// command takes more faults than one.
func unexpected(cmd *urfave.Command, args []string, word string, several bool) error {
	e := usageError("%s: unexpected argument %q", cmd.Name, word)
	_, notFault := faults.Find(word)
	switch {
	case notFault == nil && several:
		return e.WithAdvice("To add a fault on the same connections, use --fault " + word + ".")
	case takesCommand(args):
		return e.WithAdvice("Put -- before the command to run.")
	}
	return e.WithAdvice(cmd.HelpName + " takes one FAULT, and flags that begin with --.")
}

// dashesMissing is the error of a command to run that is not preceded by --. With
// time, env or timeout it need not be, but here its own flags would be taken as
// faultctl's.
func dashesMissing(cmd *urfave.Command, args []string) error {
	if !takesCommand(args) || slices.Contains(args, "--") {
		return nil
	}
	words, named := 0, false
	if cmd.Name == "verify" {
		words = 1 // it takes no FAULT
	}
	for rest := args[2:]; ; rest = rest[1:] {
		flags, behind, err := parseFlags(cmd, allFlags(cmd), rest, false)
		if rest = behind; err != nil || len(rest) == 0 || has(flags, "help") {
			return nil
		}
		named = named || has(flags, "fault")
		_, notFault := faults.ParseSpecs(rest[0])
		_, notCommand := exec.LookPath(rest[0])
		switch words++; {
		case notFault == nil && words == 2, words == 1 && (notFault == nil || notCommand != nil):
			continue // it is the FAULT, or one too many
		}
		between := []string{"--"}
		if words == 1 && !named {
			between = []string{"reset", "--"}
		}
		line := slices.Concat(args[:len(args)-len(rest)], between, rest)
		for n := range line {
			line[n] = place.Quote(line[n])
		}
		line[0] = "faultctl"
		return usageError("%s: put -- before the command to run", cmd.Name).WithAdvice("Did you mean " + strings.Join(line, " ") + "?")
	}
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

// given is a flag of a command line.
type given struct{ name, value string }

func has(flags []given, name string) bool {
	return slices.ContainsFunc(flags, func(f given) bool { return f.name == name })
}

// parseFlags parts flags, known ones, from other words, which end the flags
// unless they are interspersed. Errors speak of the flags of owner.
func parseFlags(owner *urfave.Command, known []urfave.Flag, args []string, interspersed bool) (flags []given, words []string, err error) {
	set := pflag.NewFlagSet(owner.Name, pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.SetInterspersed(interspersed)
	for _, f := range append(slices.Clip(known), urfave.HelpFlag) {
		short := slices.IndexFunc(f.Names(), func(n string) bool { return len(n) == 1 })
		for i, name := range f.Names() {
			switch {
			case len(name) == 1 || set.Lookup(name) != nil:
			case i == 0 && short > 0:
				define(set, f, name, f.Names()[short])
			default:
				define(set, f, name, "")
			}
		}
	}
	args = slices.Clone(args)
	for i, a := range args { // a single dash is enough, as for Go's own flags
		name, _, _ := strings.Cut(a, "=")
		if len(name) > 2 && a[0] == '-' && a[1] != '-' && set.Lookup(name[1:]) != nil {
			args[i] = "-" + a
		}
	}
	err = set.ParseAll(args, func(f *pflag.Flag, value string) error {
		flags = append(flags, given{f.Name, value})
		if f.Value.Set(value) != nil {
			return notBool(owner, "--"+f.Name, value)
		}
		return nil
	})
	return flags, set.Args(), flagError(owner, err)
}

func define(set *pflag.FlagSet, f urfave.Flag, name, short string) {
	if takesValue(f) {
		set.StringP(name, short, "", "")
	} else {
		set.BoolP(name, short, false, "")
	}
}

// flagError is an error of pflag in our words.
func flagError(owner *urfave.Command, err error) error {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(owner, cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName()))
	case errors.As(err, &empty):
		return usageError("%s: --%s needs a value", owner.Name, empty.GetFlag().Name)
	}
	return err
}

func notBool(owner *urfave.Command, where, value string) error {
	return usageError("%s: %s=%s: it is true or false", owner.Name, where, value)
}

// spell writes the flags of a command by the names that they have today, so that
// none can be taken for anything else. The error is about a flag that the
// command lacks, or a toggle whose environment variable is neither true nor false.
func spell(cmd *urfave.Command, flags []given, getenv func(string) string) (args []string, err error) {
	for _, g := range flags {
		f := findFlag(append(slices.Clip(cmd.Flags), urfave.HelpFlag), g.name)
		if f == nil {
			return nil, unknownFlag(cmd, g.name)
		}
		args = append(args, "--"+f.Names()[0]+"="+g.value)
	}
	for _, f := range cmd.Flags {
		if b, is := f.(*urfave.BoolFlag); is && len(b.EnvVars) > 0 {
			value := getenv(b.EnvVars[0])
			if _, err := strconv.ParseBool(value); value != "" && err != nil {
				return nil, notBool(cmd, b.EnvVars[0], value)
			}
		}
	}
	return args, nil
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

// allFlags are the flags of commands and of all that is below them, those of the
// first ones first.
func allFlags(cmds ...*urfave.Command) (fs []urfave.Flag) {
	for _, cmd := range cmds {
		fs = append(fs, cmd.Flags...)
		fs = append(fs, allFlags(cmd.Subcommands...)...)
	}
	return fs
}

// promote makes the value of the only --fault the FAULT of the command, so
// that its settings may be given as flags.
func promote(flags []given) (rest []given, words []string) {
	for _, f := range flags {
		if f.name == "fault" {
			words = append(words, f.value)
		} else {
			rest = append(rest, f)
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
