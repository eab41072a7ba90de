package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/urfave/cli/v2"
)

// runCommand is faultctl run FAULT [flags] -- CMD [ARG…].
func (h *host) runCommand() *cli.Command {
	return underFault(&cli.Command{
		Name:      "run",
		Usage:     "run a command under a fault that strikes its connections only",
		ArgsUsage: "FAULT [flags] -- CMD [ARG…]",
		Description: "faultctl run reset --at request -- curl -sS http://127.0.0.1:8080/\n" +
			"faultctl run idle-expire --after 2s --to :5432 -- go test ./storage/...\n" +
			"faultctl run syn-drop:attempts=1 --fault delay:by=50ms --every 2 -- ./integration-tests",
	}, "faultctl run reset --at request -- CMD", caged, func(example string) string {
		return "faultctl run " + strings.TrimPrefix(example, "faultctl inject ") + " -- CMD"
	}, h.runUnder)
}

// caged are the flags of a command that starts one in a cage: whose the
// connections are is settled.
func caged() []cli.Flag {
	fs := slices.DeleteFunc(append(targetFlags(), runFlags()...), func(f cli.Flag) bool {
		return slices.Contains([]string{"cgroup", "uid", "expect-fired", "allow-idle", "output"}, f.Names()[0])
	})
	for _, f := range fs {
		if f, is := f.(*cli.StringFlag); is && f.Name == "container" { // the command stays where it was started
			f.Usage = "`NAME|ID` run CMD in that container's network namespace (Docker, Podman)"
		}
	}
	return append(fs,
		toggle(runHeading, "expect-fired", fmt.Sprintf("exit %d if a fault never fired (the default)", exitRunNotFired)),
		toggle(runHeading, "allow-idle", "turn --expect-fired off"),
		text(runHeading, "timeout", "`D` end CMD after D: SIGTERM, and SIGKILL "+words.ShortDuration(grace)+" later"),
		text(runHeading, "output", "`text|json` how results are printed (default text); json: on stdout, and CMD's stdout goes to stderr", "o"),
		toggle(runHeading, "isolate", "run CMD in a network namespace of its own that has loopback only; always so without root"),
	)
}

// takesCommand reports whether what stands behind -- is a command to run.
func takesCommand(args []string) bool {
	return len(args) > 1 && (args[1] == "run" || args[1] == "verify")
}

// cutCommand parts the arguments from the command behind --.
func cutCommand(args []string) (rest, command []string) {
	i := slices.Index(args, "--")
	if !takesCommand(args) || i < 0 {
		return args, nil
	}
	return args[:i:i], args[i+1:]
}

// enterFor leads into namespaces of its own if that is where a command must
// run, and reports false if this is a place where it may.
func (h *host) enterFor(c *cli.Context) (error, bool) {
	if h.inside || !h.mustIsolate() && !c.Bool("isolate") {
		return nil, false
	}
	for _, f := range []string{"netns", "pid", "container"} {
		switch {
		case c.IsSet(f) && c.Bool("isolate"):
			return usageError("--%s and --isolate exclude each other: the command runs in that network namespace, or in one of its own", f), true
		case c.IsSet(f):
			return &exitError{code: exitPreflight, err: fmt.Errorf("--%s needs root: without it the command runs in a network namespace of its own", f),
				advice: "Run it with sudo, or leave --" + f + " out."}, true
		}
	}
	hand, err := h.listenForInside(c)
	if err != nil {
		return err, true
	}
	if hand != nil {
		defer hand.Close()
	}
	signals, stop := h.relay()
	defer stop()
	code, err := h.enterCage(signals, hand)
	if err != nil {
		return &exitError{code: exitPreflight, err: err, advice: "Run it as root, or let users have namespaces: user.max_user_namespaces and " +
			"user.max_net_namespaces above 0, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0."}, true
	}
	return quietExit(code), true
}

// newCage makes the cage of one command.
func (h *host) newCage(netns *os.File) (cage.Cage, error) {
	in, err := h.makeCage(netns)
	if errors.Is(err, injector.ErrPermission) || errors.Is(err, injector.ErrNotSupported) {
		return nil, &exitError{code: exitPreflight, err: err, advice: "As root the command runs in a cgroup v2 of its own, so that its connections can be told apart. " +
			"Where there can be none, --isolate runs it in a network namespace of its own instead: it then reaches only services that it starts itself. " +
			"ip netns exec NAME hides the cgroups that there are: faultctl run --netns NAME does without it."}
	}
	return in, err
}

// runUnder runs a command under faults. first is the FAULT whose settings are
// flags of c; there may be none.
func (h *host) runUnder(c *cli.Context, first string) (err error) {
	if err := noArguments(c); err != nil {
		return err
	}
	if err, done := h.enterFor(c); done {
		return err
	}
	p, err := h.plan(c, first)
	if err != nil {
		return err
	}
	if p.cfg.NetNS != nil {
		defer p.cfg.NetNS.Close()
	}
	limit, err := duration(c, "timeout")
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		if !h.inside {
			p.cfg.Rules[0].Match.Owner = cage.Foreseen()
		}
		return h.dryRun(c, p)
	}
	if p.evidence, err = h.evidence(c); err != nil {
		return err
	}
	defer func() { err = p.evidence.close(err) }()
	p.evidence.named(p.repeat, p.cfg.Seed)
	path, err := findCommand(p.command[0])
	if err != nil {
		return err
	}
	in, err := h.newCage(p.cfg.NetNS)
	if err != nil {
		return err
	}
	signals, stop := h.relay()
	defer stop()
	st := place{in: in, path: path, stdin: h.childIn, stdout: h.childOut, stderr: h.childErr, signals: signals, limit: limit}
	told := h.stderr // stdout is the command's
	ctx, out := h.untilBroken(c.Context)
	if p.json {
		h.stdout = out
		st.stdout, told = h.childErr, out // or that of the events
	}
	end, o, err := h.runIn(ctx, st, p, h.teller(p, told))
	if end.timedOut {
		fmt.Fprintf(h.stderr, "faultctl: the command was %s (--timeout)\n", end.how)
	}
	err = errors.Join(err, in.Close())
	p.evidence.add(p.survival(end, o, err), o.record)
	cut := cutShort(ctx)
	switch {
	case err != nil:
		return err
	case cut != nil:
		return cut
	case end.status != 0:
		return quietExit(end.status)
	case p.expect && idle(o.stats):
		return quietExit(exitRunNotFired)
	}
	return nil
}

// survival is the case of a command that ran under the faults of the plan.
func (p *plan) survival(end jobEnd, o outcome, err error) report.Case {
	c := p.struck(o, err)
	c.Exit, c.Took = end.how, end.took
	switch {
	case err != nil:
	case end.status != 0:
		c.Verdict, c.Remedy = report.Failed, remedies(p.specs)
		c.Reason = "The command failed: " + end.how + "."
		if idle(o.stats) {
			c.Reason, c.Remedy = "The command failed, but not of this: "+end.how+", and the fault never fired.", ""
		}
	case c.Verdict == report.Done:
		c.Verdict = report.Survived
	}
	return c
}

// remedies is what the catalogue says against the faults.
func remedies(specs []spec) string {
	var all []string
	for _, s := range specs {
		if k, err := faults.Find(s.Name); err == nil {
			all = append(all, k.Remedy)
		}
	}
	return strings.Join(all, " ")
}

// place is where a command runs.
type place struct {
	in                    cage.Cage
	path                  string // of the program
	stdin, stdout, stderr *os.File
	signals               <-chan os.Signal // passed on to it
	limit                 time.Duration    // it is ended after that; 0: never
}

// runIn runs the command of a plan under its faults. It ends the command when
// ctx is done.
func (h *host) runIn(ctx context.Context, st place, p *plan, tell teller) (end jobEnd, o outcome, err error) {
	// The target is looked up anew while it runs, and is the command's then too.
	p.target.match.Owner = st.in.Owner()
	p.cfg.Rules[0].Match.Owner, p.cfg.NetNS = st.in.Owner(), st.in.NetNS()
	jobCtx, endJob := context.WithCancel(ctx)
	defer endJob()
	runCtx, endRun := context.WithCancel(ctx)
	defer endRun()
	var ended chan error // of the command, once it was started
	launch := func() error {
		var j *job
		if err := h.commandStarts(p, func() (err error) {
			j, err = h.startJob(st, p.command)
			return err
		}); err != nil {
			return err
		}
		ended = make(chan error, 1)
		go func() {
			var err error
			end, err = h.wait(jobCtx, j, st.signals, st.limit)
			h.commandEnded(p, end)
			ended <- err
			endRun()
		}()
		return nil
	}
	first, then := func() error { return nil }, launch
	if p.startAfter > 0 { // the command goes first, healthy
		first, then = then, first
	}
	o, err = h.conduct(runCtx, p, tell, first, func(ctx context.Context) error {
		if err := then(); err != nil {
			return err
		}
		<-ctx.Done() // the command has ended, or the faults' time is up, or they broke
		return nil
	})
	if err != nil {
		endJob()
	}
	if ended != nil {
		err = errors.Join(err, <-ended)
	}
	return end, o, err
}

// commandStarts starts the command, and tells of it where events are what was
// asked for: before any event of what it does.
func (h *host) commandStarts(p *plan, start func() error) error {
	if !p.json {
		return start()
	}
	at := h.head("command")
	return (&jsonTeller{w: h.stdout, host: h}).lineAfter(start, struct {
		head
		Command []string `json:"command"`
	}{at, p.command})
}

// commandEnded tells how the command ended.
func (h *host) commandEnded(p *plan, end jobEnd) {
	if p.json {
		(&jsonTeller{w: h.stdout, host: h}).line(struct {
			head
			Status int    `json:"status"`
			How    string `json:"how"`
		}{h.head("exited"), end.status, end.how})
	}
}
