package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// doubleDashes spells flags that begin with a single dash, as Go's own may, with
// two. Arguments behind -- stay as they are.
func doubleDashes(args []string) []string {
	args = slices.Clone(args)
	known := everyFlag()
	for i, a := range args {
		name, _, _ := strings.Cut(a, "=")
		switch {
		case a == "--":
			return args
		case len(name) > 2 && a[0] == '-' && a[1] != '-' && known.Lookup(name[1:]) != nil:
			args[i] = "-" + a
		}
	}
	return args
}

// everyFlag has the flags of all commands and the settings of all faults. Only
// their names and whether they take values matter: it looks ahead in a command
// line whose FAULT, and with it the flags, is not known yet.
func everyFlag() *pflag.FlagSet {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.ParseErrorsAllowlist.UnknownFlags = true
	set.BoolP("help", "h", false, "")
	fs := slices.Concat(targetFlags(), runFlags(), verifyFlags(), caged(), replayFlags(), scenarioFlags(), serveFlags())
	for _, k := range faults.Catalog {
		fs = append(fs, knobFlags(k)...)
	}
	for _, f := range fs {
		for _, old := range f.Annotations[oldSpellings] {
			if set.Lookup(old) == nil {
				set.AddFlag(valueFlag("", old, ""))
			}
		}
		if set.Lookup(f.Name) == nil {
			set.AddFlag(f)
		}
	}
	return set
}

// faultOf is the fault that a command line names, as its FAULT or else by its
// only --fault, whose settings are flags of the command. It is nil if there is none.
func (inv *invocation) faultOf(args []string) *faults.Kind {
	set := everyFlag()
	set.Parse(args) // what is wrong with them is said when the command parses them
	words := slices.DeleteFunc(slices.Clone(set.Args()), func(w string) bool { return w == "help" || w == cobra.ShellCompRequestCmd })
	if more := set.Lookup("fault").Value.(*listValue).GetSlice(); len(words) == 1 && len(more) == 1 {
		words = append(words, more[0])
	}
	if len(words) < 2 {
		return nil
	}
	kind, err := faults.Find(words[1][:strings.IndexAny(words[1]+":", ":,")])
	if inv.noFault = err; err != nil {
		return nil
	}
	return &kind
}

// faultSpecs reads the FAULT of a command, with the settings that flags give it,
// and every --fault. Errors are of single words.
func faultSpecs(c *call, add func(error)) (specs []faults.Spec) {
	texts := c.StringSlice("fault")
	for i, text := range slices.Concat(c.words[:min(1, len(c.words))], texts) {
		more, err := faults.ParseSpecs(text)
		switch {
		case err != nil && i < len(c.words):
			add(usageError("%s: %w", c.Name(), err).WithAdvice(specAdvice(err)))
		case err != nil:
			add(event.Usagef("fault", "--fault %s: %w", text, err).WithAdvice(specAdvice(err)))
		default:
			specs = append(specs, more...)
		}
	}
	if len(specs) > 0 && (len(c.words) > 0 || len(texts) == 1) {
		specs[0].Knobs = append(specs[0].Knobs, flaggedSpec(c, specs[0].Name).Knobs...)
	}
	return specs
}

// singleFault is the FAULT of a command that takes one at a time, if any is named.
func singleFault(c *call) (name string, settings faults.Spec, err error) {
	if len(c.words) == 0 {
		return "", settings, nil
	}
	specs, err := faults.ParseSpecs(c.words[0])
	switch {
	case err != nil:
		return "", settings, usageError("%s: %w", c.Name(), err).WithAdvice(specAdvice(err))
	case len(specs) > 1:
		return "", settings, usageError("%s %s: it takes one fault at a time", c.Name(), c.words[0])
	case len(c.words) > 1:
		return "", settings, unexpected(c, c.words[1])
	}
	specs[0].Knobs = append(specs[0].Knobs, flaggedSpec(c, specs[0].Name).Knobs...)
	return specs[0].Name, specs[0], nil
}

// unexpected is the error of a word behind the FAULT.
func unexpected(c *call, word string) error {
	e := usageError("%s: unexpected argument %q", c.Name(), word)
	_, notFault := faults.Find(word)
	switch {
	case c.ArgsLenAtDash() == 1:
		return e.WithAdvice("To run a command under a fault, use faultctl run or faultctl verify.")
	case notFault == nil && c.Flag("fault") != nil:
		return e.WithAdvice("To add a fault on the same connections, use --fault " + word + ".")
	case takesCommand(c.Command):
		return e.WithAdvice("Put -- before the command to run.")
	}
	return e.WithAdvice(c.CommandPath() + " takes one FAULT, and flags that begin with --.")
}

// dashesMissing is the error of a command to run that is not preceded by --. With
// time, env or timeout it need not be, but here its own flags would be taken as
// faultctl's. args are those of the program, its name first.
func dashesMissing(args []string) error {
	if len(args) < 2 || args[1] != "run" && args[1] != "verify" {
		return nil
	}
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	words := 0
	if args[1] == "verify" {
		words = 1 // it takes no FAULT
	}
	set := everyFlag()
	set.SetInterspersed(false)
	for rest := args[2:]; ; rest = rest[1:] {
		if err := set.Parse(rest); err != nil || set.NArg() == 0 || set.Changed("help") {
			return nil
		}
		rest = set.Args()
		_, notFault := faults.ParseSpecs(rest[0])
		_, notCommand := exec.LookPath(rest[0])
		switch words++; {
		case notFault == nil && words == 2, words == 1 && (notFault == nil || notCommand != nil):
			continue // it is the FAULT, or one too many
		}
		between := []string{"--"}
		if words == 1 && !set.Changed("fault") {
			between = []string{"reset", "--"}
		}
		line := slices.Concat([]string{"faultctl"}, args[1:len(args)-len(rest)], between, rest)
		for n := range line {
			line[n] = place.Quote(line[n])
		}
		return usageError("%s: put -- before the command to run", args[1]).WithAdvice("Did you mean " + strings.Join(line, " ") + "?")
	}
}

// specAdvice says what helps against an error of faults.ParseSpecs.
func specAdvice(err error) string {
	if setting := (*faults.SettingError)(nil); errors.As(err, &setting) {
		return "faultctl faults " + setting.Fault + " explains every setting."
	}
	return "There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults NAME explains one."
}

// flagError is an error of pflag in our words.
func (inv *invocation) flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var wrong *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && inv.noFault != nil && takesFault(cmd):
		return usageError("%s: %w", cmd.Name(), inv.noFault).WithAdvice(specAdvice(inv.noFault))
	case errors.As(err, &unknown):
		return unknownFlag(cmd, cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName()))
	case errors.As(err, &empty):
		return usageError("%s: --%s needs a value", shortName(cmd), empty.GetFlag().Name)
	case errors.As(err, &wrong):
		return neitherTrueNorFalse(cmd, "--"+wrong.GetFlag().Name, wrong.GetValue())
	}
	return usageError("%s: %w", cmd.Name(), err)
}

// wantsEvents reports whether the command line asks for a stream of events,
// even if it cannot be parsed.
func wantsEvents(args []string) bool {
	if len(args) < 2 || !slices.Contains([]string{"inject", "run", "verify", "scenario", "replay", "serve"}, args[1]) {
		return false
	}
	set := everyFlag()
	set.Parse(doubleDashes(args[2:]))
	if f := set.Lookup("output"); f.Changed {
		return f.Value.String() == "json"
	}
	return os.Getenv(envVar("output")) == "json"
}

// unknownFlag suggests the nearest flag of c, or names the faults that have
// the flag.
func unknownFlag(c *cobra.Command, name string) *event.Error {
	names := []string{"help"}
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(append(names, f.Name), f.Annotations[oldSpellings]...) })
	var owners []string
	for _, k := range faults.Catalog {
		if slices.ContainsFunc(faults.Knobs(k.New()), func(k faults.Knob) bool { return k.Name == name }) {
			owners = append(owners, k.Name)
		}
	}
	e := usageError("%s: unknown flag --%s%s", shortName(c), name, words.DidYouMean(name, names))
	if len(owners) > 0 {
		return e.WithAdvice(fmt.Sprintf("--%s is a setting of %s.", name, strings.Join(owners, ", ")))
	}
	return e.WithAdvice(helpName(c) + " --help lists the flags.")
}
