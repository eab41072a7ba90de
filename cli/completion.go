package cli

import (
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/urfave/cli/v2"
)

func completionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:            "completion",
		Usage:           "print a completion script for bash, zsh or fish",
		UsageText:       "source <(faultctl completion bash)",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			var script func(*cli.App) string
			switch c.Args().First() {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = func(a *cli.App) string {
					return "#compdef faultctl\nautoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(a)
				}
			case "fish":
				script = fishCompletion
			default:
				return usageError("completion for which shell? bash, zsh or fish")
			}
			fmt.Fprint(e.stdout, script(c.App))
			return nil
		},
	}
}

// words are what may follow a command: its flags, and the faults where one is
// taken.
func words(cmd *cli.Command) (flags, names []string) {
	for _, f := range cmd.Flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				flags = append(flags, "--"+n)
			}
		}
	}
	if takesFault[cmd.Name] || cmd.Name == "faults" {
		names = faults.Names()
	}
	if cmd.Name == "completion" {
		names = []string{"bash", "zsh", "fish"}
	}
	return flags, names
}

func bashCompletion(app *cli.App) string {
	var b strings.Builder
	b.WriteString("_faultctl() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} words\n\tcase \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n")
	var top []string
	for _, cmd := range app.Commands {
		top = append(top, cmd.Name)
		for _, sub := range cmd.Subcommands {
			flags, _ := words(sub)
			fmt.Fprintf(&b, "\t'%s %s') words='%s' ;;\n", cmd.Name, sub.Name, strings.Join(flags, " "))
		}
	}
	b.WriteString("\t*) case \"${COMP_WORDS[1]}\" in\n")
	for _, cmd := range app.Commands {
		flags, names := words(cmd)
		fmt.Fprintf(&b, "\t\t%s) words='%s' ;;\n", cmd.Name, strings.Join(append(names, flags...), " "))
	}
	fmt.Fprintf(&b, "\t\t*) words='%s' ;;\n\t\tesac ;;\n\tesac\n", strings.Join(top, " "))
	fmt.Fprintf(&b, "\t[ \"$COMP_CWORD\" -eq 1 ] && words='%s'\n", strings.Join(top, " "))
	b.WriteString("\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _faultctl faultctl\n")
	return b.String()
}

func fishCompletion(app *cli.App) string {
	var b strings.Builder
	b.WriteString("complete -c faultctl -f\n")
	for _, cmd := range app.Commands {
		fmt.Fprintf(&b, "complete -c faultctl -n __fish_use_subcommand -a %s -d '%s'\n", cmd.Name, strings.ReplaceAll(cmd.Usage, "'", ""))
		_, names := words(cmd)
		if len(names) > 0 {
			fmt.Fprintf(&b, "complete -c faultctl -n '__fish_seen_subcommand_from %s' -a '%s'\n", cmd.Name, strings.Join(names, " "))
		}
		for _, owner := range append([]*cli.Command{cmd}, cmd.Subcommands...) {
			flags, _ := words(owner)
			for _, f := range flags {
				fmt.Fprintf(&b, "complete -c faultctl -n '__fish_seen_subcommand_from %s' -l %s\n", owner.Name, strings.TrimPrefix(f, "--"))
			}
		}
	}
	return b.String()
}
