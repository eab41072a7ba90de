package cli

import (
	"context"
	"fmt"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/experiment/survival"
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verifyCommand is faultctl verify [flags] -- CMD [ARG…].
func (inv *invocation) verifyCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use:   "verify [flags] -- CMD [ARG…]",
		Short: "run a command under each reset cause and report which it survives",
		Example: "faultctl verify --to :5432 -- go test ./storage/...\n" +
			"faultctl verify --faults idle-expire:after=2s,refuse,reset -- ./integration-tests\n" +
			"faultctl verify --plan faults.txt --report survival.xml --repeat 3 -- pytest tests",
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}, verifyFlags(), inv.verify)
}

func verifyFlags() []*pflag.Flag {
	fs := without(caged(), "fault", "duration", "start-after", "dry-run", "expect-fired", "allow-idle", "may-idle", "timeout", "output", "quiet")
	mayIdle, _ := experiment.FindWord("may-idle")
	return append(fs,
		valueFlag(runHeading, "plan", "`FILE` the faults, a SPEC on each line; # begins a comment; - is standard input"),
		listFlag(runHeading, "faults", "`SPEC,…` the faults; a bare name has the default plan's settings, the first if it tries several; repeatable"),
		valueFlag(runHeading, "timeout", "`D` end a run of CMD after D; 0: no limit (default ten times the healthy run, at least 30s)"),
		valueFlag(runHeading, "repeat", "`N` run CMD N times under each fault, and N times without one"),
		valueFlag(runHeading, "jobs", "`N` try N cases at the same time, for a CMD of which several may run at once (default 1)"),
		outputFlag(runHeading),
		toggleFlag(runHeading, "dry-run", "print the plan; run nothing"),
		toggleFlag(runHeading, "expect-fired", "exit 4 if a fault never fired (the default)"),
		toggleFlag(runHeading, "allow-idle", "turn --expect-fired off"),
		wordFlag(runHeading, mayIdle),
	)
}

// verify runs a command without a fault and then under each of a plan.
func (inv *invocation) verify(c *call) error {
	if word := c.first(); len(c.words) > 0 {
		e := usageError("verify: unexpected argument %q", word)
		if _, err := faults.ParseSpecs(word); err == nil {
			return e.WithAdvice("Name faults with --faults " + word + "; without it every reset cause is tried.")
		}
		return e.WithAdvice("Put -- before the command to run, such as: faultctl verify -- " + word + ".")
	}
	spec, err := inv.survivalSpec(c)
	if err != nil {
		return err
	}
	return inv.survive(c.Context(), spec, nil)
}

// survivalSpec reads what the flags of verify say.
func (inv *invocation) survivalSpec(c *call) (s survival.Spec, err error) {
	problems := emptyFlags(c)
	keep := func(err error) {
		if err != nil {
			problems = append(problems, problemsOf(err)...)
		}
	}
	for _, word := range []string{"faults", "timeout", "repeat", "jobs"} {
		switch {
		case !c.IsSet(word):
		case word == "faults":
			keep(s.Set(word, c.StringSlice(word)...))
		case c.String(word) != "":
			keep(s.Set(word, c.String(word)))
		}
	}
	if c.IsSet("plan") && c.IsSet("faults") {
		keep(usageError("--plan and --faults both name the faults: give one"))
	} else if c.IsSet("plan") && c.String("plan") != "" {
		keep(s.ReadPlan(c.String("plan"), inv.childIn))
	}
	problems = append(problems, readWords(c, &s.Base, "timeout")...)
	if s.Base.Command = inv.command; len(inv.command) == 0 {
		keep(noCommand(c))
	}
	if len(problems) == 0 {
		problems = s.Validate()
	}
	return s, problems.Err()
}

// survive carries a verify out, or shows what it would do. rec is the recording
// whose decisions are made again; nil: none is.
func (inv *invocation) survive(ctx context.Context, spec survival.Spec, rec *replay.Recording) (err error) {
	if err, done := inv.enterFor(&spec.Base); done {
		return err
	}
	sys := inv.system()
	p, err := survival.NewPlan(ctx, sys, spec)
	if err != nil {
		return err
	}
	defer p.Close()
	if inv.dryRun {
		inv.showPlan(p)
		return nil
	}
	defer inv.reachable(ctx, sys)()
	ev, err := inv.evidence(&spec.Base)
	if err != nil {
		return err
	}
	defer func() { err = inv.leave(ev, false, err) }()
	ctx, release := inv.untilSignal(ctx)
	defer release()
	free, err := inv.keepRights()
	if err != nil {
		return err
	}
	defer free()
	var stage place.Stage
	stage.Path, _ = p.Base.FindCommand() // while it may be looked for everywhere; Run says what is wrong
	inv.giveUp(append(needsOf(&spec.Base), inv.needsLater(&spec.Base)...))
	printer := inv.verifyPrinter(p, ev, rec)
	cases, err := survival.Run(ctx, p, stage, ev, printer)
	printer.close()
	if cut := cutShort(ctx); err == nil && cut != nil {
		return cut
	}
	if err != nil {
		return err
	}
	if code := p.Code(cases); code != event.CodeOK {
		return quietExit(int(code))
	}
	return nil
}

// verifyAgain does what a verify recorded.
func (inv *invocation) verifyAgain(ctx context.Context, rec *replay.Recording) error {
	s := survival.Spec{Base: rec.Spec, Repeat: rec.Runs, Timeout: rec.Spec.Timeout}
	s.Base.Timeout = nil
	for _, rule := range rec.Cases {
		var one survival.Case
		for _, text := range rule.Faults {
			specs, err := faults.ParseSpecs(text)
			if err != nil {
				return usageError("replay: the recorded case %s: %w", text, err)
			}
			one.Faults = append(one.Faults, specs...)
		}
		s.Cases = append(s.Cases, one)
	}
	return inv.survive(ctx, s, rec)
}

// showPlan prints what would be tried: a case a line, or an event.
func (inv *invocation) showPlan(p *survival.Plan) {
	for _, e := range p.DryRun() {
		if inv.json {
			inv.events.Write(inv.sys.Now(), e)
		} else {
			fmt.Fprintln(inv.stdout, e.Case)
		}
	}
}
