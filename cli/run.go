package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// runCommand is faultctl run FAULT [flags] -- CMD [ARG…].
func (inv *invocation) runCommand(fault *faults.Kind) *cobra.Command {
	return inv.underFault(&cobra.Command{
		Use:   "run FAULT [flags] -- CMD [ARG…]",
		Short: "run a command under a fault that strikes only its connections",
		Example: "faultctl run reset --at request -- curl -sS http://127.0.0.1:8080/\n" +
			"faultctl run idle-expire --after 2s --to :5432 -- go test ./storage/...\n" +
			"faultctl run syn-drop:attempts=1 --fault delay:by=50ms --every 2 -- ./integration-tests",
	}, fault, "faultctl run reset --at request -- CMD", caged(), func(example string) string {
		return "faultctl run " + strings.TrimPrefix(example, "faultctl inject ") + " -- CMD"
	}, inv.runUnder)
}

// caged are the flags of a command that starts one in a cage: whose the
// connections are is settled.
func caged() []*pflag.Flag {
	fs := without(append(targetFlags(), runFlags()...), "cgroup", "uid", "expect-fired", "allow-idle", "may-idle", "output", "while", "while-every", "while-fails")
	for _, f := range fs {
		if f.Name == "container" { // the command stays where it was started
			f.Usage = "run CMD in that container's network namespace (Docker, Podman)"
		}
	}
	timeout, _ := experiment.FindWord("timeout")
	isolate, _ := experiment.FindWord("isolate")
	user, _ := experiment.FindWord("user")
	mayIdle, _ := experiment.FindWord("may-idle")
	return append(fs,
		toggleFlag(runHeading, "expect-fired", fmt.Sprintf("exit %d if a fault never fired (the default)", exitRunNotFired)),
		toggleFlag(runHeading, "allow-idle", "turn --expect-fired off"),
		wordFlag(runHeading, mayIdle),
		wordFlag(runHeading, timeout),
		valueFlag(runHeading, "output", "`text|json` how results are printed (default text); json: on stdout, and CMD's stdout goes to stderr", "o"),
		wordFlag(runHeading, user),
		wordFlag(runHeading, isolate),
	)
}

// enterFor leads into namespaces of its own if that is where a command must
// run, and reports false if this is a place where it may.
func (inv *invocation) enterFor(s *experiment.Spec) (error, bool) {
	if inv.sys.Caged || !inv.mustIsolate() && !s.Isolate {
		return nil, false
	}
	for _, f := range []event.Field{"netns", "pid", "container"} {
		switch {
		case s.Get(string(f)) == nil:
		case s.Isolate:
			return event.Usagef(f, "%s and %s exclude each other: the command runs in that network namespace, or in one of its own", f, event.Field("isolate")), true
		default:
			return event.Preflightf(f, "%s needs root's rights: without them the command runs in a network namespace of its own", f).
				WithAdvice("Leave " + asFlag(f) + " out, or run faultctl with root's rights. " + inv.rights().Advice()), true
		}
	}
	hand, err := inv.listenForInside(s)
	if err != nil {
		return err, true
	}
	if hand != nil {
		defer hand.Close()
	}
	inv.sys.PassCallerEnv()
	signals, stop := inv.relay()
	defer stop()
	control := inv.listenForControl()
	if control != nil {
		defer control.Close()
	}
	code, err := inv.enterCage(signals, hand, control)
	if err != nil {
		return event.Preflightf("", "%w", err).WithAdvice(inv.rights().NamespaceAdvice()), true
	}
	return quietExit(code), true
}

// listenForInside listens for a process in namespaces of its own, where nobody
// could scrape it. It returns nil if no metrics are wanted.
func (inv *invocation) listenForInside(s *experiment.Spec) (*os.File, error) {
	addr := s.Metrics
	if addr == "" || inv.dryRun {
		return nil, nil
	}
	l, err := evidence.Listen(addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// runUnder runs a command under faults.
func (inv *invocation) runUnder(c *call) error {
	spec, err := inv.spec(c)
	if err != nil {
		return err
	}
	if err, done := inv.enterFor(&spec); done {
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
	return inv.runPlan(c.Context(), p, nil)
}

// runPlan runs the command of a plan under its faults. rec is the recording
// whose decisions are made again; nil: none is.
func (inv *invocation) runPlan(ctx context.Context, p *experiment.Plan, rec *replay.Recording) (err error) {
	ev, err := inv.evidence(&p.Spec)
	if err != nil {
		return err
	}
	defer func() { err = inv.leave(ev, true, err) }()
	ev.Named(p.CommandLine(), p.Seed())
	path, err := p.FindCommand()
	if err != nil {
		return err
	}
	release, err := inv.keepRights()
	if err != nil {
		return err
	}
	defer release()
	in, err := p.NewCage()
	if err != nil {
		return err
	}
	signals, stop := inv.relay()
	defer stop()
	st := place.Stage{Cage: in, Path: path, Stdin: inv.childIn, Stdout: inv.childOut, Stderr: inv.childErr, Signals: signals}
	if p.Spec.Timeout != nil {
		st.Limit = *p.Spec.Timeout
	}
	var told io.Writer = inv.stderr // stdout is the command's
	if inv.json {
		st.Stdout, told = inv.childErr, inv.stdout // or that of the events
	}
	rec.Attend(p)
	record := ev.Attend(p)
	out := inv.printer(p, told)
	p.Observe(experiment.Observer{Event: out.event, Installed: func() { inv.giveUp(needsOf(&p.Spec)) }, Ending: inv.finishing})
	end, result, err := p.RunCommand(ctx, st)
	ev.Ended(result.Stats)
	if result.Stats.Rules != nil {
		out.ended(result)
	}
	if end.TimedOut {
		fmt.Fprintf(inv.stderr, "faultctl: the command was %s (--timeout)\n", end.How)
	}
	err = errors.Join(err, in.Close())
	ev.Add(evidence.Survival(p, end, result, err), record)
	switch cut := cutShort(ctx); {
	case err != nil:
		return err
	case cut != nil:
		return cut
	case end.Status != 0:
		return quietExit(end.Status)
	case end.TimedOut, p.Spec.Judge(result.Stats, outcome.Succeeded).Code() != event.CodeOK:
		return quietExit(exitRunNotFired)
	}
	return nil
}
