package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func allFlag() []*pflag.Flag {
	return []*pflag.Flag{toggleFlag(otherHeading, "all", "all runs of this user; as root, of all users")}
}

func (inv *invocation) stopCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "stop ID…|--all", Short: "stop runs: they end cleanly, as by Ctrl-C", ValidArgsFunction: inv.completeRun,
		Long:    "ID is what faultctl ps says: a process, or ID/RUN for one run of a process. It returns when they have ended. A process that is stopped exits with 143, as by SIGTERM.",
		Example: "faultctl stop 4242\nsudo faultctl stop --all",
	}, allFlag(), func(c *call) error {
		return inv.each(c, "stopped", func(o one) error {
			do := o.Client.Stop
			if o.run != "" && len(o.Experiments) > 1 {
				do = func(ctx context.Context) error { return o.Client.StopRun(ctx, o.run) }
			} else {
				o.run = ""
			}
			if err := do(c.Context()); err != nil {
				return err
			}
			if !inv.gone(c.Context(), o) {
				return event.Failuref("", "%s was asked to stop, and has not ended after 15s", o).WithAdvice("kill -9 ends the process at once; the kernel takes its rules out.")
			}
			return nil
		})
	})
}

func (inv *invocation) pauseCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "pause ID…|--all", Short: "pause runs: packets pass until they are resumed", ValidArgsFunction: inv.completeRun,
		Long:    "ID is what faultctl ps says: a process, or ID/RUN for one run of a process. Packets that a fault held leave first. The time of a run goes on.",
		Example: "faultctl pause 4242\nfaultctl pause --all",
	}, allFlag(), func(c *call) error {
		return inv.each(c, "paused", func(o one) error {
			if o.run != "" {
				return o.Client.PauseRun(c.Context(), o.run)
			}
			return o.Client.Pause(c.Context())
		})
	})
}

func (inv *invocation) resumeCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "resume ID…|--all", Short: "resume runs that are paused", ValidArgsFunction: inv.completeRun,
		Long:    "ID is what faultctl ps says: a process, or ID/RUN for one run of a process. The next matching packet is judged.",
		Example: "faultctl resume 4242\nfaultctl resume --all",
	}, allFlag(), func(c *call) error {
		return inv.each(c, "resumed", func(o one) error {
			if o.run != "" {
				return o.Client.ResumeRun(c.Context(), o.run)
			}
			return o.Client.Resume(c.Context())
		})
	})
}

// each does something with every run that the command line names, also if it fails
// with one.
func (inv *invocation) each(c *call, done string, do func(one) error) error {
	all, err := inv.chosen(c, c.words)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintln(inv.stdout, "no run is going on")
	}
	var errs []error
	for _, o := range all {
		if err := do(o); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(inv.stdout, "%s %s\n", done, o)
	}
	return errors.Join(errs...)
}

func (inv *invocation) setCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "set ID NAME=VALUE…", Short: "change runs while they go on", ValidArgsFunction: inv.completeRun,
		Long: "ID is what faultctl ps says: a process, or ID/RUN for one run of a process. NAME is percent, to, from, or a setting of one of its faults; " +
			"FAULT.NAME if several have it. to and from can be repeated. All changes of a run are made at once or not at all; no packet is lost.",
		Example: "faultctl set 4242 percent=20\nfaultctl set 4242 by=200ms to=:5432 to=:6379",
	}, nil, inv.set)
}

func (inv *invocation) set(c *call) error {
	if len(c.words) < 2 {
		return usageError("set: which run, and what?").WithAdvice("faultctl set 4242 percent=20; faultctl ps lists the runs.")
	}
	all, err := inv.chosen(c, c.words[:1])
	if err != nil {
		return err
	}
	o, changed := all[0], false
	for _, x := range o.Experiments {
		if o.run != "" && x.Name != o.run {
			continue
		}
		var spec experiment.Spec
		if err := json.Unmarshal(x.Spec, &spec); err != nil {
			return event.Failuref("", "the run of process %s cannot be read: %w", o.label(), err)
		}
		change, err := changeOf(spec, c.words[1:])
		if err != nil {
			return err
		}
		if _, err := o.Client.Change(c.Context(), x.Name, change); err != nil {
			return fmt.Errorf("set %s/%s: %w", o.label(), words.Foreign(x.Name), err)
		}
		changed = true
		fmt.Fprintf(inv.stdout, "changed %s: %s\n", one{o.Found, x.Name}, strings.Join(c.words[1:], " "))
	}
	if !changed {
		return usageError("set: process %s has no run at this moment", o.label()).WithAdvice("faultctl ps says what it does.")
	}
	return nil
}

// changeOf is what name=value says of a run, as data.
func changeOf(spec experiment.Spec, settings []string) (map[string]any, error) {
	target, change := map[string]any{}, map[string]any{}
	for _, s := range settings {
		name, value, ok := strings.Cut(s, "=")
		name = strings.TrimLeft(name, "-")
		w, known := experiment.FindWord(name)
		switch {
		case !ok || value == "":
			return nil, usageError("set %s: it is not NAME=VALUE", s).WithAdvice("For example percent=20.")
		case known && w.Kind == experiment.Many:
			list, _ := target[name].([]any)
			target[name] = append(list, value)
		case known && w.Group == experiment.OfTarget:
			target[name] = value
		case known:
			change[name] = value
		default:
			if err := setKnob(&spec, name, value); err != nil {
				return nil, err
			}
			change["fault"] = list(spec.FaultNames())
		}
	}
	if len(target) > 0 {
		change["target"] = target
	}
	return change, nil
}

func list(words []string) (all []any) {
	for _, w := range words {
		all = append(all, w)
	}
	return all
}

// setKnob sets a setting of the faults that have it; FAULT.NAME is that of one.
func setKnob(spec *experiment.Spec, name, value string) error {
	of, knob, dotted := strings.Cut(name, ".")
	if !dotted {
		of, knob = "", name
	}
	known, found := []string{"percent", "to", "from"}, false
	for i := range spec.Faults {
		f := &spec.Faults[i]
		kind, err := faults.Find(f.Name)
		if err != nil || of != "" && of != f.Name {
			continue
		}
		for _, k := range faults.Knobs(kind.New()) {
			known = append(known, k.Name)
			if k.Name != knob && !slices.Contains(k.Aliases, knob) {
				continue
			}
			found = true
			f.Knobs = append(slices.DeleteFunc(f.Knobs, func(has [2]string) bool { return has[0] == k.Name }), [2]string{k.Name, value})
		}
	}
	if !found {
		return usageError("set %s: the run has no such setting%s", name, words.DidYouMean(name, known)).
			WithAdvice("What can be changed: " + strings.Join(known, ", ") + ".")
	}
	return nil
}

// completeRun completes the ID of a run.
func (inv *invocation) completeRun(c *cobra.Command, args []string, _ string) (all []string, _ cobra.ShellCompDirective) {
	if c.Name() == "set" && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, _, _ := inv.find(c.Context())
	for _, f := range found {
		all = append(all, cobra.CompletionWithDesc(one{Found: f}.label(), words.Foreign(f.Line)))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
