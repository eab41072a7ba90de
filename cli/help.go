package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usage is how a command is called.
func usage(cmd *cobra.Command) string {
	line := strings.TrimSpace(cmd.UseLine())
	if fault := cmd.Annotations[faultNamed]; fault != "" {
		line = strings.NewReplacer(" [FAULT]", " "+fault, " FAULT", " "+fault).Replace(line)
	}
	return line
}

// help prints how to use a command, in place of cobra's template, whose lines are
// as long as their text, with all flags in one heap.
func (inv *invocation) help(cmd *cobra.Command, _ []string) {
	if !cmd.HasParent() {
		inv.overview(cmd)
		return
	}
	w, width := inv.stdout, inv.columns()
	fmt.Fprintf(w, "usage: %s\n\n%s\n", usage(cmd), text.Wrap(text.Sentence(cmd.Short), "", width))
	if cmd.Long != "" && cmd.Annotations[faultNamed] == "" {
		fmt.Fprintf(w, "\n%s\n", text.Wrap(cmd.Long, "", width))
	}
	for i, sub := range cmd.Commands() {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, text.Hanging("  "+text.Pad(sub.Name(), 10), sub.Short, width))
	}
	for _, heading := range []string{faultHeading, targetHeading, runHeading, toxiproxyHeading, otherHeading} {
		shown := pflag.NewFlagSet("", pflag.ContinueOnError)
		shown.SortFlags = false
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Annotations[headingOf] != nil && f.Annotations[headingOf][0] == heading {
				one := *f
				one.NoOptDefVal = "" // [=true] would be said of each toggle
				shown.AddFlag(&one)
			}
		})
		if !shown.HasFlags() {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n%s", heading, shown.FlagUsagesWrapped(width))
		if kind, err := faults.Find(cmd.Annotations[faultNamed]); err == nil && heading == faultHeading && triggerHelp(knobFlags(kind)) != "" {
			fmt.Fprintln(w, text.Wrap(triggerHelp(knobFlags(kind)), "  ", width))
		}
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nexamples:\n%s\n", text.Indent(cmd.Example, "  "))
	}
}

// overview fits one screen of 80 columns and 24 lines.
func (inv *invocation) overview(root *cobra.Command) {
	w := inv.stdout
	fmt.Fprintf(w, "faultctl - %s\n\nusage: faultctl COMMAND [flags]\n\n", root.Short)
	beside := []string{"top", "set", "pause", "resume", "stop", "serve", "connect", "version"} // one line is enough for them, and --version is known
	for _, c := range root.Commands() {
		switch {
		case c.Name() == "ps":
			fmt.Fprintf(w, "  %s  list runs; %s and %s reach them; see serve\n", text.Pad("ps", 10), strings.Join(beside[:4], ", "), beside[4])
		case c.IsAvailableCommand() && !slices.Contains(beside, c.Name()):
			fmt.Fprintf(w, "  %s  %s\n", text.Pad(c.Name(), 10), c.Short)
		}
	}
	fmt.Fprint(w, "\nexamples:\n"+
		"  faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n"+
		"  faultctl verify --to :8080 -- ./my-test\n"+
		"\nfaultctl COMMAND --help lists its flags. Each has an environment variable, such\n"+
		"as FAULTCTL_TO. Exit codes: 0 fine, 1 failure, 2 usage, 3 a check failed, 4 the\n"+
		"fault never fired, 5 permission or kernel feature missing, 6 refused, 130 ^C.\n")
}

// helpCommand is faultctl help COMMAND, which says what COMMAND --help does.
func (inv *invocation) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "say how to use a command",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (all []string, _ cobra.ShellCompDirective) {
			for _, sub := range c.Root().Commands() {
				if sub.IsAvailableCommand() && len(args) == 0 {
					all = append(all, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			switch {
			case err != nil:
				return usageError("help: %w", err)
			case !of.HasParent() && len(rest) > 0:
				return unknownCommand(of, rest[0])
			case len(rest) > 0 && takesFault(of) && inv.noFault != nil:
				return usageError("help %s: %w", of.Name(), inv.noFault).WithAdvice(specAdvice(inv.noFault))
			case len(rest) > 0 && of.Annotations[faultNamed] == "":
				return usageError("help %s: unexpected argument %q", of.Name(), rest[0])
			}
			inv.help(of, nil)
			return nil
		},
	}
}

func unknownCommand(root *cobra.Command, name string) *event.Error {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if _, err := faults.Find(name); err == nil {
		return usageError("unknown command %q: it is a fault; did you mean faultctl inject %s?", name, name)
	}
	return usageError("unknown command %q%s", name, words.DidYouMean(name, names)).
		WithAdvice("Commands: " + strings.Join(names, ", ") + ".")
}
