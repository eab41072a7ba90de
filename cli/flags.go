package cli

import (
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// The headings under which help shows flags.
const (
	faultHeading  = "Fault"
	targetHeading = "Target"
	runHeading    = "Run"
	otherHeading  = "Other"
)

// valueFlag, listFlag and toggleFlag make flags. Every value is read as a string and parsed by
// this package, so that errors are ours. The placeholder stands in the usage
// in back quotes. Each flag has its environment variable.
func valueFlag(heading, name, usage string, aliases ...string) urfave.Flag {
	env := []string{envVar(name)}
	for _, a := range aliases {
		if len(a) > 1 { // an old spelling
			env = append(env, envVar(a))
		}
	}
	return &urfave.StringFlag{Name: name, Aliases: aliases, Category: heading, Usage: usage, EnvVars: env}
}

func listFlag(heading, name, usage string) urfave.Flag {
	return &urfave.StringSliceFlag{Name: name, Category: heading, Usage: usage, EnvVars: []string{envVar(name)}}
}

func toggleFlag(heading, name, usage string) urfave.Flag {
	return &urfave.BoolFlag{Name: name, Category: heading, Usage: usage, EnvVars: []string{envVar(name)}}
}

func envVar(flag string) string {
	return "FAULTCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// wordFlags are the flags of some of the words of a Spec, in their order.
func wordFlags(heading string, is func(experiment.Word) bool) (fs []urfave.Flag) {
	for _, w := range experiment.Words {
		if is(w) {
			fs = append(fs, wordFlag(heading, w))
		}
	}
	return fs
}

// wordFlag is a word of a Spec as a flag.
func wordFlag(heading string, w experiment.Word) urfave.Flag {
	usage := "`" + w.Placeholder + "` " + w.Help
	switch w.Kind {
	case experiment.Switch:
		return toggleFlag(heading, w.Name, w.Help)
	case experiment.Many:
		return listFlag(heading, w.Name, usage)
	}
	return valueFlag(heading, w.Name, usage)
}

func inGroup(g experiment.WordGroup) func(experiment.Word) bool {
	return func(w experiment.Word) bool { return w.Group == g }
}

// targetFlags choose the connections.
func targetFlags() []urfave.Flag { return wordFlags(targetHeading, inGroup(experiment.OfTarget)) }

// runFlags say how a run goes.
func runFlags() []urfave.Flag {
	fs := []urfave.Flag{listFlag(runHeading, "fault", "`SPEC` another fault on the same connections: NAME or NAME:knob=value,…; repeatable")}
	expects := func(w experiment.Word) bool {
		return w.Name == "expect-fired" || w.Name == "allow-idle" || w.Name == "may-idle"
	}
	fs = append(fs, wordFlags(runHeading, func(w experiment.Word) bool { return w.Group == experiment.OfRun && !expects(w) })...)
	fs = append(fs, toggleFlag(runHeading, "dry-run", "show the rules and the connections that they match now; change nothing"))
	fs = append(fs, wordFlags(runHeading, expects)...)
	return append(append(fs, outputFlag(runHeading)), leavingFlags()...)
}

// leavingFlags say which files a run writes, and what it logs.
func leavingFlags() []urfave.Flag {
	return append(wordFlags(runHeading, inGroup(experiment.OfOutput)),
		valueFlag(runHeading, "log-level", "`LEVEL` debug, info, warn or error, on stderr (default warn)"))
}

func outputFlag(heading string) urfave.Flag {
	return valueFlag(heading, "output", "`text|json` how results are printed (default text)", "o")
}

// knobFlags are the settings of a fault as flags.
func knobFlags(k faults.Kind) []urfave.Flag {
	var fs []urfave.Flag
	for _, knob := range faults.Knobs(k.New()) {
		if knob.Type == "bool" {
			fs = append(fs, toggleFlag(faultHeading, knob.Name, knob.Help))
			continue
		}
		usage := "`" + placeholder(knob) + "` " + knob.Help
		if d := shownDefault(knob); d != "" {
			usage += " (default " + d + ")"
		}
		fs = append(fs, valueFlag(faultHeading, knob.Name, usage, knob.Aliases...))
	}
	return fs
}

// shownDefault is a knob's default, or nothing where that means that the knob
// is off.
func shownDefault(k faults.Knob) string {
	switch k.Default {
	case "0", "0s", "0%", "never", "false":
		return ""
	}
	return k.Default
}

// triggerHelp explains TRIGGER if one of the flags takes it.
func triggerHelp(fs []urfave.Flag) string {
	for _, f := range fs {
		if left, _ := flagHelp(f); strings.HasSuffix(left, " TRIGGER") {
			return "TRIGGER is the moment at which the fault fires, once per connection: " + strings.Join(faults.TriggerForms, ", ") + "."
		}
	}
	return ""
}

// placeholder stands for a knob's value in help.
func placeholder(k faults.Knob) string {
	switch {
	case strings.Contains(k.Type, "|"):
		return strings.Replace(strings.TrimPrefix(k.Type, "|"), "duration", "D", 1)
	case k.Type == "duration":
		return "D"
	case k.Type == "int":
		return "N"
	case k.Type == "string":
		return "NAME"
	}
	return strings.ToUpper(k.Type)
}

func flagNames(fs []urfave.Flag) []string {
	var names []string
	for _, f := range fs {
		names = append(names, f.Names()...)
	}
	return names
}

// takesValue reports whether a flag is followed by its value.
func takesValue(f urfave.Flag) bool {
	d, ok := f.(urfave.DocGenerationFlag)
	return ok && d.TakesValue()
}

// findFlag returns the flag of that name or alias, or nil.
func findFlag(fs []urfave.Flag, name string) urfave.Flag {
	for _, f := range fs {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}
