package cli

import (
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/experiment/survival"
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// verifyCommand is faultctl verify [flags] -- CMD [ARG…].
func (h *host) verifyCommand() *urfave.Command {
	return &urfave.Command{
		Name:      "verify",
		Usage:     "run a command under each reset cause, and say which it survives",
		ArgsUsage: "[flags] -- CMD [ARG…]",
		Description: "faultctl verify --to :5432 -- go test ./storage/...\n" +
			"faultctl verify --faults idle-expire:after=2s,refuse,reset -- ./integration-tests\n" +
			"faultctl verify --plan faults.txt --report survival.xml --repeat 3 -- pytest tests",
		Flags:  verifyFlags(),
		Action: h.verify,
	}
}

func verifyFlags() []urfave.Flag {
	fs := slices.DeleteFunc(caged(), func(f urfave.Flag) bool {
		return slices.Contains([]string{"fault", "duration", "start-after", "dry-run", "expect-fired", "allow-idle", "timeout", "output"}, f.Names()[0])
	})
	return append(fs,
		text(runHeading, "plan", "`FILE` the faults, a SPEC on each line; # begins a comment; - is standard input"),
		list(runHeading, "faults", "`SPEC,…` the faults; a bare name has the default plan's settings; repeatable"),
		text(runHeading, "timeout", "`D` end a run of CMD after D; 0: never (default ten times the healthy run, 30s at least)"),
		text(runHeading, "repeat", "`N` run CMD N times under each fault, and without"),
		outputFlag(runHeading),
		toggle(runHeading, "dry-run", "print the plan; run and touch nothing"),
		toggle(runHeading, "expect-fired", "exit 4 if a fault never fired (the default)"),
		toggle(runHeading, "allow-idle", "turn --expect-fired off"),
	)
}

// verify runs a command without a fault and then under each of a plan.
func (h *host) verify(c *urfave.Context) error {
	if word := c.Args().First(); c.Args().Present() {
		e := usageError("verify: unexpected argument %q", word)
		if _, err := faults.ParseSpecs(word); err == nil {
			return e.WithAdvice("Faults are given with --faults " + word + "; without it every reset cause is tried.")
		}
		return e.WithAdvice("The command to run stands behind --, such as: faultctl verify -- " + word + ".")
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	spec, err := h.survivalSpec(c)
	if err != nil {
		return err
	}
	return h.survive(c, spec, asJSON, nil)
}

// survivalSpec reads what the flags of verify say.
func (h *host) survivalSpec(c *urfave.Context) (s survival.Spec, err error) {
	problems := emptyFlags(c)
	keep := func(err error) {
		if err != nil {
			problems = append(problems, problemsOf(err)...)
		}
	}
	for _, word := range []string{"faults", "timeout", "repeat"} {
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
		keep(s.ReadPlan(c.String("plan"), h.childIn))
	}
	problems = append(problems, readWords(c, &s.Base, "timeout")...)
	if s.Base.Command = h.command; len(h.command) == 0 {
		keep(noCommand(c))
	}
	if len(problems) == 0 {
		problems = s.Validate()
	}
	return s, problems.Err()
}

// survive carries a verify out, or shows what it would do. rec is the recording
// whose decisions are made again; nil: none is.
func (h *host) survive(c *urfave.Context, spec survival.Spec, asJSON bool, rec *replay.Recording) (err error) {
	if err, done := h.enterFor(c, &spec.Base); done {
		return err
	}
	sys, err := h.system(c)
	if err != nil {
		return err
	}
	p, err := survival.NewPlan(c.Context, sys, spec)
	if err != nil {
		return err
	}
	defer p.Close()
	if c.Bool("dry-run") {
		h.showPlan(p, asJSON)
		return nil
	}
	ev, err := h.evidence(c, &spec.Base)
	if err != nil {
		return err
	}
	defer func() { err = h.leave(ev, false, err) }()
	ctx, release := h.untilSignal(c.Context)
	defer release()
	cases, err := survival.Run(ctx, p, place.Stage{}, ev, h.matrix(p, ev, asJSON, rec))
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
func (h *host) verifyAgain(c *urfave.Context, rec *replay.Recording, asJSON bool) error {
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
	return h.survive(c, s, asJSON, rec)
}

// showPlan prints what would be tried: a case a line, or an event.
func (h *host) showPlan(p *survival.Plan, asJSON bool) {
	for _, e := range p.DryRun() {
		if asJSON {
			h.events.Write(h.sys.Now(), e)
		} else {
			fmt.Fprintln(h.stdout, e.Case)
		}
	}
}

// noCommand is the error of run and verify without a command.
func noCommand(c *urfave.Context) *event.Error {
	return usageError("%s: which command? Write it behind --, such as: %s -- go test ./...", c.Command.Name, c.Command.HelpName).
		WithAdvice("All flags stand before the --.")
}
