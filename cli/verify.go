package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/urfave/cli/v2"
)

// verifyCommand is faultctl verify [flags] -- CMD [ARG…].
func (h *host) verifyCommand() *cli.Command {
	return &cli.Command{
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

func verifyFlags() []cli.Flag {
	fs := slices.DeleteFunc(caged(), func(f cli.Flag) bool {
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

// survey is a verify command, understood.
type survey struct {
	base    *plan
	trials  []trial
	path    string        // of the program
	limit   time.Duration // of a run of the command; 0: none
	limitIs bool          // given, not to be found out by the healthy run
	repeat  int
	picked  bool // the user said which connections to strike
	repeats string
	c       *cli.Context
	ev      *evidence
}

// verify runs a command without a fault and then under each of a plan.
func (h *host) verify(c *cli.Context) (err error) {
	if word := c.Args().First(); c.Args().Present() {
		e := usageError("verify: unexpected argument %q", word)
		if _, err := faults.ParseSpecs(word); err == nil {
			return e.hint("Faults are given with --faults " + word + "; without it every reset cause is tried.")
		}
		return e.hint("The command to run stands behind --, such as: faultctl verify -- " + word + ".")
	}
	if err, done := h.enterFor(c); done {
		return err
	}
	s, err := h.survey(c)
	if err != nil {
		return err
	}
	if s.base.cfg.NetNS != nil {
		defer s.base.cfg.NetNS.Close()
	}
	if c.Bool("dry-run") {
		h.showPlan(s)
		return nil
	}
	if s.ev, err = h.evidence(c); err != nil {
		return err
	}
	defer func() { err = s.ev.close(err) }()
	s.ev.named(s.repeats, s.base.cfg.Seed)
	if s.path, err = findCommand(s.base.command[0]); err != nil {
		return usageError("verify: %w", err).hint(advice(err))
	}
	ctx, release := h.untilSignal(c.Context)
	defer release()
	ctx, out := h.untilBroken(ctx)
	h.stdout = out
	cases, err := h.carryOut(ctx, s)
	if err != nil {
		return err
	}
	cut := cutShort(ctx)
	switch {
	case cut != nil:
		return cut
	case count(cases, report.Failed) > 0:
		return quietExit(exitProbe)
	case count(cases, report.NeverFired) > 0 && s.base.expect:
		return quietExit(exitNotFired)
	}
	return nil
}

func count(cases []report.Case, v report.Verdict) (n int) {
	for i := range cases {
		if cases[i].Verdict == v {
			n++
		}
	}
	return n
}

// survey reads and checks everything on the command line, and touches nothing.
func (h *host) survey(c *cli.Context) (*survey, error) {
	s := &survey{c: c, repeat: 1}
	var err error
	if s.trials, err = h.trials(c); err != nil {
		return nil, err
	}
	if s.limit, err = duration(c, "timeout"); err != nil {
		return nil, err
	}
	s.limitIs = c.IsSet("timeout")
	if c.IsSet("repeat") {
		if s.repeat, err = strconv.Atoi(c.String("repeat")); err != nil || s.repeat < 1 {
			return nil, usageError("--repeat %s: not a whole number from 1 on", c.String("repeat"))
		}
	}
	if s.base, err = h.plan(c, "observe"); err != nil { // trials bring their own faults
		return nil, err
	}
	pick := s.base.target.pick
	pick.NewOnly = false
	if s.picked = pick != (target.Pick{}); !s.picked {
		s.base.target.pick.Every = verifyEvery
	}
	s.repeats = s.commandLine()
	return s, nil
}

// commandLine is one line that repeats the whole.
func (s *survey) commandLine() string {
	line := []string{"faultctl", "verify"}
	for _, f := range verifyFlags() {
		switch name := f.Names()[0]; {
		case !s.c.IsSet(name) || slices.Contains([]string{"seed", "output", "log-level", "pcap", "report", "metrics"}, name):
		case slices.Contains([]string{"to", "from", "faults"}, name):
			for _, v := range s.c.StringSlice(name) {
				line = append(line, "--"+name, quote(v))
			}
		case takesValue(f):
			line = append(line, "--"+name, quote(s.c.String(name)))
		case s.c.Bool(name):
			line = append(line, "--"+name)
		default:
			line = append(line, "--"+name+"=false")
		}
	}
	line = append(line, "--seed", fmt.Sprint(s.base.cfg.Seed), "--")
	for _, w := range s.base.command {
		line = append(line, quote(w))
	}
	return strings.Join(line, " ")
}

// of is the plan of one trial. second takes the connections that the first
// attempt left alone.
func (s *survey) of(t trial, second bool) *plan {
	p := *s.base
	target := *p.target
	p.target, p.specs, p.evidence, p.verb, p.name = &target, t.specs, s.ev, "run", t.name
	p.extra = nil
	if !s.picked {
		p.extra = []string{"--every", fmt.Sprint(target.pick.Every)}
		if second {
			target.pick.Skip = 1
			p.extra = append(p.extra, "--skip", "1")
		}
	}
	p.cfg.Rules = []injector.Rule{{Match: target.match, Pick: target.pick, Faults: t.models}}
	p.repeat = p.commandLine(s.c)
	return &p
}

// carryOut does it all. It stops early if the command fails without a fault,
// or ctx is done; what was not tried then is skipped.
func (h *host) carryOut(ctx context.Context, s *survey) ([]report.Case, error) {
	m := h.matrix(s)
	m.started()
	healthy, err := h.healthy(ctx, s, m)
	if err != nil {
		return nil, err
	}
	cases := []report.Case{healthy}
	var broke error
	skip := ""
	if healthy.Verdict != report.Passed {
		skip = "the command fails without a fault"
	}
	for i, t := range s.trials {
		if ctx.Err() != nil {
			skip = "interrupted"
		}
		if skip != "" {
			c := report.Case{Name: t.name, Fault: t.specs[0].Name, Verdict: report.Skipped, Reason: skip, Start: h.now()}
			s.ev.add(c, nil)
			m.result(c, outcome{}, "")
			cases = append(cases, c)
			continue
		}
		c, err := h.try(ctx, s, t, m, i)
		if err != nil {
			c.Verdict, c.Reason, c.Remedy, c.Output = report.Broken, err.Error(), "", ""
			s.ev.add(c, nil)
			m.result(c, outcome{}, "")
			skip, broke = "faultctl failed before", err
		}
		cases = append(cases, c)
	}
	m.ended(cases)
	return cases, broke
}

// noFault is the name of the case of a command that is left alone.
const noFault = "no fault"

// healthy runs the command without a fault.
func (h *host) healthy(ctx context.Context, s *survey, m *matrix) (report.Case, error) {
	c := report.Case{Name: noFault, Base: true, Verdict: report.Passed, Start: h.now()}
	longest := time.Duration(0)
	for range s.repeat {
		m.running("  " + noFault)
		end, out, err := h.alone(ctx, s)
		if err != nil {
			return c, err
		}
		c.Took += end.took
		c.Exit, c.Output = end.how, out
		longest = max(longest, end.took)
		switch {
		case ctx.Err() != nil:
			c.Verdict, c.Reason = report.Skipped, "interrupted"
		case end.status != 0:
			c.Verdict, c.Reason = report.Failed, "The command fails without any fault, so nothing can be said: "+end.how+"."
		}
		if c.Verdict != report.Passed {
			break
		}
	}
	if !s.limitIs {
		s.limit = max(30*time.Second, (10 * longest).Round(time.Second))
	}
	s.ev.add(c, nil)
	m.result(c, outcome{}, "")
	return c, nil
}

// alone runs the command in a cage, and nothing else happens.
func (h *host) alone(ctx context.Context, s *survey) (end jobEnd, out string, err error) {
	in, err := h.newCage(s.base.cfg.NetNS)
	if err != nil {
		return end, "", err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	tail, err := listen()
	if err != nil {
		return end, "", err
	}
	j, err := h.startJob(place{in: in, path: s.path, stdout: tail.w, stderr: tail.w}, s.base.command)
	if err == nil {
		end, err = h.wait(ctx, j, nil, s.limit)
	}
	return end, tail.text(), err
}

// try runs the command under the faults of a trial, and says what became of it.
func (h *host) try(ctx context.Context, s *survey, t trial, m *matrix, nth int) (report.Case, error) {
	c := report.Case{Name: t.name, Fault: t.specs[0].Name, Target: s.base.scope(), Start: h.now(), Verdict: report.NeverFired}
	var last *record
	var shown outcome
	var alone string
	fired := 0
	for n := 0; n < s.repeat && c.Verdict != report.Failed && ctx.Err() == nil; n++ {
		p := s.of(t, false)
		end, out, o, err := h.under(ctx, s, p, m.teller(p, t.name, nth))
		if err == nil && end.status == 0 && idle(o.stats) && !s.picked && o.spared() && ctx.Err() == nil {
			p = s.of(t, true) // it may be the other half of the connections that meets the moment
			end, out, o, err = h.under(ctx, s, p, m.teller(p, t.name, nth))
		}
		if err != nil {
			return c, err
		}
		c.Took += end.took
		c.Exit, c.Output = end.how, out
		last, shown, alone = o.record, o, p.repeat
		never := idle(o.stats)
		switch {
		case end.status != 0 && never:
			c.Verdict, c.Reason = report.Failed, "The command failed although the fault never fired: "+end.how+". Does it fail now and then by itself?"
		case end.status != 0:
			c.Verdict, c.Reason, c.Remedy = report.Failed, "The command failed: "+end.how+".", remedies(t.specs)
		case !never:
			fired++
			c.Verdict, c.Reason = report.Survived, ""
		case c.Verdict == report.NeverFired:
			c.Reason = neverFired(p, o.stats)
		}
	}
	if ctx.Err() != nil {
		c.Verdict, c.Reason, c.Remedy = report.Skipped, "interrupted", ""
	}
	if c.Verdict == report.Survived && fired < s.repeat {
		c.Reason = fmt.Sprintf("The fault fired in %d of %d runs.", fired, s.repeat)
	}
	if c.Verdict != report.Failed {
		c.Output = ""
	}
	s.ev.add(s.base.allowed(c), last)
	m.result(c, shown, alone)
	return c, nil
}

// spared reports whether there were connections that were not chosen.
func (o outcome) spared() bool {
	for _, r := range o.stats.Rules {
		if r.Flows > r.Chosen {
			return true
		}
	}
	return false
}

// neverFired says why faults never fired, and how to make them.
func neverFired(p *plan, stats injector.Snapshot) string {
	var why []string
	for _, r := range stats.Rules {
		for _, f := range r.Faults {
			if f.Fired > 0 {
				continue
			}
			text := f.Name + ": " + whyNot(p, r, f.Name)
			if kind, err := faults.Find(f.Name); err == nil && kind.Verify.Moment != "" && r.Chosen > 0 {
				text += " " + kind.Verify.Moment
			}
			why = append(why, text)
		}
	}
	return strings.Join(why, " ")
}

// under runs the command under the faults of a plan, in a cage of its own.
func (h *host) under(ctx context.Context, s *survey, p *plan, tell teller) (end jobEnd, out string, o outcome, err error) {
	in, err := h.newCage(s.base.cfg.NetNS)
	if err != nil {
		return end, "", o, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	tail, err := listen()
	if err != nil {
		return end, "", o, err
	}
	end, o, err = h.runIn(ctx, place{in: in, path: s.path, stdout: tail.w, stderr: tail.w, limit: s.limit}, p, tell)
	return end, tail.text(), o, err
}

// limitText is how long a run may take, in words.
func (s *survey) limitText() string {
	switch {
	case !s.limitIs:
		return "ten times as long as the healthy one, 30s at least"
	case s.limit == 0:
		return "as long as it wants"
	}
	return words.ShortDuration(s.limit)
}
