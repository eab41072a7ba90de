package cli

import (
	"strings"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	"github.com/urfave/cli/v2"
)

// The headings under which help shows flags.
const (
	faultHeading  = "Fault"
	targetHeading = "Target"
	runHeading    = "Run"
	otherHeading  = "Other"
)

// text, list, toggle make flags. Every value is read as a string and parsed by
// this package, so that errors are ours. The placeholder stands in the usage
// in back quotes. Each flag has its environment variable.
func text(heading, name, usage string, aliases ...string) cli.Flag {
	env := []string{envVar(name)}
	for _, a := range aliases {
		if len(a) > 1 { // an old spelling
			env = append(env, envVar(a))
		}
	}
	return &cli.StringFlag{Name: name, Aliases: aliases, Category: heading, Usage: usage, EnvVars: env}
}

func list(heading, name, usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Category: heading, Usage: usage, EnvVars: []string{envVar(name)}}
}

func toggle(heading, name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Category: heading, Usage: usage, EnvVars: []string{envVar(name)}}
}

func envVar(flag string) string {
	return "FAULTCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// targetFlags choose the connections.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		list(targetHeading, "to", "`[HOST|CIDR]:PORTS` the service end: :5432, 10.0.0.5:80,443, [fd00::5]:8000-8100; ! excludes; repeatable"),
		list(targetHeading, "from", "`HOST|CIDR` the client end; repeatable"),
		text(targetHeading, "netns", "`NAME|PATH` work in that network namespace"),
		text(targetHeading, "pid", "`PID` work in that process's network namespace"),
		text(targetHeading, "container", "`NAME|ID` work in that container's network namespace, and follow it when it is restarted (Docker, Podman)"),
		text(targetHeading, "cgroup", "`PATH` only connections of local processes in that cgroup v2"),
		text(targetHeading, "uid", "`USER` only connections of local processes of that user"),
		text(targetHeading, "percent", "`P` this share of the connections, seeded and sticky"),
		text(targetHeading, "every", "`N` every Nth connection"),
		text(targetHeading, "first", "`N` only the first N connections"),
		text(targetHeading, "skip", "`N` leave the first N connections alone"),
		text(targetHeading, "max-connections", "`N` stop choosing after N: the blast radius"),
		toggle(targetHeading, "new-only", "leave connections alone that were open before"),
	}
}

// runFlags say how a run goes.
func runFlags() []cli.Flag {
	return append([]cli.Flag{
		list(runHeading, "fault", "`SPEC` one more fault on the same connections: NAME or NAME:knob=value,…; repeatable"),
		text(runHeading, "duration", "`D` end by itself after D, such as 60s; 0: no end"),
		text(runHeading, "start-after", "`D` wait before the rules go in"),
		text(runHeading, "resolve-every", "`D` look host names up again so often (default 30s; 0: never)"),
		text(runHeading, "seed", "`N` repeat a run: same seed, same choices"),
		text(runHeading, "queues", "`N` share the work among N queues and threads, by pairs of hosts; 16 at most (default 1)"),
		toggle(runHeading, "dry-run", "show the rules and what they would hit; touch nothing"),
		toggle(runHeading, "expect-fired", "exit 4 if a fault never fired"),
		toggle(runHeading, "allow-idle", "turn --expect-fired off"),
		outputFlag(runHeading),
	}, leavingFlags()...)
}

// leavingFlags say what a run leaves besides what it prints.
func leavingFlags() []cli.Flag {
	return []cli.Flag{
		text(runHeading, "pcap", "`FILE` write what was done to packets, as pcapng: Wireshark shows the reason on each"),
		list(runHeading, "report", "`FILE` write a report: FILE.html, .xml (JUnit), .md or .json; repeatable"),
		text(runHeading, "metrics", "`ADDR` serve counters to Prometheus, such as 127.0.0.1:9187"),
		text(runHeading, "log-level", "`LEVEL` debug, info, warn or error, on stderr (default warn)"),
	}
}

func outputFlag(heading string) cli.Flag {
	return text(heading, "output", "`text|json` how results are printed (default text)", "o")
}

// knobFlags are the settings of a fault as flags.
func knobFlags(k faults.Kind) []cli.Flag {
	var fs []cli.Flag
	for _, knob := range faults.Knobs(k.New()) {
		if knob.Type == "bool" {
			fs = append(fs, toggle(faultHeading, knob.Name, knob.Help))
			continue
		}
		usage := "`" + placeholder(knob) + "` " + knob.Help
		if d := shownDefault(knob); d != "" {
			usage += " (default " + d + ")"
		}
		fs = append(fs, text(faultHeading, knob.Name, usage, knob.Aliases...))
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
func triggerHelp(fs []cli.Flag) string {
	for _, f := range fs {
		if left, _ := flagHelp(f); strings.HasSuffix(left, " TRIGGER") {
			return "TRIGGER is the moment: " + strings.Join(faults.TriggerForms, ", ") + ". It comes once a connection."
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

func flagNames(fs []cli.Flag) []string {
	var names []string
	for _, f := range fs {
		names = append(names, f.Names()...)
	}
	return names
}

// takesValue reports whether a flag is followed by its value.
func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// findFlag returns the flag of that name or alias, or nil.
func findFlag(fs []cli.Flag, name string) cli.Flag {
	for _, f := range fs {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

// wantsJSON reads --output.
func wantsJSON(c *cli.Context) (bool, error) {
	switch o := c.String("output"); o {
	case "", "text":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, usageError("%s: --output %q is neither text nor json%s", c.Command.Name, o, words.DidYouMean(o, []string{"text", "json"}))
	}
}
