package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/internal/sandbox"
)

// problemsError makes the problems of a file an error of a command.
func problemsError(ps document.Problems) error {
	e := usageError("%w", ps)
	for _, p := range ps {
		if p.Advice != "" {
			return e.WithAdvice(p.Advice)
		}
	}
	return e
}

// scenarioRun is faultctl scenario run.
func (inv *invocation) scenarioRun(c *call) error {
	files, err := scenarioFiles(c, 1)
	if err != nil {
		return err
	}
	spec := experiment.Spec{AllowIdle: c.Bool("allow-idle")}
	if problems := append(emptyFlags(c), readWords(c, &spec)...); len(problems) > 0 {
		return problems
	}
	return inv.playFile(c.Context(), scenario.Options{AllowIdle: spec.AllowIdle, File: files[0], Seed: spec.Seed}, &spec, nil)
}

// scenarioAgain does what a scenario recorded.
func (inv *invocation) scenarioAgain(ctx context.Context, rec *replay.Recording) error {
	o := scenario.Options{AllowIdle: rec.AllowIdle || rec.Spec.AllowIdle, File: rec.File, Seed: &rec.Seed}
	return inv.playFile(ctx, o, &rec.Spec, rec)
}

// playFile plays a scenario, or shows what it would do. output says which files it
// writes. rec is the recording whose decisions are made again; nil: none is.
func (inv *invocation) playFile(ctx context.Context, o scenario.Options, output *experiment.Spec, rec *replay.Recording) (err error) {
	s, problems, err := readScenario(o.File)
	switch {
	case err != nil:
		return err
	case problems != nil:
		return problemsError(problems)
	case rec != nil && !inv.trusted && s.RunsCommands():
		return event.Errorf(event.CodeRefused, "", "replay: the recording names the scenario %s, whose probes run commands, and these are not run unasked", o.File).
			WithAdvice("Look at the file first. To play it with its commands, add --recorded-command.")
	case o.Seed == nil && s.Seed == nil:
		o.Seed = new(inv.sys.Seed())
	case o.Seed == nil:
		o.Seed = s.Seed
	}
	inv.printWarnings(s.Warnings())
	sys := inv.system()
	if inv.dryRun {
		return inv.showScenario(ctx, s, o)
	}
	defer inv.reachable(ctx, sys)()
	ev, err := inv.evidence(output)
	if err != nil {
		return err
	}
	defer func() { err = inv.leave(ev, false, err) }() // what keeps it from beginning is in the report too
	ev.Named(scenario.Repeat(o.File, *o.Seed, o.AllowIdle), *o.Seed)
	p, err := scenario.NewPlan(ctx, sys, s, o)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Preflight(); err != nil {
		return err
	}
	ctx, release := inv.untilSignal(ctx)
	defer release()
	free, err := inv.keepRights()
	if err != nil {
		return err
	}
	defer free()
	needs := append(needsOf(output), sandbox.Probes)
	for _, entry := range p.Entries {
		needs = slices.Concat(needs, inv.needsLater(&entry.Spec))
	}
	inv.giveUp(needs)
	hooks := scenario.Hooks{TickEvery: inv.progress, Stuck: func(why string) {
		fmt.Fprintf(inv.stderr, "faultctl: %s\n", why)
		inv.quit(exitFailure, why)
	}, Try: inv.ask}
	if inv.terminal {
		hooks.TickEvery = time.Second
	}
	hooks.Session = func(_ string, _ int, p *experiment.Plan) { rec.Attend(p) }
	result := scenario.Play(ctx, p, ev, inv.scenarioWatcher(p), hooks)
	switch cut := cutShort(ctx); {
	case result.Code == event.CodeOK:
		return nil
	case cut != nil:
		return cut
	case result.Err != nil:
		return result.Err
	}
	return quietExit(int(result.Code))
}

// showScenario shows what a scenario would do.
func (inv *invocation) showScenario(ctx context.Context, s *scenario.Scenario, o scenario.Options) error {
	p, err := scenario.NewPlan(ctx, inv.sys, s, o)
	if err != nil {
		return err
	}
	defer p.Close()
	w := inv.scenarioWatcher(p)
	w.Started(inv.sys.Now())
	for _, step := range p.Timeline() {
		w.Step(inv.sys.Now(), step, "")
	}
	for _, entry := range p.Entries {
		if err := inv.showDryRun(entry); err != nil {
			return err
		}
	}
	return nil
}

// largestFile is how much of a scenario file is read.
const largestFile = 1 << 20

// readScenario reads a file and checks all of it that can be checked without
// asking anybody. Problems are what is wrong with what it says.
func readScenario(file string) (*scenario.Scenario, document.Problems, error) {
	content, err := readFile(file)
	if err != nil {
		return nil, nil, err
	}
	s, err := scenario.Parse(file, content)
	var ps document.Problems
	if errors.As(err, &ps) {
		return nil, ps, nil
	}
	return s, nil, err
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError("%s: there is no such file", file)
	}
	if err != nil {
		return nil, usageError("read %s: %w", file, aboutFile(err))
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, usageError("%s is a directory: name a file", file)
	}
	content, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	switch {
	case err != nil:
		return nil, usageError("read %s: %w", file, aboutFile(err))
	case len(content) > largestFile:
		return nil, usageError("%s is larger than 1 MiB: that is not a scenario", file)
	}
	return content, nil
}

// scenarioFiles reads the arguments of a command that takes files.
func scenarioFiles(c *call, most int) ([]string, error) {
	files := c.words
	switch {
	case len(files) == 0:
		return nil, usageError("scenario %s: which FILE?", c.Name()).WithAdvice("faultctl scenario " + c.Name() + " gameday.yaml")
	case len(files) > most:
		return nil, usageError("scenario %s: unexpected argument %q", c.Name(), files[most]).WithAdvice("It takes one FILE.")
	}
	return files, nil
}
