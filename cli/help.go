package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// printHelp writes the help of the program or of a command. It is urfave's
// HelpPrinter; see docs/design/command-line.md for why the library's own is not used.
func (inv *invocation) printHelp(w io.Writer, _ string, what any) {
	switch what := what.(type) {
	case *urfave.App:
		inv.appHelp(w, what)
	case *urfave.Command:
		if what.HelpName == "" || what.Name == "faultctl" {
			return
		}
		inv.commandHelp(w, what)
	}
}

// appHelp fits one screen of 80 columns and 24 lines.
func (inv *invocation) appHelp(w io.Writer, app *urfave.App) {
	fmt.Fprintf(w, "faultctl - %s\n\nusage: faultctl COMMAND [flags]\n\n", app.Usage)
	for _, c := range app.Commands {
		if !c.Hidden {
			fmt.Fprintf(w, "  %s  %s\n", text.Pad(c.Name, 10), c.Usage)
		}
	}
	fmt.Fprint(w, "\nexamples:\n"+
		"  faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n"+
		"  faultctl verify --to :8080 -- ./my-test\n"+
		"\nfaultctl COMMAND --help lists its flags. Each has an environment variable, such\n"+
		"as FAULTCTL_TO. Exit codes: 0 fine, 1 failure, 2 usage, 3 a check failed, 4 the\n"+
		"fault never fired, 5 permission or kernel feature missing, 6 refused, 130 ^C.\n")
}

func (inv *invocation) commandHelp(w io.Writer, c *urfave.Command) {
	width := inv.columns()
	fmt.Fprintf(w, "usage: %s\n\n%s\n", strings.TrimSpace(c.HelpName+" "+c.ArgsUsage), text.Wrap(text.Sentence(c.Usage), "", width))
	if takesFault(c) {
		fmt.Fprintf(w, "\nFAULT is one of these, or a SPEC, which has settings too (NAME:knob=value,…):\n%s\n%s\n",
			text.Wrap(strings.Join(faults.Names(), ", "), "  ", width),
			text.Wrap("faultctl faults describes them; "+c.HelpName+" FAULT --help lists the settings of one.", "", width))
	}
	if len(c.Subcommands) > 0 && !takesFault(c) {
		fmt.Fprintln(w)
		for _, sub := range c.Subcommands {
			fmt.Fprintln(w, text.Hanging("  "+text.Pad(sub.Name, 10), sub.Usage, width))
		}
	}
	for _, heading := range []string{faultHeading, targetHeading, runHeading, otherHeading} {
		printFlags(w, heading, c.Flags, width)
		if help := triggerHelp(c.Flags); heading == faultHeading && help != "" {
			fmt.Fprintln(w, text.Wrap(help, "  ", width))
		}
	}
	if c.Description != "" {
		fmt.Fprintf(w, "\nexamples:\n%s\n", text.Indent(c.Description, "  "))
	}
}

// printFlags writes the flags of one heading, if there are any.
func printFlags(w io.Writer, heading string, fs []urfave.Flag, width int) {
	const column = 30
	titled := false
	for _, f := range fs {
		if c, ok := f.(urfave.CategorizableFlag); !ok || c.GetCategory() != heading {
			continue
		}
		if !titled {
			fmt.Fprintf(w, "\n%s:\n", heading)
			titled = true
		}
		left, usage := flagHelp(f)
		if text.Width(left) > column-2 {
			fmt.Fprintf(w, "%s\n%s\n", left, text.Wrap(usage, strings.Repeat(" ", column), width))
			continue
		}
		fmt.Fprintln(w, text.Hanging(text.Pad(left, column), usage, width))
	}
}

// flagHelp returns a flag with its placeholder, and its description.
func flagHelp(f urfave.Flag) (left, usage string) {
	usage = f.(urfave.DocGenerationFlag).GetUsage()
	left = "  --" + f.Names()[0]
	for _, alias := range f.Names()[1:] {
		if len(alias) == 1 { // old spellings stand in the text
			left += ", -" + alias
		}
	}
	if rest, ok := strings.CutPrefix(usage, "`"); ok {
		arg, text, _ := strings.Cut(rest, "`")
		return left + " " + arg, strings.TrimSpace(text)
	}
	return left, usage
}

// helpFlag turns help COMMAND FAULT into COMMAND FAULT --help.
func helpFlag(app *urfave.App, args []string, getenv func(string) string) ([]string, error) {
	words := args[2:]
	if len(words) > 1 {
		if cmd := app.Command(words[0]); cmd != nil && len(cmd.Subcommands) == 0 {
			return nil, usageError("help %s: %s takes no fault", words[0], words[0])
		}
	}
	return arrange(app, slices.Concat(args[:1], words, []string{"--help"}), getenv)
}
