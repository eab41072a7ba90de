package cli

import (
	"cmp"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// The scripts pass the words typed so far to faultctl __complete, which prints the
// candidates, one per line: name, tab, meaning. See docs/design/command-line.md for
// why urfave/cli does not do this.
var (
	//go:embed completion.bash
	bashScript string
	//go:embed completion.zsh
	zshScript string
	//go:embed completion.fish
	fishScript string
)

var shells = []string{"bash", "zsh", "fish"}

func (inv *invocation) completionCommand() *urfave.Command {
	return &urfave.Command{
		Name: "completion", Usage: "print a completion script for bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Description: "source <(faultctl completion bash)\n" +
			"faultctl completion zsh > \"${fpath[1]}/_faultctl\"\n" +
			"faultctl completion fish > ~/.config/fish/completions/faultctl.fish",
		Action: func(c *urfave.Context) error {
			script, ok := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Args().First()]
			if !ok || c.Args().Len() != 1 {
				e := usageError("completion: for which shell?")
				if !ok && c.Args().Present() {
					e = usageError("completion: unknown shell %q%s", c.Args().First(), words.DidYouMean(c.Args().First(), shells))
				}
				if ok {
					e = usageError("completion: unexpected argument %q", c.Args().Get(1))
				}
				return e.WithAdvice("faultctl completion bash, zsh or fish; --help shows where the script goes.")
			}
			fmt.Fprint(inv.stdout, script)
			return nil
		},
	}
}

// completeCommand is what the scripts call. Its arguments are the words behind
// faultctl; the last one is the word being typed, empty or not.
func (inv *invocation) completeCommand() *urfave.Command {
	return &urfave.Command{
		Name: "__complete", Hidden: true, SkipFlagParsing: true, HideHelp: true,
		Action: func(c *urfave.Context) error {
			args := c.Args().Slice()
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			for _, cand := range inv.complete(c.App, args) {
				fmt.Fprintf(inv.stdout, "%s\t%s\n", cand.word, cand.meaning)
			}
			return nil
		},
	}
}

type candidate struct{ word, meaning string }

// complete lists what the last of the words may become.
func (inv *invocation) complete(app *urfave.App, args []string) []candidate {
	if len(args) == 0 {
		args = []string{""}
	}
	last := args[len(args)-1]
	var all []candidate
	switch cmd := app.Command(args[0]); {
	case len(args) == 1:
		all = commandCandidates(app)
	case cmd != nil:
		all = inv.argumentCandidates(cmd, args[1:len(args)-1], last)
	}
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, last) })
}

func commandCandidates(app *urfave.App) []candidate {
	var all []candidate
	for _, c := range app.Commands {
		if !c.Hidden {
			all = append(all, candidate{c.Name, c.Usage})
		}
	}
	return append(all, candidate{"help", "say how to use a command"})
}

// argumentCandidates completes a word behind a command: the value of the flag
// before it, a flag, or a fault if there is none yet.
func (inv *invocation) argumentCandidates(cmd *urfave.Command, before []string, last string) []candidate {
	owner := cmd
	for _, w := range before {
		if sub := cmd.Command(strings.SplitN(w, ":", 2)[0]); sub != nil && owner == cmd {
			owner = sub
		}
	}
	if len(before) > 0 {
		prev := before[len(before)-1]
		if f := findFlag(allFlags(owner), strings.TrimLeft(prev, "-")); strings.HasPrefix(prev, "-") && f != nil && takesValue(f) {
			name := f.Names()[0]
			if slices.Contains([]string{"pcap", "report", "plan"}, name) {
				return fileCandidates(last)
			}
			return inv.valueCandidates(owner.Name, name)
		}
	}
	switch {
	case strings.HasPrefix(last, "-"):
		return flagCandidates(owner.Flags)
	case cmd.Name == "completion" && len(before) == 0:
		return []candidate{{"bash", ""}, {"zsh", ""}, {"fish", ""}}
	case owner == cmd && takesFault(cmd):
		return faultCandidates()
	case owner == cmd && len(cmd.Subcommands) > 0:
		var all []candidate
		for _, sub := range cmd.Subcommands {
			all = append(all, candidate{sub.Name, sub.Usage})
		}
		return all
	case cmd.Name == "scenario":
		return fileCandidates(last, ".yaml", ".yml", ".json")
	case cmd.Name == "replay":
		return fileCandidates(last)
	}
	return nil
}

// fileCandidates lists the directories that the last word may become, and the
// files with one of the extensions, any if none is named.
func fileCandidates(last string, extensions ...string) []candidate {
	dir := last[:strings.LastIndexByte(last, '/')+1]
	entries, _ := os.ReadDir(cmp.Or(dir, "."))
	var all []candidate
	for _, e := range entries {
		switch {
		case e.IsDir():
			all = append(all, candidate{dir + e.Name() + "/", ""})
		case len(extensions) == 0 || slices.Contains(extensions, filepath.Ext(e.Name())):
			all = append(all, candidate{dir + e.Name(), ""})
		}
	}
	return all
}

func faultCandidates() []candidate {
	var all []candidate
	for _, k := range faults.Catalog {
		all = append(all, candidate{k.Name, k.Cause})
	}
	return all
}

func flagCandidates(fs []urfave.Flag) []candidate {
	var all []candidate
	for _, f := range fs {
		_, usage := flagHelp(f)
		all = append(all, candidate{"--" + f.Names()[0], usage})
	}
	return append(all, candidate{"--help", "say how to use it"})
}

// valueCandidates lists the values of a flag, where they are known.
func (inv *invocation) valueCandidates(fault, flag string) []candidate {
	list := func(words []string) []candidate {
		var all []candidate
		for _, w := range words {
			if w != "" {
				all = append(all, candidate{w, ""})
			}
		}
		return all
	}
	switch flag {
	case "output":
		return list([]string{"text", "json"})
	case "log-level":
		return list([]string{"debug", "info", "warn", "error"})
	case "netns":
		return list(inv.sys.NetNSNames())
	case "container":
		return list(inv.sys.ContainerNames())
	case "fault", "faults":
		return faultCandidates()
	}
	kind, err := faults.Find(fault)
	if err != nil {
		return nil
	}
	if flag == "preset" {
		var all []candidate
		for _, p := range presets(kind) {
			all = append(all, candidate{p.Name, p.After + " " + p.Then})
		}
		return all
	}
	for _, k := range faults.Knobs(kind.New()) {
		if k.Name == flag && strings.Contains(k.Type, "|") {
			return list(strings.Split(k.Type, "|"))
		}
		if k.Name == flag && k.Type == "trigger" {
			var all []candidate
			for _, t := range faults.Triggers {
				head, _, has := strings.Cut(t.Form, "=")
				if has {
					head += "="
				}
				if !slices.ContainsFunc(all, func(c candidate) bool { return c.word == head }) {
					all = append(all, candidate{head, t.Moment}) // of several that begin alike the first
				}
			}
			return all
		}
	}
	return nil
}
