package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/pflag"
)

// The headings under which help shows flags.
const (
	faultHeading  = "Fault"
	targetHeading = "Target"
	runHeading    = "Run"
	otherHeading  = "Other"

	toxiproxyHeading = "Toxiproxy"
)

// The annotations of a flag.
const (
	headingOf    = "heading"
	oldSpellings = "old" // names that still work; its help has them
)

// textValue is the value of a flag as it was typed: this package reads it, so that
// errors are ours.
type textValue struct{ placeholder, text string }

func (v *textValue) String() string     { return v.text }
func (v *textValue) Set(s string) error { v.text = s; return nil }
func (v *textValue) Type() string       { return v.placeholder }

// listValue is that of a flag that can be repeated.
type listValue struct {
	textValue
	all []string
}

func (v *listValue) Set(s string) error { v.all = append(v.all, s); return nil }
func (v *listValue) GetSlice() []string { return v.all }

// toggleValue is that of a flag that is on or off.
type toggleValue bool

func (v *toggleValue) String() string { return strconv.FormatBool(bool(*v)) }
func (v *toggleValue) Type() string   { return "" }
func (v *toggleValue) Set(s string) error {
	on, err := strconv.ParseBool(s)
	*v = toggleValue(on)
	return err
}

// valueFlag, listFlag and toggleFlag make flags. The placeholder of the value begins
// the usage, in back quotes. An alias of one letter is short for the flag, others are
// old spellings. Each flag has its environment variable.
func valueFlag(heading, name, usage string, aliases ...string) *pflag.Flag {
	placeholder, usage := cutPlaceholder(usage)
	f := newFlag(heading, name, usage, &textValue{placeholder: placeholder})
	for _, a := range aliases {
		if len(a) == 1 {
			f.Shorthand = a
		} else {
			f.Annotations[oldSpellings] = append(f.Annotations[oldSpellings], a)
		}
	}
	return f
}

func listFlag(heading, name, usage string) *pflag.Flag {
	placeholder, usage := cutPlaceholder(usage)
	return newFlag(heading, name, usage, &listValue{textValue: textValue{placeholder: placeholder}})
}

func toggleFlag(heading, name, usage string) *pflag.Flag {
	f := newFlag(heading, name, usage, new(toggleValue))
	f.NoOptDefVal = "true"
	return f
}

func newFlag(heading, name, usage string, value pflag.Value) *pflag.Flag {
	return &pflag.Flag{Name: name, Usage: usage, Value: value, DefValue: value.String(), Annotations: map[string][]string{headingOf: {heading}}}
}

func cutPlaceholder(usage string) (placeholder, rest string) {
	placeholder, rest, _ = strings.Cut(strings.TrimPrefix(usage, "`"), "`")
	return placeholder, strings.TrimSpace(rest)
}

func envVar(flag string) string {
	return "FAULTCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// wordFlags are the flags of some of the words of a Spec, in their order.
func wordFlags(heading string, is func(experiment.Word) bool) (fs []*pflag.Flag) {
	for _, w := range experiment.Words {
		if is(w) {
			fs = append(fs, wordFlag(heading, w))
		}
	}
	return fs
}

// wordFlag is a word of a Spec as a flag.
func wordFlag(heading string, w experiment.Word) *pflag.Flag {
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
func targetFlags() []*pflag.Flag { return wordFlags(targetHeading, inGroup(experiment.OfTarget)) }

// runFlags say how a run goes.
func runFlags() []*pflag.Flag {
	fs := []*pflag.Flag{listFlag(runHeading, "fault", "`SPEC` another fault on the same connections: NAME or NAME:knob=value,…; repeatable")}
	expects := func(w experiment.Word) bool {
		return w.Name == "expect-fired" || w.Name == "allow-idle" || w.Name == "may-idle"
	}
	fs = append(fs, wordFlags(runHeading, func(w experiment.Word) bool { return w.Group == experiment.OfRun && !expects(w) })...)
	fs = append(fs, toggleFlag(runHeading, "dry-run", "show the rules and the connections that they match now; change nothing"))
	fs = append(fs, wordFlags(runHeading, expects)...)
	return append(append(fs, outputFlag(runHeading), quietFlag()), leavingFlags()...)
}

// leavingFlags say which files a run writes, and what it logs.
func leavingFlags() []*pflag.Flag {
	return append(wordFlags(runHeading, inGroup(experiment.OfOutput)),
		valueFlag(runHeading, "log-level", "`LEVEL` debug, info, warn or error, on stderr (default warn)"),
		toggleFlag(runHeading, "show-secrets", "keep passwords and tokens in the command lines and output that are printed and written"))
}

// quietFlag is that of commands that print a line for each connection.
func quietFlag() *pflag.Flag {
	f := toggleFlag(runHeading, "quiet", "print no line for each connection and strike, only changes and the summary")
	f.Shorthand = "q"
	return f
}

func outputFlag(heading string) *pflag.Flag {
	return valueFlag(heading, "output", "`text|json` how results are printed (default text)", "o")
}

// knobFlags are the settings of a fault as flags.
func knobFlags(k faults.Kind) []*pflag.Flag {
	var fs []*pflag.Flag
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
func triggerHelp(fs []*pflag.Flag) string {
	if !slices.ContainsFunc(fs, func(f *pflag.Flag) bool { return f.Value.Type() == "TRIGGER" }) {
		return ""
	}
	return "TRIGGER is the moment at which the fault fires, once per connection: " + strings.Join(faults.TriggerForms, ", ") + "."
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

// takesValue reports whether a flag has a value of its own: a toggle has not.
func takesValue(f *pflag.Flag) bool { return f.NoOptDefVal != "true" }

// without leaves out the flags of some names.
func without(fs []*pflag.Flag, names ...string) []*pflag.Flag {
	return slices.DeleteFunc(fs, func(f *pflag.Flag) bool { return slices.Contains(names, f.Name) })
}
