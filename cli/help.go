package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// printHelp writes the help of the program or of a command. It has the form
// that urfave/cli wants of its HelpPrinter.
func (h *host) printHelp(w io.Writer, _ string, what any) {
	switch what := what.(type) {
	case *urfave.App:
		h.appHelp(w, what)
	case *urfave.Command:
		if what.HelpName == "" || what.Name == "faultctl" {
			return
		}
		h.commandHelp(w, what)
	}
}

// appHelp fits one screen of 80 columns and 24 lines.
func (h *host) appHelp(w io.Writer, app *urfave.App) {
	fmt.Fprintf(w, "faultctl - %s\n\nusage: faultctl COMMAND [flags]\n\n", app.Usage)
	for _, c := range app.Commands {
		if !c.Hidden {
			fmt.Fprintf(w, "  %s  %s\n", pad(c.Name, 10), c.Usage)
		}
	}
	fmt.Fprint(w, "\nexamples:\n"+
		"  faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n"+
		"  faultctl verify --to :8080 -- ./my-test\n"+
		"\nfaultctl COMMAND --help says more. Each flag has an environment variable, such\n"+
		"as FAULTCTL_TO. Exit codes: 0 fine, 1 failure, 2 usage, 3 a check failed, 4 the\n"+
		"fault never fired, 5 permission or kernel feature missing, 6 refused, 130 ^C.\n")
}

func (h *host) commandHelp(w io.Writer, c *urfave.Command) {
	width := h.columns()
	fmt.Fprintf(w, "usage: %s\n\n%s\n", strings.TrimSpace(c.HelpName+" "+c.ArgsUsage), wrap(sentence(c.Usage), "", width))
	if takesFault(c) {
		fmt.Fprintf(w, "\nFAULT, or a SPEC with its settings inside (NAME:knob=value,…), is one of\n%s\n%s\n",
			wrap(strings.Join(faults.Names(), ", "), "  ", width),
			wrap("faultctl faults says what they do, "+c.HelpName+" FAULT --help what the settings of one are.", "", width))
	}
	if len(c.Subcommands) > 0 && !takesFault(c) {
		fmt.Fprintln(w)
		for _, sub := range c.Subcommands {
			fmt.Fprintln(w, hanging("  "+pad(sub.Name, 10), sub.Usage, width))
		}
	}
	for _, heading := range []string{faultHeading, targetHeading, runHeading, otherHeading} {
		printFlags(w, heading, c.Flags, width)
		if text := triggerHelp(c.Flags); heading == faultHeading && text != "" {
			fmt.Fprintln(w, wrap(text, "  ", width))
		}
	}
	if c.Description != "" {
		fmt.Fprintf(w, "\nexamples:\n%s\n", indent(c.Description, "  "))
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
		if runes(left) > column-2 {
			fmt.Fprintf(w, "%s\n%s\n", left, wrap(usage, strings.Repeat(" ", column), width))
			continue
		}
		fmt.Fprintln(w, hanging(pad(left, column), usage, width))
	}
}

// flagHelp is a flag with its placeholder, and what it is for.
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

// hanging puts the first line of a text behind a label and the others below
// it.
func hanging(label, text string, width int) string {
	wrapped := wrap(text, strings.Repeat(" ", runes(label)), width)
	return label + strings.TrimLeft(wrapped, " ")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(text, "\n", "\n"+by)
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	s = strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
