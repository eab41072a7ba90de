package cli

import (
	"slices"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
)

// completionCommand is cobra's completion, for the shells of Linux.
func (inv *invocation) completionCommand(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, _ := root.Find([]string{"completion"})
	cmd.Use, cmd.Short, cmd.Long = "completion bash|zsh|fish", "print a completion script for bash, zsh or fish", ""
	var shells []string
	for _, sub := range cmd.Commands() {
		if sub.Name() == "powershell" {
			cmd.RemoveCommand(sub)
			continue
		}
		shells = append(shells, sub.Name())
		sub.Short = strings.Replace(sub.Short, "Generate the auto", "print the ", 1)
		sub.Args = func(c *cobra.Command, args []string) error { return noArguments(&call{c, args}) }
	}
	inv.complete(cmd, nil, func(c *call) error {
		e := usageError("completion: for which shell?")
		if len(c.words) > 0 {
			e = usageError("completion: unknown shell %q%s", c.first(), words.DidYouMean(c.first(), shells))
		}
		return e.WithAdvice("faultctl completion bash, zsh or fish; --help of each shows where the script goes.")
	})
}

// completeFault completes the FAULT of a command. What follows it is a command to
// run, or nothing.
func completeFault(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && takesCommand(cmd) {
		return nil, cobra.ShellCompDirectiveDefault
	} else if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []string
	for _, k := range faults.Catalog {
		all = append(all, cobra.CompletionWithDesc(k.Name, k.Cause))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// completeFiles completes the names of files with an extension.
func completeFiles(extensions ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(extensions, cobra.ShellCompDirectiveFilterFileExt)
}

// valueCompletion completes the value of a flag, where values are known.
func (inv *invocation) valueCompletion(fault, flag string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		var all []string
		switch flag {
		case "pcap", "report", "plan":
			return nil, cobra.ShellCompDirectiveDefault
		case "output":
			all = []string{"text", "json"}
		case "log-level":
			all = []string{"debug", "info", "warn", "error"}
		case "netns":
			all = inv.sys.NetNSNames()
		case "container":
			all = inv.sys.ContainerNames()
		case "fault", "faults", "may-idle":
			all, _ = completeFault(cmd, nil, typed)
		default:
			all = knobValues(fault, flag)
		}
		all = slices.DeleteFunc(all, func(c string) bool { return !strings.HasPrefix(c, typed) })
		if len(all) == 1 && strings.HasSuffix(all[0], "=") {
			return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// knobValues lists the values of a setting of a fault, as far as they are known.
func knobValues(fault, knob string) (all []string) {
	kind, err := faults.Find(fault)
	if err != nil {
		return nil
	}
	if knob == "preset" {
		for _, p := range kind.PresetValues() {
			all = append(all, cobra.CompletionWithDesc(p.Name, p.After+" "+p.Then))
		}
		return all
	}
	for _, k := range faults.Knobs(kind.New()) {
		switch {
		case k.Name != knob:
		case strings.Contains(k.Type, "|"):
			all = strings.Split(strings.TrimPrefix(k.Type, "|"), "|")
		case k.Type == "trigger":
			for _, t := range faults.Triggers {
				head, _, has := strings.Cut(t.Form, "=")
				if has {
					head += "="
				}
				if !slices.ContainsFunc(all, func(c string) bool { return strings.HasPrefix(c, head+"\t") }) {
					all = append(all, cobra.CompletionWithDesc(head, t.Moment)) // of several that begin alike the first
				}
			}
		}
	}
	return all
}
