package cli

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// injectCommand is faultctl inject FAULT [flags].
func (inv *invocation) injectCommand(fault *faults.Kind) *cobra.Command {
	return inv.underFault(&cobra.Command{
		Use:   "inject FAULT [flags]",
		Short: "inject a fault into connections until Ctrl-C or --duration",
		Example: "faultctl inject idle-expire --after 300s --to :5432\n" +
			"faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n" +
			"faultctl inject syn-drop:attempts=1 --fault idle-expire:after=5s --to :6379 -o json",
	}, fault, "faultctl inject idle-expire --after 300s --to :5432", append(targetFlags(), runFlags()...),
		func(example string) string { return example }, inv.inject)
}

// underFault completes a command that takes a FAULT: the settings of the one that
// it was called with, nil if there is none, are flags of it. example is a command
// line, shown says how it does what the catalogue's example of a fault does.
func (inv *invocation) underFault(cmd *cobra.Command, fault *faults.Kind, example string, flags []*pflag.Flag, shown func(string) string, do func(*call) error) *cobra.Command {
	cmd.ValidArgsFunction = completeFault
	cmd.Long = "FAULT is one of these, or a SPEC, which has settings too (NAME:knob=value,…):\n" + strings.Join(faults.Names(), ", ") + "\n" +
		"faultctl faults describes them; faultctl " + strings.Fields(cmd.Use)[0] + " FAULT --help lists the settings of one."
	if fault != nil {
		cmd.Short, cmd.Example, cmd.Annotations = fault.Cause, shown(fault.Example), map[string]string{faultNamed: fault.Name}
		flags = append(knobFlags(*fault), flags...)
	}
	return inv.complete(cmd, flags, func(c *call) error {
		switch {
		case len(c.words) == 0 && len(c.StringSlice("fault")) == 0:
			return usageError("%s: which FAULT? For example: %s", cmd.Name(), example).
				WithAdvice("There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults says what they do.")
		case len(c.words) > 1:
			return unexpected(c, c.words[1])
		}
		return do(c)
	})
}

// inject runs faults in the foreground.
func (inv *invocation) inject(c *call) error {
	spec, err := inv.spec(c)
	if err != nil {
		return err
	}
	sys := inv.system()
	p, err := sys.Plan(c.Context(), spec)
	if err != nil {
		return err
	}
	defer p.Close()
	if inv.dryRun {
		return inv.showDryRun(p)
	}
	defer inv.reachable(c.Context(), sys)()
	return inv.strike(c.Context(), p, nil)
}

// strike carries out a plan in the foreground until its duration is over, standard
// output breaks or a signal arrives; all of these end it cleanly. A second
// signal ends the process at once. rec is the recording whose decisions are made
// again; nil: none is.
func (inv *invocation) strike(ctx context.Context, p *experiment.Plan, rec *replay.Recording) (err error) {
	ev, err := inv.evidence(&p.Spec)
	if err != nil {
		return err
	}
	defer func() { err = inv.leave(ev, false, err) }()
	if p.Spec.WhileRuns() {
		release, err := inv.keepRights()
		if err != nil {
			return err
		}
		defer release()
	}
	ev.Named(p.CommandLine(), p.Seed())
	ctx, release := inv.untilSignal(ctx)
	defer release()
	rec.Attend(p)
	record := ev.Attend(p)
	out := inv.printer(p, inv.stdout)
	p.Observe(experiment.Observer{Event: out.event, Installed: func() { inv.giveUp(needsOf(&p.Spec)) }, Ending: inv.finishing})
	run, err := experiment.Start(ctx, p)
	if err != nil {
		ev.Add(evidence.Struck(p, experiment.Result{}, err), record)
		return err
	}
	var ticking sync.WaitGroup
	ticking.Go(func() { out.watch(run) })
	result, err := run.Wait()
	ticking.Wait()
	ev.Ended(result.Stats)
	out.ended(result)
	ev.Add(evidence.Struck(p, result, err), record)
	switch cut := cutShort(ctx); {
	case err != nil:
		return err
	case cut != nil:
		return cut
	}
	if gone, is := errors.AsType[*experiment.Unsteady](result.Cause); is {
		return event.Errorf(event.CodeProbe, "while", "failed %d times in a row, so the run was ended: %w", gone.Fails, gone.Says).WithValue(gone.Check).
			WithAdvice("Everything is as it was before the run.")
	}
	if code := p.Spec.Judge(result.Stats, outcome.NoCommand).Code(); code != event.CodeOK {
		return quietExit(int(code))
	}
	return nil
}
