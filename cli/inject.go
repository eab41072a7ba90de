package cli

import (
	"context"
	"strings"
	"sync"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	urfave "github.com/urfave/cli/v2"
)

// injectCommand is faultctl inject FAULT [flags].
func (inv *invocation) injectCommand() *urfave.Command {
	return underFault(&urfave.Command{
		Name:      "inject",
		Usage:     "inject a fault into connections until Ctrl-C or --duration",
		ArgsUsage: "FAULT [flags]",
		Description: "faultctl inject idle-expire --after 300s --to :5432\n" +
			"faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n" +
			"faultctl inject syn-drop:attempts=1 --fault idle-expire:after=5s --to :6379 -o json",
	}, "faultctl inject idle-expire --after 300s --to :5432",
		func() []urfave.Flag { return append(targetFlags(), runFlags()...) },
		func(example string) string { return example }, inv.inject)
}

// underFault completes a command that takes a FAULT: each fault of the catalogue
// becomes a subcommand, with the fault's settings as flags. example is a command
// line, shown says how it does what the catalogue's example of a fault does,
// flags makes those of the command, and do carries it out: first is the FAULT
// whose knobs are flags of c, empty if --fault alone names any.
func underFault(cmd *urfave.Command, example string, flags func() []urfave.Flag, shown func(string) string, do func(c *urfave.Context, first string) error) *urfave.Command {
	cmd.Flags = flags()
	cmd.Action = func(c *urfave.Context) error {
		if len(c.StringSlice("fault")) == 0 {
			return usageError("%s: which FAULT? For example: %s", cmd.Name, example).
				WithAdvice("There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults says what they do.")
		}
		return do(c, "")
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &urfave.Command{
			Name: kind.Name, Usage: kind.Cause, ArgsUsage: strings.TrimPrefix(cmd.ArgsUsage, "FAULT "),
			Description: shown(kind.Example),
			Flags:       append(knobFlags(kind), flags()...),
			Action:      func(c *urfave.Context) error { return do(c, kind.Name) },
		})
	}
	return cmd
}

// inject runs faults in the foreground. first is the FAULT whose settings are
// flags of c; there may be none.
func (inv *invocation) inject(c *urfave.Context, first string) error {
	if err := noArguments(c); err != nil {
		return err
	}
	spec, err := inv.spec(c, first)
	if err != nil {
		return err
	}
	sys := inv.system()
	p, err := sys.Plan(c.Context, spec)
	if err != nil {
		return err
	}
	defer p.Close()
	if inv.dryRun {
		return inv.showDryRun(p)
	}
	return inv.strike(c.Context, p, nil)
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
	ev.Named(p.CommandLine(), p.Seed())
	ctx, release := inv.untilSignal(ctx)
	defer release()
	rec.Attend(p)
	record := ev.Attend(p)
	out := inv.printer(p, inv.stdout)
	p.Observe(experiment.Observer{Event: out.event})
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
	if code := p.Spec.Judge(result.Stats, outcome.NoCommand).Code(); code != event.CodeOK {
		return quietExit(int(code))
	}
	return nil
}
